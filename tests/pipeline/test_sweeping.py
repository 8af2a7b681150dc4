from pathlib import Path
from typing import Any

import pytest

from pipeline.finish import chosen_trials
from pipeline.grid import Sweep, group_of
from pipeline.store import read_json
from pipeline.sweeping import Chosen, Sweeping, jobs_of, run_search
from tests.tiny import Tiny, make_tiny


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return make_tiny(tmp_path_factory.mktemp("tiny"))


def search(tiny: Tiny, folder: Path, low: float, **more: Any) -> Chosen:
    """The search of one method in this process."""
    space = {"cdc": {"weights.distance": {"uniform": [low, low + 1]}}}
    given = {"space": space, "trials": 1, "steps": 2, "rungs": 1, **more}
    values = {"name": "s", "job": tiny.job(method="cdc"), "search": given, "share": {"backend": "here"}}
    sweep = Sweep.model_validate({**values, "tracker": "none"})
    return run_search(Sweeping(sweep, folder, None, "cpu"), lambda said: None)


def test_targets_with_the_same_last_part_are_searched_apart() -> None:
    names = {group_of("cdc", target, 10) for target in ("a/train", "b/train", "../train", "train")}
    assert len(names) == 4
    assert not any("/" in name for name in names)
    assert group_of("cdc", "lorelei", 10) == "cdc-lorelei-10"


def test_more_trials_are_added_to_those_there_are(tiny: Tiny, tmp_path: Path) -> None:
    search(tiny, tmp_path, 10)
    (ledger,) = (tmp_path / "search").glob("*/trials.json")
    before = read_json(ledger)
    search(tiny, tmp_path, 10, trials=2)
    assert read_json(ledger)[:1] == before
    assert list(chosen_trials(tmp_path).values()) == [2]


def test_another_range_forgets_the_trials_of_the_one_before(tiny: Tiny, tmp_path: Path) -> None:
    search(tiny, tmp_path, 10)
    (chosen,) = search(tiny, tmp_path, 100).values()
    assert chosen["weights.distance"] >= 100
    assert list(chosen_trials(tmp_path).values()) == [1]


def test_every_cell_of_a_group_gets_the_weights_that_were_chosen_for_it(tiny: Tiny) -> None:
    grid = {"method": ["tgan", "cdc"], "seed": [0, 1]}
    sweep = Sweep.model_validate({"name": "s", "job": tiny.job(), "grid": grid})
    key = group_of("cdc", str(tiny.target), 10)
    jobs = jobs_of(sweep, {key: {"weights.distance": 7.0}})
    assert [job.weights for job in jobs] == [{}, {}, {"distance": 7.0}, {"distance": 7.0}]
