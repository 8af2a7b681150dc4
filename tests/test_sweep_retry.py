"""`share.retries`: a cell that crashed is tried once more, and what has a result is not."""

import os
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pipeline import task
from pipeline.cell import run_cell
from pipeline.grid import Sweep
from pipeline.store import read_json
from pipeline.sweeping import Sweeping, jobs_of, run_grid
from tests.sweeps import Sweeps, descendants, steps_of, until
from tests.tiny import Tiny

GRID = {"method": ["cdc"], "seed": [0, 1]}


@dataclass(frozen=True)
class Retried:
    """Sweeps: one was left in peace, of the other a worker was killed; and what that one said."""

    sweeps: Sweeps
    command: subprocess.CompletedProcess[str]


TITLES = {"processes": "spawn_main", "ray": "ray::_Worker"}  # of a worker


@pytest.fixture(scope="module", params=["processes", pytest.param("ray", marks=pytest.mark.faults)])
def retried(tmp_path_factory: pytest.TempPathFactory, tiny: Tiny, request: pytest.FixtureRequest) -> Retried:
    """One of two workers is killed while each trains a cell."""
    sweeps = Sweeps(tmp_path_factory.mktemp("retried"), tiny)
    calm, hurt = (sweeps.write(name, GRID, {"steps": 40}) for name in ("calm", "hurt"))
    first = sweeps.run(calm, "share.backend=here")
    assert first.returncode == 0, first.stderr
    runs = sweeps.folder / "runs" / "hurt"
    with sweeps.started(hurt, "share.retries=1", f"share.backend={request.param}") as process:
        until(lambda: all(any(map(steps_of, runs.glob(f"cdc-*-{seed}-*"))) for seed in (0, 1)), process)
        workers = [pid for pid, title in descendants(process.pid).items() if TITLES[request.param] in title]
        os.kill(workers[0], signal.SIGKILL)
        said, errors = process.communicate()
    return Retried(sweeps, subprocess.CompletedProcess(process.args, process.returncode, said, errors))


def without_times(table: dict[str, Any]) -> dict[str, Any]:
    rows = [{key: value for key, value in row.items() if key != "seconds"} for row in table["rows"]]
    return {**table, "name": "", "rows": rows}


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_with_one_retry_a_killed_worker_changes_nothing_in_the_table(retried: Retried) -> None:
    assert retried.command.returncode == 0, retried.command.stderr
    assert [result["status"] for result in retried.sweeps.results("hurt").values()] == ["done", "done"]
    calm, hurt = (without_times(retried.sweeps.table(name)) for name in ("calm", "hurt"))
    assert hurt == calm


@pytest.mark.slow
@pytest.mark.parametrize(
    ("retries", "steps", "statuses"), [(0, [1], ["failed"]), (1, [1, 2], ["done"])], ids=["none", "one"]
)
def test_a_cell_that_raises_is_tried_again_where_that_was_asked_for(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, retries: int, steps: list[int], statuses: Any
) -> None:
    tries = []

    def raises_at_first(*given: Any) -> dict[str, Any]:
        tries.append(len(tries) + 1)
        if len(tries) == 1:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        return run_cell(*given)

    monkeypatch.setattr(task, "run_cell", raises_at_first)
    results = run(tiny, tmp_path, retries)
    assert tries == steps
    assert [result["status"] for result in results] == statuses
    (path,) = tmp_path.glob("*/result.json")
    assert [read_json(path)] == results
    assert "illegal memory access" in (path.parent / "log.txt").read_text()
    if not retries:
        assert results[0]["reason"] == "RuntimeError: CUDA error: an illegal memory access was encountered"


@pytest.mark.slow
def test_a_cell_that_diverges_has_its_result_and_is_not_tried_again(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = []

    def counted(*given: Any) -> dict[str, Any]:
        tries.append(given)
        return run_cell(*given)

    monkeypatch.setattr(task, "run_cell", counted)
    (result,) = run(tiny, tmp_path, 1, weights={"fool": 3e38})
    assert result["status"] == "diverged"
    assert len(tries) == 1


def run(tiny: Tiny, folder: Path, retries: int, **job: Any) -> list[dict[str, Any]]:
    """What the one cell of a sweep in this process gives."""
    share = {"backend": "here", "retries": retries}
    values = {"name": "s", "job": tiny.job(method="tgan", **job), "share": share, "tracker": "none"}
    sweep = Sweep.model_validate(values)
    return list(run_grid(Sweeping(sweep, folder, None, "cpu"), jobs_of(sweep)).values())


def test_how_often_a_cell_is_tried_is_not_in_its_digest(tiny: Tiny) -> None:
    sweeps = [Sweep.model_validate({"name": "s", "job": tiny.job(), "share": {"retries": n}}) for n in (0, 1)]
    first, second = ([job.id for job in jobs_of(sweep)] for sweep in sweeps)
    assert first == second
