"""Tasks on several workers at once, through Ray Train: what they hold, and what holds when one is lost."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cluster.errors import MachineError
from cluster.fleet import run_many
from cluster.search import search
from cluster.tasks import Share
from tests.cluster.gangs import any_task, hill

REPO = Path(__file__).parents[2]
PAIR = Share(cpus=1, workers=2)
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


def fleet(tasks: dict[str, dict[str, Any]], **more: Any) -> dict[str, Any]:
    more = {"share": PAIR, "on_result": lambda key, answer: None, "local": 2} | more
    return run_many(any_task, tasks.items(), **more)


def of(folder: Path, do: str) -> dict[str, Any]:
    folder.mkdir(exist_ok=True)
    return {"do": do, "folder": str(folder)}


@pytest.fixture(scope="module")
def crowd(ray_of_two: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """Two pairs and a task of its own, where two workers can be at a time: each may wait for the others."""
    path = tmp_path_factory.mktemp("crowd")
    tasks = {name: of(path / name, "look") for name in ("first", "second")} | {
        "small": {"do": "square", "x": 3}
    }
    return path, fleet(tasks, shares={"small": Share(cpus=0.5, own_threads=2)})


def test_tasks_that_need_all_there_is_end_one_after_the_other(crowd: tuple[Path, dict[str, Any]]) -> None:
    _, answers = crowd
    for name in ("first", "second"):
        assert answers[name] == {"rank": 0, "world": 2, "mean": 1.5}


def test_a_worker_holds_its_share_and_computes_with_its_threads(crowd: tuple[Path, dict[str, Any]]) -> None:
    path, _ = crowd
    for name in ("first", "second"):
        ranks = [json.loads((path / name / f"{rank}.json").read_text()) for rank in range(2)]
        assert len({rank["pid"] for rank in ranks}) == 2
        for rank in ranks:
            assert rank["cpus"] == {"CPU": 1.0}
            assert rank["threads"] == 1
            assert (rank["OMP_NUM_THREADS"], rank["MKL_NUM_THREADS"]) == ("1", "1")
            assert rank["CUDA_VISIBLE_DEVICES"] == ""


def test_a_task_may_have_a_share_of_its_own(crowd: tuple[Path, dict[str, Any]]) -> None:
    _, answers = crowd
    assert (answers["small"]["value"], answers["small"]["threads"], answers["small"]["variable"]) == (
        9,
        2,
        "2",
    )


def test_a_killed_worker_costs_no_more_than_the_way_from_the_newest_checkpoint(
    ray_of_two: None, tmp_path: Path
) -> None:
    answers = fleet({"a": of(tmp_path / "hurt", "count")})
    assert (tmp_path / "hurt" / "killed").exists()
    assert answers["a"] == {"sum": float(sum(range(12))), "begun_at": 3}


def test_a_bug_on_one_rank_is_told_once_and_not_tried_again(ray_of_two: None, tmp_path: Path) -> None:
    failure = fleet({"a": of(tmp_path / "bug", "raise")})["a"]
    assert (failure.reason, failure.kind) == ("ValueError: the loss is a pear", "raised")
    assert "in one_raises" in failure.detail
    assert len(list((tmp_path / "bug").glob("try-1-*"))) == 1


def test_an_interrupt_reaches_rank_0_and_all_save(tmp_path: Path) -> None:
    """In a process of its own, as it ends a run and the Ray below it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    done = subprocess.run(
        [sys.executable, str(REPO / "tests" / "cluster" / "interrupted.py"), str(tmp_path)],
        env=kept | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPO)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"a": ["stopped", "stopped"]}
    assert (tmp_path / "checkpoint").exists()


def test_a_trial_of_a_search_may_have_workers_too(ray_of_two: None, tmp_path: Path) -> None:
    (tmp_path / "tune").mkdir()
    found = search(
        hill,
        {"x": {"uniform": [0.0, 1.0]}},
        trials=2,
        seed=3,
        mode="max",
        score_name="score",
        share=PAIR,
        rungs=[1, 2],
        storage=tmp_path / "tune",
        on_trial=lambda trial: None,
        payload={"folder": str(tmp_path)},
    )
    assert sorted(trial.status for trial in found) in (["done", "done"], ["done", "pruned"])
    for trial in found:
        assert trial.score == pytest.approx(trial.values["x"])
    best = found[0]
    assert best.result is not None
    assert best.result["world"] == 2
    assert all((tmp_path / f"{best.id}-{rank}").exists() for rank in range(2))


def test_more_workers_than_there_is_room_for_is_one_sentence(ray_of_two: None, tmp_path: Path) -> None:
    with pytest.raises(
        MachineError, match="asks for 9 workers of 1 CPUs and 0 GPUs each, but this Ray has less"
    ):
        fleet({"a": of(tmp_path, "look")}, share=Share(cpus=1, workers=9))


@pytest.mark.parametrize("backend", ["processes", "here"])
def test_without_ray_a_task_has_one_process(backend: str, tmp_path: Path) -> None:
    with pytest.raises(MachineError, match=rf"backend: {backend} gives each task one process.*torchrun"):
        fleet({"a": of(tmp_path, "look")}, backend=backend)
