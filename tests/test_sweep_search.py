"""A search over loss weights inside a sweep, killed in its middle and started again."""

import os
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.sweeps import Sweeps, alive, descendants, read, until
from tests.tiny import make_tiny

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]
SPACE = {
    "cdc": {"weights.distance": {"log": [10, 1000]}},
    "rssa": {"weights.self": {"log": [0.1, 10]}, "weights.cross": {"log": [0.1, 10]}},
}
SEARCH = {"space": SPACE, "trials": 3, "rungs": 2, "steps": 4}
Ledger = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Searched:
    """A sweep with a search, what the killed one knew, and how the second run ended."""

    sweeps: Sweeps
    known: Ledger
    stamps: dict[Path, int]
    again: subprocess.CompletedProcess[str]

    @property
    def folder(self) -> Path:
        return self.sweeps.folder / "runs" / "searched" / "search"

    def ledger(self, method: str) -> Ledger:
        return ledger(self.folder, method)


def ledger(folder: Path, method: str) -> Ledger:
    """Trials by id of the one target there is."""
    return {trial["id"]: trial for path in folder.glob(f"{method}-*/trials.json") for trial in read(path)}


def over(trials: Ledger) -> Ledger:
    return {key: trial for key, trial in trials.items() if trial["status"] != "started"}


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Searched:
    folder = tmp_path_factory.mktemp("searched")
    sweeps = Sweeps(folder, make_tiny(folder / "tiny"))
    grid = {"method": ["tgan", "cdc", "rssa"], "seed": [0]}
    config = sweeps.write("searched", grid, {}, search=SEARCH)
    search = folder / "runs" / "searched" / "search"
    with sweeps.started(config, cpus=1) as process:
        until(lambda: over(ledger(search, "cdc")), process)
        below = descendants(process.pid)
        working = [pid for pid, title in below.items() if "Agent" not in title]  # those write no cells
        os.kill(process.pid, signal.SIGKILL)
        until(lambda: not any(map(alive, working)))
        known = over(ledger(search, "cdc"))
        stamps = {path: path.stat().st_mtime_ns for path in search.glob("*/*/result.json")}
        return Searched(sweeps, known, stamps, sweeps.run(config))


def test_a_killed_search_goes_on_and_runs_no_finished_trial_again(searched: Searched) -> None:
    assert searched.again.returncode == 0, searched.again.stderr
    assert 1 <= len(searched.known) < SEARCH["trials"]
    assert searched.known.items() <= searched.ledger("cdc").items()
    assert searched.stamps
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in searched.stamps.items())


@pytest.mark.parametrize("method", SPACE)
def test_every_method_has_its_number_of_trials_and_each_says_how_it_ended(
    searched: Searched, method: str
) -> None:
    trials = searched.ledger(method).values()
    assert len(trials) == SEARCH["trials"]
    assert {trial["status"] for trial in trials} <= {"done", "pruned"}
    assert all(set(trial["values"]) == set(SPACE[method]) for trial in trials)


@pytest.mark.parametrize("method", SPACE)
def test_the_grid_runs_with_what_the_best_finished_trial_had(searched: Searched, method: str) -> None:
    done = [trial for trial in searched.ledger(method).values() if trial["status"] == "done"]
    best = max(done, key=lambda trial: trial["score"])["values"]
    (chosen,) = [
        read(searched.folder / "chosen.json")[path.name] for path in searched.folder.glob(f"{method}-*")
    ]
    assert chosen == best
    config = yaml.safe_load((searched.sweeps.cell("searched", method) / "config.yaml").read_text())
    assert {f"weights.{name}": weight for name, weight in config["weights"].items()} == best


def test_trials_have_a_seed_that_no_cell_of_the_grid_has(searched: Searched) -> None:
    seeds = {yaml.safe_load(path.read_text())["seed"] for path in searched.folder.glob("*/*/config.yaml")}
    assert seeds == {1000}
    assert {result["seed"] for result in searched.sweeps.results("searched").values()} == {0}


def test_the_table_counts_the_trials_of_each_method(searched: Searched) -> None:
    rows = searched.sweeps.table("searched")["rows"]
    assert {row["method"]: row["trials"] for row in rows} == {"tgan": 0, "cdc": 3, "rssa": 3}
    assert "trials" in (searched.sweeps.folder / "runs" / "searched" / "table.md").read_text()


def test_a_search_leaves_nothing_pickled(searched: Searched) -> None:
    left = {path.suffix or path.name for path in searched.folder.rglob("*") if path.is_file()}
    assert left <= {".json", ".jsonl", ".yaml", ".txt", ".png", ".safetensors", ".held"}
