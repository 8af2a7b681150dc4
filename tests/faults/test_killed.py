"""kill -9 and requests to stop at points that chance names: the table at the end is the calm run's."""

import contextlib
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.faults.broken import leftovers, without_cost
from tests.sweeps import Sweeps, alive, descendants, read, steps_of, until
from tests.tiny import Tiny, make_tiny

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(3000)]
GRID = {"method": ["tgan", "cdc"], "seed": [0, 1]}
STEPS, CELLS = 12, 4
KILLS = 4
LONG = 40  # steps of a cell that is surely still in training a tenth of a second after a quarter of them
SECONDS = 10.0  # in which what was asked to stop has saved
LEAVE = 30.0  # in which the command has left too: by default Slurm and Kubernetes wait so long


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return make_tiny(tmp_path_factory.mktemp("tiny"))


def swept(sweeps: Sweeps, backend: str = "ray", steps: int = STEPS, **job: Any) -> Path:
    return sweeps.write("grid", GRID, {"steps": steps, **job}, share={"backend": backend})


def calm_table(tmp_path_factory: pytest.TempPathFactory, tiny: Tiny, steps: int) -> Any:
    """The table of a sweep that was left in peace."""
    sweeps = Sweeps(tmp_path_factory.mktemp("calm"), tiny)
    done = sweeps.run(swept(sweeps, "here", steps))
    assert done.returncode == 0, done.stderr
    return without_cost(sweeps.table("grid"))


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory, tiny: Tiny) -> Any:
    return calm_table(tmp_path_factory, tiny, STEPS)


@pytest.fixture(scope="module")
def long_calm(tmp_path_factory: pytest.TempPathFactory, tiny: Tiny) -> Any:
    return calm_table(tmp_path_factory, tiny, LONG)


def progress(sweeps: Sweeps) -> int:
    """Steps that all cells together have behind them."""
    return sum(map(steps_of, cells(sweeps)))


def workers(process: subprocess.Popen[str]) -> list[int]:
    titles = descendants(process.pid)
    marks = ("ray::_Work", "spawn_main", "ray::Worker")
    return sorted(pid for pid, title in titles.items() if any(mark in title for mark in marks))


def kill_driver(process: subprocess.Popen[str], rng: random.Random) -> None:
    os.kill(process.pid, signal.SIGKILL)


def kill_worker(process: subprocess.Popen[str], rng: random.Random) -> None:
    found = workers(process)
    with contextlib.suppress(ProcessLookupError):
        if found:  # none, where the table is being written already
            os.kill(rng.choice(found), signal.SIGKILL)


def kill_all(process: subprocess.Popen[str], rng: random.Random) -> None:
    for pid in [process.pid, *descendants(process.pid)]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


Kill = Callable[[subprocess.Popen[str], random.Random], None]
KINDS: dict[str, Kill] = {"driver": kill_driver, "worker": kill_worker, "all": kill_all}


def gone(pids: list[int]) -> None:
    """Workers of a driver that was killed end by themselves, and soon: nobody asks them to."""
    deadline = time.monotonic() + 120
    while any(map(alive, pids)):
        assert time.monotonic() < deadline, "workers outlive their driver"
        time.sleep(0.05)


def hit(sweeps: Sweeps, config: Path, kill: Kill, rng: random.Random) -> int | None:
    """Start the command, and kill when so many more steps are done as chance says. Its exit status if it ended."""
    goal = progress(sweeps) + rng.randrange(1, STEPS * CELLS // KILLS)
    late = rng.random() / 2
    with sweeps.started(config) as process:
        until(lambda: progress(sweeps) >= goal or process.poll() is not None)
        time.sleep(late)  # where in a step, a checkpoint or a table it then is
        below = workers(process)
        if process.poll() is None:
            kill(process, rng)
            if kill is kill_worker:
                process.communicate()
            else:
                process.wait()
                gone(below)
        return process.poll()


@pytest.mark.parametrize("backend", ["ray", "processes"])
@pytest.mark.parametrize("kind", KINDS)
def test_killed_again_and_again_it_ends_with_the_calm_table(
    kind: str, backend: str, tiny: Tiny, calm: Any, tmp_path: Path, rng: random.Random
) -> None:
    sweeps = Sweeps(tmp_path, tiny)
    config = swept(sweeps, backend)
    for _ in range(KILLS):
        status = hit(sweeps, config, KINDS[kind], rng)
        if kind == "worker":
            assert status in (0, 4)
    done = sweeps.run(config)
    assert done.returncode == 0, done.stderr
    assert without_cost(sweeps.table("grid")) == calm
    assert leftovers(tmp_path / "exports") == []


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("backend", ["ray", "processes"])
def test_asked_to_stop_at_any_step_every_cell_in_training_saves_it_in_time_and_goes_on(
    sent: signal.Signals, backend: str, tiny: Tiny, long_calm: Any, tmp_path: Path, rng: random.Random
) -> None:
    sweeps = Sweeps(tmp_path, tiny)
    config = swept(sweeps, backend, LONG, every={"log": 1, "sample": LONG, "save": 2 * LONG})
    with sweeps.started(config) as process:
        goal = rng.randrange(1, LONG // 4)
        until(lambda: progress(sweeps) >= goal, process)
        time.sleep(rng.random() / 10)
        training = {cell for cell in cells(sweeps) if steps_of(cell)}
        assert saved(sweeps) == {}  # what there is later was made because it was asked to stop
        asked, began = time.time(), time.monotonic()
        os.kill(process.pid, sent) if sent == signal.SIGTERM else os.killpg(process.pid, sent)
        _, said = process.communicate()
        left = time.monotonic() - began
    assert process.returncode == 130, said
    assert "the same command continues" in said
    assert left < LEAVE
    assert training <= saved(sweeps).keys()
    for cell, state in saved(sweeps).items():
        assert read(state)["step"] == steps_of(cell) < LONG
        assert state.stat().st_mtime - asked < SECONDS
    done = sweeps.run(config)
    assert done.returncode == 0, done.stderr
    assert without_cost(sweeps.table("grid")) == long_calm


def cells(sweeps: Sweeps) -> list[Path]:
    return sorted((sweeps.folder / "runs" / "grid").glob("*-*"))


def saved(sweeps: Sweeps) -> dict[Path, Path]:
    """The newest state.json of every cell that has a checkpoint."""
    found = {cell: sorted(cell.glob("checkpoints/[0-9]*/state.json")) for cell in cells(sweeps)}
    return {cell: states[-1] for cell, states in found.items() if states}
