import signal
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from cluster.errors import MachineError
from cluster.fleet import run_many
from cluster.tasks import Failure, Share
from tests.cluster.toys import toy


@pytest.fixture(params=["ray", "processes"])
def workers(request: pytest.FixtureRequest) -> str:
    """Backends with processes of their own."""
    if request.param == "ray":
        request.getfixturevalue("ray_of_two")
    return str(request.param)


def fleet(backend: str, tasks: dict[str, dict[str, Any]], **more: Any) -> dict[str, Any]:
    more = {"share": Share(cpus=1), "on_result": lambda key, answer: None, "local": 2} | more
    return run_many(toy, tasks.items(), backend=backend, **more)


@dataclass
class Calm:
    """One run of squares with some tasks that go wrong among them."""

    backend: str
    answers: dict[str, Any]
    heard: list[str]
    ticks: int
    handler_given_back: bool


@pytest.fixture(scope="module", params=["ray", "processes", "here"])
def calm(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Calm:
    tasks: dict[str, dict[str, Any]] = {"bad": {"do": "raise"}, "left": {"do": "leave"}}
    if request.param == "ray":
        request.getfixturevalue("ray_of_two")
    if request.param != "here":
        tasks["dead"] = {"do": "die", "folder": str(tmp_path_factory.mktemp("dead"))}
    tasks |= {str(x): {"do": "square", "x": x} for x in range(7)}
    heard: list[str] = []
    ticks: list[int] = []
    before = signal.getsignal(signal.SIGTERM)
    answers = fleet(
        request.param,
        tasks,
        on_result=lambda key, answer: heard.append(key),
        tick=lambda: ticks.append(1),
    )
    return Calm(request.param, answers, heard, len(ticks), signal.getsignal(signal.SIGTERM) == before)


def test_every_task_is_answered_once_in_any_order(calm: Calm) -> None:
    assert [calm.answers[str(x)]["value"] for x in range(7)] == [x * x for x in range(7)]
    assert sorted(calm.heard) == sorted(calm.answers)


def test_a_task_that_raises_fails_with_one_line_and_the_others_go_on(calm: Calm) -> None:
    bad, left = calm.answers["bad"], calm.answers["left"]
    assert (bad.reason, bad.kind) == ("ValueError: the loss is a pear", "raised")
    assert "in fail" in bad.detail
    assert left.reason == "left with exit status 3"


def test_a_worker_that_dies_fails_its_task_alone_with_the_reason(calm: Calm) -> None:
    said = {
        "ray": Failure("worker died (killed or crashed; out of memory, perhaps)", "died"),
        "processes": Failure("worker died (signal 9)", "died"),
    }
    if calm.backend in said:  # a task in this process would take us with it
        assert replace(calm.answers["dead"], detail="") == said[calm.backend]


def test_workers_are_kept_and_their_threads_counted(calm: Calm) -> None:
    answers = [calm.answers[str(x)] for x in range(7)]
    assert len({answer["pid"] for answer in answers}) <= 3  # two, and one in place of the dead
    if calm.backend != "here":
        assert {(answer["threads"], answer["variable"]) for answer in answers} == {(1, "1")}


def test_tick_is_called_while_tasks_run_and_the_handler_of_sigterm_is_given_back(calm: Calm) -> None:
    assert calm.ticks
    assert calm.handler_given_back


def test_one_retry_is_enough_for_one_death(tmp_path: Path) -> None:
    tasks = {"dead": {"do": "die", "folder": str(tmp_path), "once": True}}
    assert fleet("processes", tasks, retries=1)["dead"] == {"value": "alive"}


def test_fractions_of_a_cpu_let_more_tasks_than_cpus_run_at_once(workers: str, tmp_path: Path) -> None:
    names = ["a", "b", "c"]
    ring = dict(zip(names, [*names[1:], names[0]], strict=True))
    tasks = {
        me: {"do": "meet", "me": me, "other": other, "folder": str(tmp_path)} for me, other in ring.items()
    }
    answers = fleet(workers, tasks, share=Share(cpus=0.65))
    assert [answers[name] for name in names] == [{"value": "met"}] * len(names)


@pytest.mark.parametrize(("backend", "sent"), [("ray", signal.SIGTERM), ("processes", signal.SIGINT)])
def test_an_interrupt_lets_busy_tasks_save_and_begins_no_other(
    request: pytest.FixtureRequest, tmp_path: Path, backend: str, sent: signal.Signals
) -> None:
    if backend == "ray":
        request.getfixturevalue("ray_of_two")
    folders = [tmp_path / name for name in ("a", "b", "c")]
    for folder in folders:
        folder.mkdir()
    heard: dict[str, Any] = {}

    def interrupt_once_two_run() -> None:
        if all((folder / "begun").exists() for folder in folders[:2]) and not heard:
            signal.raise_signal(sent)

    tasks = {folder.name: {"do": "save", "folder": str(folder)} for folder in folders}
    with pytest.raises(KeyboardInterrupt):
        fleet(backend, tasks, on_result=heard.__setitem__, tick=interrupt_once_two_run)
    assert [(folder / "checkpoint").exists() for folder in folders] == [True, True, False]
    assert heard == {"a": Failure("stopped", "stopped"), "b": Failure("stopped", "stopped")}


def test_a_task_in_this_process_is_watched_while_it_runs(tmp_path: Path) -> None:
    task = {"do": "meet", "me": "task", "other": "tick", "folder": str(tmp_path)}
    assert fleet("here", {"a": task}, tick=(tmp_path / "tick").touch) == {"a": {"value": "met"}}


def test_an_interrupt_in_this_process_stops_the_run_too(tmp_path: Path) -> None:
    heard: dict[str, Any] = {}
    signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGTERM))
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    with pytest.raises(KeyboardInterrupt):
        fleet("here", {"a": {"do": "save", "folder": str(tmp_path)}}, on_result=heard.__setitem__)
    assert (tmp_path / "checkpoint").exists()
    assert heard == {"a": Failure("stopped", "stopped")}


def test_a_share_that_no_machine_has_is_one_sentence(workers: str) -> None:
    with pytest.raises(MachineError, match="asks for 64 CPUs and 0 GPUs, but"):
        fleet(workers, {"a": {"do": "square", "x": 2}}, share=Share(cpus=64))


def test_an_exception_in_on_result_ends_the_run() -> None:
    def full(key: str, answer: Any) -> None:
        raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space"):
        fleet("processes", {"a": {"do": "square", "x": 2}}, on_result=full)


def test_two_tasks_with_one_id_are_refused() -> None:
    with pytest.raises(ValueError, match="same id"):
        run_many(
            toy, [("a", {}), ("a", {})], share=Share(cpus=0.5), on_result=lambda *_: None, backend="here"
        )


@pytest.mark.parametrize(
    ("share", "cpus", "gpus", "slots"),
    [
        (Share(1), 2, 0, 2),
        (Share(0.1), 1, 0, 10),
        (Share(2), 3, 0, 1),
        (Share(1, 0.5), 16, 1, 2),
        (Share(1, 0.4), 16, 2, 4),
        (Share(8, 1), 16, 8, 2),
        (Share(0, 2), 0, 5, 2),
        (Share(1, 1), 16, 0, 0),
    ],
)
def test_slots_of_a_machine(share: Share, cpus: float, gpus: float, slots: int) -> None:
    assert share.fits(cpus, gpus) == slots


@pytest.mark.parametrize("numbers", [(0, 0), (-1, 1), (1, -0.5)])
def test_a_share_of_nothing_is_refused(numbers: tuple[float, float]) -> None:
    with pytest.raises(MachineError, match="one of them above 0"):
        Share(*numbers)
