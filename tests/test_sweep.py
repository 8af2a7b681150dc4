"""Sweeps through the command itself, with a Ray that it starts by itself."""

import os
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.sweeps import Sweeps, descendants, read, steps_of, until
from tests.tiny import Tiny, make_tiny

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]
GRID = {"method": ["tgan", "cdc", "rssa"], "seed": [0, 1]}
ENOUGH = {"steps": 16}  # so that Ctrl-C meets a cell in training
LONG = {"steps": 40}
EXPORTED = {"model.safetensors", "config.json", "MODEL_CARD.md", "grid.png"}
LEFT = {"sweep.yaml", "table.md", "table.csv", "table.json", "report.html"}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return make_tiny(tmp_path_factory.mktemp("tiny"))


@dataclass(frozen=True)
class Twice:
    """A sweep, what it left, and the same command once more."""

    sweeps: Sweeps
    first: subprocess.CompletedProcess[str]
    stamps: dict[Path, int]
    table: dict[str, Any]
    again: subprocess.CompletedProcess[str]


def stamps(runs: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in runs.glob("*/result.json")}


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory, tiny: Tiny) -> Twice:
    """Three methods, two seeds, mirrored to MLflow."""
    folder = tmp_path_factory.mktemp("calm")
    sweeps = Sweeps(folder, tiny, {"MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db"})
    config = sweeps.write("grid", GRID, ENOUGH, tracker="mlflow")
    first = sweeps.run(config)
    before, table = stamps(folder / "runs" / "grid"), sweeps.table("grid")
    return Twice(sweeps, first, before, table, sweeps.run(config))


def test_a_grid_ends_with_every_cell_done(calm: Twice) -> None:
    assert calm.first.returncode == 0, calm.first.stderr
    results = calm.sweeps.results("grid").values()
    assert [result["status"] for result in results] == ["done"] * 6
    assert {(r["method"], r["seed"]) for r in results} == {(m, s) for m in GRID["method"] for s in (0, 1)}


def test_a_sweep_leaves_table_page_and_a_whole_export(calm: Twice) -> None:
    folder = calm.sweeps.folder
    assert {path.name for path in (folder / "runs" / "grid").iterdir()} >= LEFT
    assert {path.name for path in (folder / "exports" / "grid").iterdir()} == EXPORTED
    assert [row["method"] for row in calm.table["rows"]] == GRID["method"]
    assert all(len(row["seeds"]) == 2 for row in calm.table["rows"])


def test_nothing_that_a_sweep_leaves_is_pickled(calm: Twice) -> None:
    endings = {path.suffix for path in calm.sweeps.folder.rglob("*") if path.is_file()}
    assert endings <= {".yaml", ".json", ".jsonl", ".md", ".csv", ".html", ".png", ".txt", ".safetensors"} | {
        "",
        ".db",
        ".lock",
    }


def test_the_same_command_again_skips_what_is_done_and_says_the_same(calm: Twice) -> None:
    assert calm.again.returncode == 0, calm.again.stderr
    assert stamps(calm.sweeps.folder / "runs" / "grid") == calm.stamps
    assert calm.sweeps.table("grid") == calm.table


def test_a_run_that_is_not_on_a_terminal_says_nothing_but_progress_on_stderr(calm: Twice) -> None:
    assert all(line.startswith("[") for line in calm.first.stderr.splitlines())


def test_mlflow_has_the_sweep_as_parent_of_its_cells(calm: Twice) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(calm.sweeps.variables["MLFLOW_TRACKING_URI"])
    runs = client.search_runs([each.experiment_id for each in client.search_experiments()])
    cells = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    assert {run.info.run_name for run in cells} == set(calm.sweeps.results("grid"))
    parents = {run.data.tags["mlflow.parentRunId"] for run in cells}
    assert parents == {run.info.run_id for run in runs} - {run.info.run_id for run in cells}
    assert len(parents) == 1
    assert {run.info.status for run in runs} == {"FINISHED"}


@dataclass(frozen=True)
class Hurt(Twice):
    """Beside it the same command was given a second time, while the first ran."""

    holder: int
    beside: subprocess.CompletedProcess[str]


def ended(process: subprocess.Popen[str]) -> subprocess.CompletedProcess[str]:
    said, errors = process.communicate()
    return subprocess.CompletedProcess(process.args, process.returncode, said, errors)


@pytest.fixture(scope="module")
def hurt(tmp_path_factory: pytest.TempPathFactory, tiny: Tiny) -> Hurt:
    """The worker of the first cell is killed; the last cell's loss leaves the numbers that there are."""
    sweeps = Sweeps(tmp_path_factory.mktemp("hurt"), tiny)
    grid = {"method": ["tgan"], "weights.fool": [1.0, 3e38], "seed": [0, 1]}
    config = sweeps.write("hurt", grid, LONG, exclude=[{"weights.fool": 3e38, "seed": 1}])
    runs = sweeps.folder / "runs" / "hurt"
    with sweeps.started(config, cpus=1) as process:
        until((runs / "sweep.yaml").is_file, process)
        with sweeps.started(config) as second:
            until(lambda: any(map(steps_of, runs.glob("tgan-*-0-*"))), process)
            titles = descendants(process.pid)
            (worker,) = [pid for pid, title in titles.items() if title.startswith("ray::_Work")]
            os.kill(worker, signal.SIGKILL)
            beside = ended(second)
        first = ended(process)
    before, table = stamps(runs), sweeps.table("hurt")
    again = sweeps.run(config, "share.backend=here")
    return Hurt(sweeps, first, before, table, again, process.pid, beside)


def test_the_same_sweep_started_twice_says_who_holds_it_and_leaves(hurt: Hurt) -> None:
    assert hurt.beside.returncode == 2
    assert f"held by process {hurt.holder} on" in hurt.beside.stderr
    assert hurt.beside.stdout == ""


def test_a_killed_worker_and_a_diverging_cell_leave_the_others_alone(hurt: Hurt) -> None:
    assert hurt.first.returncode == 4, hurt.first.stderr
    assert "2 of 3 cells failed" in hurt.first.stdout
    statuses = sorted(row["status"] for row in hurt.table["failures"])
    assert statuses == ["diverged", "failed"]
    assert sorted(result["status"] for result in hurt.sweeps.results("hurt").values()) == [
        "diverged",
        "done",
        "done",
    ]


def test_failed_cells_stand_in_the_table_with_their_reasons(hurt: Hurt) -> None:
    reasons = {row["status"]: row["reason"] for row in hurt.table["failures"]}
    assert reasons["failed"].startswith("worker died")
    assert "not finite" in reasons["diverged"]
    assert all(reason in hurt.first.stdout for reason in reasons.values())
    assert reasons["diverged"] in (hurt.sweeps.folder / "runs" / "hurt" / "report.html").read_text()


def test_a_failed_cell_costs_what_it_has_run(hurt: Hurt) -> None:
    asked = LONG["steps"] * 2
    assert all(0 <= row["images"] < asked for row in hurt.table["failures"])
    (killed,) = [row for row in hurt.table["failures"] if row["status"] == "failed"]
    assert killed["images"] > 0
    assert killed["seconds"] > 0


def test_running_again_completes_the_crashed_cell_and_runs_no_other(hurt: Hurt) -> None:
    assert hurt.again.returncode == 4, "the diverged cell stays what it is"
    after = stamps(hurt.sweeps.folder / "runs" / "hurt")
    changed = [path for path, stamp in after.items() if hurt.stamps[path] != stamp]
    assert [read(path)["seed"] for path in changed] == [0]
    assert [row["status"] for row in hurt.sweeps.table("hurt")["failures"]] == ["diverged"]


@dataclass(frozen=True)
class Interrupted:
    """A sweep that met Ctrl-C, and then the same command again."""

    sweeps: Sweeps
    first: subprocess.CompletedProcess[str]
    statuses: set[str]
    checkpoints: list[Path]
    again: subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory, tiny: Tiny) -> Interrupted:
    sweeps = Sweeps(tmp_path_factory.mktemp("interrupted"), tiny)
    config = sweeps.write("grid", GRID, ENOUGH)
    runs = sweeps.folder / "runs" / "grid"
    with sweeps.started(config) as process:
        until(lambda: any(steps_of(cell) for cell in runs.glob("*-*")), process)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        first = ended(process)
    statuses = {result["status"] for result in sweeps.results("grid").values()}
    saved = list(runs.glob("*/checkpoints/*/state.json"))
    again = sweeps.run(config)
    return Interrupted(sweeps, first, statuses, saved, again)


def test_ctrl_c_saves_and_says_that_the_same_command_continues(interrupted: Interrupted) -> None:
    assert interrupted.first.returncode == 130
    assert interrupted.first.stderr.splitlines()[-1].startswith("interrupted: ")
    assert interrupted.checkpoints
    assert "stopped" in interrupted.statuses
    assert interrupted.statuses <= {"stopped", "done"}


def test_an_interrupted_sweep_ends_like_a_calm_one(interrupted: Interrupted, calm: Twice) -> None:
    assert interrupted.again.returncode == 0, interrupted.again.stderr
    mine, theirs = interrupted.sweeps.results("grid"), calm.sweeps.results("grid")
    assert {key: result["scores"] for key, result in mine.items()} == {
        key: result["scores"] for key, result in theirs.items()
    }
