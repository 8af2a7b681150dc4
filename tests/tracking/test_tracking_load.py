"""Sixteen trials on one tracking server, which is there, away, or loses answers: the disk is mirrored once."""

import json
import math
import statistics
import threading
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pipeline.tracking import jsonl, post
from pipeline.tracking.jsonl import Lines
from pipeline.tracking.mlflow_tracker import ENVIRONMENT, MlflowTracker
from pipeline.tracking.sync import complete
from tests.tracking.server import DEADLINE, Server, free_port, held, line_to

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
TRIALS, STEPS = 16, 40
# The least that a call which waits for a server waits is its timeout, 5 s; the others end in microseconds, but
# share two cores and one interpreter with sixteen senders.
MEDIAN, LONGEST = 0.005, 2.0


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("mlflow"))
    try:
        server.start()
        yield server
    finally:
        server.kill()


@dataclass
class Trial:
    """One cell as the loop of training writes it: a line on disk, then the same to the tracker."""

    folder: Path
    uri: str
    said: list[str] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)  # seconds that each call of the tracker took

    def begin(self) -> None:
        (self.folder / "samples").mkdir(parents=True)
        (self.folder / "config.yaml").write_text("method: cdc\nsteps: 40\n")
        self.tracker = MlflowTracker(self.folder, self.uri, self.said.append)
        self.timed(self.tracker.begin, self.folder.name, {"method": "cdc"}, self.folder.parent)

    def timed(self, call: Callable[..., None], *given: Any) -> None:
        began = time.perf_counter()
        call(*given)
        self.waits.append(time.perf_counter() - began)

    def steps(self, first: int, last: int) -> None:
        lines = Lines(self.folder / "metrics.jsonl")
        for step in range(first, last):
            probe = {"step": step, "probe": {"eyes": 0.5 + step}}  # has no time of its own
            terms = {f"G/{name}": math.sin(step + i) for i, name in enumerate(("fool", "distance", "cycle"))}
            terms |= {"D/real": math.nan if step == 7 else 1.0, "D/fake": math.inf if step == 8 else 2.0}
            line = {"step": step, "images": 4 * step, "seconds": 0.5 + step / 100, "terms": terms}
            for each in ([probe] if step % 10 == 0 else []) + [line]:
                lines.append(each)
                self.timed(self.tracker.log, step, jsonl.flat(each))
            if step % 20 == 0:
                path = self.folder / "samples" / f"{step:06d}.png"
                Image.new("RGB", (4, 4)).save(path)
                self.timed(self.tracker.picture, step, path)

    def end(self) -> None:
        result = {"status": "done", "reason": None, "scores": [{"name": "kid", "value": 0.02}]}
        (self.folder / "result.json").write_text(json.dumps(result))
        self.tracker.end("done", {"kid": 0.02})


def trials_in(folder: Path, uri: str, count: int) -> list[Trial]:
    folder.mkdir()
    (folder / "sweep.yaml").write_text("grid: {}\n")
    return [Trial(folder / f"cdc-{folder.name}-10-{n}-{n:08x}", uri) for n in range(count)]


def at_once(trials: list[Trial], does: Callable[[Trial], None]) -> None:
    threads = [threading.Thread(target=does, args=(trial,)) for trial in trials]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)
        assert not thread.is_alive()


def never_waited(trials: list[Trial]) -> None:
    waits = [seconds for trial in trials for seconds in trial.waits]
    assert statistics.median(waits) < MEDIAN
    assert max(waits) < LONGEST


def on_disk(folder: Path) -> dict[tuple[str, int], float]:
    """Every number of metrics.jsonl by name and step."""
    lines = jsonl.read(folder / "metrics.jsonl")
    named = [(name, line["step"], value) for line in lines for name, value in jsonl.flat(line).items()]
    return {(name, step): value for name, step, value in named if name != "seconds"}


def same(sent: float, kept: float) -> bool:
    if math.isnan(sent) or math.isnan(kept):
        return math.isnan(sent) and math.isnan(kept)
    return sent == kept or (math.isinf(sent) and kept > 1e308)  # SQLite keeps the largest number for it


def mirrored_once(uri: str, trials: list[Trial]) -> dict[str, dict[str, Any]]:
    """One run a trial, every number of its metrics.jsonl in it once, with its value; every picture.

    Returns all that the server holds.
    """
    names = {trial.folder.name: trial.folder for trial in trials}
    everything = held(uri)
    runs = [run for run in everything.values() if run["name"] in names]
    assert Counter(run["name"] for run in runs) == dict.fromkeys(names, 1)
    for run in runs:
        folder = names[run["name"]]
        there = [((key, step), float(value)) for key, step, value, _ in run["points"] if "final/" not in key]
        expected = on_disk(folder)
        assert Counter(key for key, _ in there) == dict.fromkeys(expected, 1)
        assert [key for key, value in there if not same(expected[key], value)] == []
        assert run["pictures"] == sorted(f"samples/{path.name}" for path in (folder / "samples").iterdir())
        assert run["status"] == "FINISHED"
    return everything


def delivered(trials: list[Trial]) -> None:
    """Their senders have nothing left; `end` stops waiting before they stop sending."""
    deadline = time.monotonic() + DEADLINE
    while any(trial.tracker._post._thread.is_alive() for trial in trials):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_sixteen_trials_at_once_lose_nothing_and_a_sync_afterwards_changes_nothing(
    server: Server, tmp_path: Path
) -> None:
    trials = trials_in(tmp_path / "calm", server.uri, TRIALS)
    at_once(trials, Trial.begin)
    at_once(trials, lambda trial: trial.steps(0, STEPS))
    at_once(trials, Trial.end)
    delivered(trials)
    never_waited(trials)
    mirrored_once(server.uri, trials)
    assert complete(tmp_path / "calm", server.uri).numbers == 0
    before = mirrored_once(server.uri, trials)
    twice = complete(tmp_path / "calm", server.uri)
    assert (twice.numbers, twice.files) == (0, 0)
    assert held(server.uri) == before


def test_lost_answers_leave_no_double_number_and_no_double_run(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(post, "PAUSE", 0.2)  # as long a test as needed, not half a minute a loss
    with line_to(server, 0.3, seed=5) as line:
        trials = trials_in(tmp_path / "lost", line.uri, 4)
        at_once(trials, Trial.begin)
        at_once(trials, lambda trial: trial.steps(0, STEPS))
        at_once(trials, Trial.end)
        delivered(trials)
        assert line.lost > 4
        line.share = 0.0
        complete(tmp_path / "lost", line.uri)
        before = mirrored_once(server.uri, trials)
        complete(tmp_path / "lost", line.uri)
        assert held(server.uri) == before
    never_waited(trials)
    assert all(len(trial.said) <= 1 for trial in trials)


def test_a_server_that_never_comes_costs_little_memory_and_no_time_and_is_completed_later(
    server: Server, tmp_path: Path
) -> None:
    trials = trials_in(tmp_path / "away", f"http://127.0.0.1:{free_port()}", 1)
    (trial,) = trials
    trial.begin()
    trial.steps(0, STEPS)
    tracemalloc.start()
    for step in range(10 * post.ROOM):  # ten times what may wait
        trial.timed(trial.tracker.log, step, {"G/fool": float(step)})
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 8e6
    began = time.monotonic()
    trial.end()
    assert time.monotonic() - began < 8
    never_waited(trials)
    assert len(trial.said) == 1
    complete(tmp_path / "away", server.uri)
    before = mirrored_once(server.uri, trials)
    assert complete(tmp_path / "away", server.uri).numbers == 0
    assert held(server.uri) == before


@pytest.mark.faults
def test_a_server_that_is_killed_before_and_in_the_middle_is_completed_from_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(post, "PAUSE", 1.0)
    (tmp_path / "mlflow").mkdir()
    server = Server(tmp_path / "mlflow")
    trials = trials_in(tmp_path / "runs", server.uri, TRIALS)
    try:
        at_once(trials, Trial.begin)
        at_once(trials, lambda trial: trial.steps(0, 10))
        server.start()
        at_once(trials, lambda trial: trial.steps(10, 20))
        assert all(trial.tracker.ready(DEADLINE) for trial in trials)
        server.kill()
        at_once(trials, lambda trial: trial.steps(20, 30))
        server.start()
        at_once(trials, lambda trial: trial.steps(30, STEPS))
        server.kill()
        at_once(trials, Trial.end)
        never_waited(trials)
        assert all(len(trial.said) == 1 for trial in trials)
        delivered(trials)
        server.start()
        complete(tmp_path / "runs", server.uri)
        before = mirrored_once(server.uri, trials)
        assert complete(tmp_path / "runs", server.uri).numbers == 0
        assert held(server.uri) == before
    finally:
        server.kill()
