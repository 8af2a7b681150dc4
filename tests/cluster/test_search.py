import math
import signal
from pathlib import Path
from typing import Any

import pytest

from cluster.errors import MachineError
from cluster.search import search
from cluster.space import Goal, Names, Trial, distributions, ranked
from cluster.tasks import Share
from tests.cluster.hills import patient, valley

SPACE = {"weights.distance": {"log": [1.0, 10000.0]}}
WAYS = ["raises", "diverges", "nan", "calm"]


@pytest.fixture(scope="module", params=["ray", "here"])
def backend(request: pytest.FixtureRequest) -> str:
    if request.param == "ray":
        request.getfixturevalue("ray_of_two")
    return str(request.param)


def seek(backend: str, folder: Path, run: Any = valley, space: Any = SPACE, **more: Any) -> list[Trial]:
    chosen: dict[str, Any] = {"trials": 12, "seed": 1, "on_trial": lambda trial: None} | more
    return search(
        run,
        space,
        mode="min",
        score_name="depth",
        share=Share(cpus=1),
        rungs=[2, 4, 8],
        storage=folder,
        payload={"folder": str(folder)},
        backend=backend,
        **chosen,
    )


@pytest.fixture(scope="module")
def found(
    backend: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[list[Trial], list[Trial], Path, int]:
    """A search of twelve: its table, what was heard meanwhile, its folder, and the number of ticks."""
    folder = tmp_path_factory.mktemp("search")
    heard: list[Trial] = []
    ticks: list[int] = []
    table = seek(backend, folder, on_trial=heard.append, tick=lambda: ticks.append(1))
    return table, heard, folder, len(ticks)


def distance(trial: Trial) -> float:
    return abs(math.log10(trial.values["weights.distance"]) - 2)


def test_search_finds_the_region_of_the_optimum(found: Any) -> None:
    table = found[0]
    assert len(table) == 12
    best, worst = table[0], max(table, key=distance)
    assert best.status == "done"
    assert best.score == pytest.approx(distance(best) ** 2 + 1 / 8)
    assert distance(best) < 0.5 < distance(worst)


def test_search_prunes_the_hindmost_and_says_where(found: Any) -> None:
    table = found[0]
    pruned = [trial for trial in table if trial.status == "pruned"]
    assert pruned
    assert {trial.status for trial in table} == {"done", "pruned"}
    for trial in pruned:
        assert trial.step in (2, 4, 8)
        assert trial.reason == f"behind at step {trial.step}"
        assert trial.score == pytest.approx(distance(trial) ** 2 + 1 / trial.step)


def test_every_trial_is_heard_as_it_starts_and_as_it_ends(found: Any) -> None:
    table, heard, _, ticks = found
    started = [trial.id for trial in heard if trial.status == "started"]
    assert sorted(started) == sorted(trial.id for trial in table)
    assert {trial.id: trial for trial in heard} == {trial.id: trial for trial in table}
    assert ticks


def test_workers_are_kept_between_trials(found: Any, backend: str) -> None:
    runs = [line.split() for line in (found[2] / "runs.txt").read_text().splitlines()]
    assert len(runs) == 12
    assert len({pid for _, pid in runs}) <= 2


def test_a_trial_that_goes_wrong_counts_as_worst_and_the_others_go_on(backend: str, tmp_path: Path) -> None:
    ways = [*WAYS, "dies"] if backend == "ray" else WAYS
    begun = [Trial("", {"weights.distance": 100.0, "way": way}, "started") for way in ways]
    space = SPACE | {"way": {"choice": ways}}
    table = seek(backend, tmp_path, space=space, trials=len(ways), known=begun)
    assert sorted(trial.values["way"] for trial in table) == sorted(ways)
    wrong = {trial.values["way"]: trial for trial in table if not trial.scored}
    assert wrong["raises"].reason == "ValueError: too steep"
    assert (wrong["diverges"].status, wrong["diverges"].reason) == (
        "diverged",
        "three steps without a finite loss",
    )
    assert wrong["nan"].reason == "no finite score depth"
    assert table[0].values["way"] == "calm"
    if backend == "ray":
        assert wrong["dies"].reason is not None
        assert wrong["dies"].reason.startswith("worker died")


def test_a_search_that_goes_on_runs_only_what_is_missing(backend: str, tmp_path: Path, found: Any) -> None:
    table = found[0]
    unfinished = Trial(table[0].id, table[0].values, "started")
    known = [*table[1:11], unfinished]
    again = seek(backend, tmp_path, known=known)
    runs = [line.split()[0] for line in (tmp_path / "runs.txt").read_text().splitlines()]
    assert len(runs) == 2
    assert runs.count(unfinished.id) == 1
    assert {trial.id for trial in known} <= {trial.id for trial in again}
    assert len({tuple(trial.values.items()) for trial in again}) == 12
    assert seek(backend, tmp_path, known=again) == again


@pytest.mark.parametrize("sent", [signal.SIGTERM])
def test_an_interrupt_lets_trials_save_between_rungs(backend: str, tmp_path: Path, sent: Any) -> None:
    heard: list[Trial] = []

    def interrupt() -> None:
        if list(tmp_path.glob("begun-*")) and not list(tmp_path.glob("checkpoint-*")):
            signal.raise_signal(sent)

    if backend == "here":
        signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(sent))
        signal.setitimer(signal.ITIMER_REAL, 0.3)
    with pytest.raises(KeyboardInterrupt):
        seek(backend, tmp_path, run=patient, trials=1, on_trial=heard.append, tick=interrupt)
    assert (tmp_path / f"checkpoint-{heard[0].id}").exists()
    assert all(trial.status == "started" for trial in heard)


def test_the_same_values_have_the_same_name_and_twins_another() -> None:
    values = {"weights.distance": 3.5, "way": "calm"}
    backwards = dict(reversed(values.items()))
    name = Names([]).name(values)
    assert Names([]).name(backwards) == name
    assert Names([Trial(name, values, "started")]).name(values) == name
    assert Names([Trial(name, values, "done", 1.0)]).name(values) == f"{name}-2"


@pytest.mark.parametrize(("mode", "order"), [("min", "bacdx"), ("max", "abcdx")])
def test_the_table_has_finished_trials_first_then_pruned_then_failed(mode: Any, order: str) -> None:
    trials = [
        Trial("x", {}, "diverged"),
        Trial("c", {}, "pruned", 1.0),
        Trial("d", {}, "pruned", 1.0),
        Trial("a", {}, "done", 3.0),
        Trial("b", {}, "done", 2.0),
    ]
    goal = Goal(5, 0, mode, "depth", (1,), {}, ())
    assert "".join(trial.id for trial in ranked(trials, goal)) == order


@pytest.mark.parametrize(
    "rule",
    [{"log": [0.0, 1.0]}, {"uniform": [2.0, 1.0]}, {"uniform": [1.0]}, {"grid": [1]}, {}, {"choice": []}],
)
def test_a_range_that_is_none_is_one_sentence_with_its_name(rule: Any) -> None:
    with pytest.raises(MachineError, match=r"search over weights\.distance: "):
        distributions({"weights.distance": rule})


def test_an_empty_space_is_refused() -> None:
    with pytest.raises(MachineError, match="at least one setting"):
        distributions({})
