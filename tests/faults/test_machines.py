"""A machine that goes, and a head that is started again: the sweep ends with the calm run's table."""

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.faults.broken import without_cost
from tests.heads import Head, a_head
from tests.sweeps import DEADLINE, REPO, Sweeps, alive, descendants, steps_of, until
from tests.tiny import Tiny, make_tiny

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(3000)]
GRID = {"method": ["tgan"], "seed": [0, 1, 2]}
LONG = {"steps": 30, "every": {"log": 1, "sample": 30, "save": 5}}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return make_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory, tiny: Tiny) -> Any:
    sweeps = Sweeps(tmp_path_factory.mktemp("calm"), tiny)
    done = sweeps.run(sweeps.write("grid", GRID, LONG, share={"backend": "here"}))
    assert done.returncode == 0, done.stderr
    return without_cost(sweeps.table("grid"))


def running(sweeps: Sweeps) -> dict[Path, int]:
    """Steps of the cells that have begun and not ended."""
    cells = (sweeps.folder / "runs" / "grid").glob("tgan-*")
    return {cell: steps_of(cell) for cell in cells if steps_of(cell) and not (cell / "result.json").exists()}


@contextmanager
def machines(count: int, sweeps: Sweeps) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """Those of tests/faults/machines.py, and what it said of them."""
    command = [sys.executable, str(REPO / "tests" / "faults" / "machines.py"), str(count)]
    with (sweeps.folder / "machines.log").open("w") as log:
        process = subprocess.Popen(
            command,
            env=sweeps.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,
        )
    try:
        assert process.stdout is not None
        yield process, json.loads(next(line for line in process.stdout if line.startswith("{")))
    finally:
        below = descendants(process.pid)
        process.communicate(timeout=DEADLINE)
        for pid in filter(alive, below):
            os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("word", ["remove", "drain"])
def test_the_trials_of_a_machine_that_goes_start_again_elsewhere(
    word: str, tiny: Tiny, calm: Any, tmp_path: Path, rng: random.Random
) -> None:
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": f"{rng.getrandbits(256):064x}"}
    sweeps = Sweeps(tmp_path, tiny, token | {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"})
    with machines(2, sweeps) as (cluster, told):
        joining = Sweeps(tmp_path, tiny, {**sweeps.variables, "RAY_ADDRESS": told["address"]})
        with joining.started(joining.write("grid", GRID, LONG)) as process:
            late = rng.randrange(2, 12)
            until(lambda: len(running(joining)) == 2 and min(running(joining).values()) >= late, process)
            assert cluster.stdin is not None
            assert cluster.stdout is not None
            cluster.stdin.write(f"{word} {rng.randrange(2)}\n")
            cluster.stdin.flush()
            said, errors = process.communicate(timeout=DEADLINE)
        assert "removed" in cluster.stdout.readline()
    assert process.returncode == 0, said + errors
    assert without_cost(joining.table("grid")) == calm


def kill_whole(head: subprocess.Popen[bytes]) -> None:
    """kill -9 of a head with all of its processes."""
    for pid in [head.pid, *descendants(head.pid)]:
        os.kill(pid, signal.SIGKILL)


def killed_with_its_head(sweeps: Sweeps, head: Head, config: Path, ready: Callable[[], bool]) -> str:
    """What a sweep on that cluster says last, whose head is killed once it is ready."""
    with a_head(head) as ray, sweeps.started(config) as process:
        until(ready, process)
        kill_whole(ray)
        _, said = process.communicate(timeout=DEADLINE)
    assert process.returncode == 5, said
    assert "Traceback" not in said
    return str(said.splitlines()[-1])


@pytest.fixture
def head(tmp_path: Path) -> Head:
    home = tmp_path / "home"
    home.mkdir()
    return Head.described(home)


@pytest.fixture
def sweeps(tmp_path: Path, tiny: Tiny, head: Head) -> Sweeps:
    """Sweeps that join this head."""
    return Sweeps(tmp_path, tiny, head.variables | {"RAY_ADDRESS": f"127.0.0.1:{head.port}"})


def test_a_head_that_is_killed_and_started_again_loses_nothing(
    calm: Any, head: Head, sweeps: Sweeps, rng: random.Random
) -> None:
    config = sweeps.write("grid", GRID, LONG)
    late = rng.randrange(2, 12)
    said = killed_with_its_head(
        sweeps, head, config, lambda: any(steps >= late for steps in running(sweeps).values())
    )
    assert said.startswith("error: the head of the Ray cluster at ")
    with a_head(head):
        done = sweeps.run(config)
    assert done.returncode == 0, done.stdout + done.stderr
    assert without_cost(sweeps.table("grid")) == calm


def test_a_search_whose_head_is_killed_goes_on_with_the_trials_it_has(head: Head, sweeps: Sweeps) -> None:
    space = {"cdc": {"weights.distance": {"log": [10, 1000]}}}
    searched = {"space": space, "trials": 5, "rungs": 1, "steps": 4}
    config = sweeps.write("grid", {"method": ["cdc"], "seed": [0]}, {}, search=searched)

    def ended() -> dict[str, Any]:
        ledgers = (sweeps.folder / "runs" / "grid" / "search").glob("*/trials.json")
        trials = [trial for path in ledgers for trial in json.loads(path.read_text())]
        return {trial["id"]: trial for trial in trials if trial["status"] != "started"}

    said = killed_with_its_head(sweeps, head, config, lambda: len(ended()) >= 1)
    assert said.startswith("error: the head of the Ray cluster at ")
    before = ended()
    with a_head(head):
        done = sweeps.run(config)
    assert done.returncode == 0, done.stdout + done.stderr
    assert before.items() <= ended().items()
    assert len(ended()) == searched["trials"]


STUCK = """
from cluster.fleet import joined
with joined() as ray:
    print("joined", flush=True)
    while True:
        ray.nodes()
"""


def test_a_call_to_ray_that_never_returns_ends_with_the_sentence_too(head: Head, sweeps: Sweeps) -> None:
    command = [sys.executable, "-c", STUCK]
    pipe = subprocess.PIPE
    with (
        a_head(head) as ray,
        subprocess.Popen(command, env=sweeps.environment, stdout=pipe, stderr=pipe, text=True) as stuck,
    ):
        assert stuck.stdout is not None
        assert stuck.stdout.readline() == "joined\n"
        kill_whole(ray)
        _, said = stuck.communicate(timeout=DEADLINE)
    assert stuck.returncode == 5
    assert said.splitlines()[-1].startswith("error: the head of the Ray cluster at ")
