"""One cell, two commands: the second says who holds it and leaves; a sweep waits; what was killed holds nothing."""

import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.grid import Sweep
from pipeline.sweeping import jobs_of
from pipeline.tracking import jsonl
from tests.sweeps import Sweeps, read, until
from tests.test_launched import TORCHRUN
from tests.test_resume import ENVIRONMENT, ROOT, command, config
from tests.tiny import Tiny

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]
STEPS = 20
PATIENCE = 500


@contextlib.contextmanager
def started(verb: str, arguments: list[str]) -> Iterator[subprocess.Popen[str]]:
    """The command while it runs; afterwards it is gone."""
    process = subprocess.Popen(
        [sys.executable, "-m", f"pipeline.{verb}", *arguments],
        env=ENVIRONMENT,
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def ended(launch: list[str], verb: str, arguments: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*launch, "-m", f"pipeline.{verb}", *arguments],
        env=ENVIRONMENT,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


def held_up(cell: Path, process: subprocess.Popen[str]) -> None:
    """It has saved once, and stands still: whatever is written from now on, another has written."""
    until(lambda: list(cell.glob("checkpoints/[0-9]*")), process)
    process.send_signal(signal.SIGSTOP)
    state = Path("/proc") / str(process.pid) / "stat"
    until(lambda: state.read_text().rpartition(")")[2].split()[0] == "T", process)


def left(cell: Path) -> dict[str, tuple[int, int]]:
    """Time and size of everything in a cell, by its name there."""
    found = [path for path in cell.rglob("*") if path.exists()]
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in found}


def cell_in(runs: Path, process: subprocess.Popen[str]) -> Path:
    config: Path = until(lambda: next(runs.glob("*/config.yaml"), None), process)
    return config.parent


def asked_for(tiny: Tiny, folder: Path, name: str) -> tuple[str, list[str]]:
    """A verb and its arguments, of a batch that two ranks can share."""
    path = config(folder / "job.yaml", tiny, name, STEPS, save=2, sample=1000)
    path.write_text(json.dumps({**json.loads(path.read_text()), "batch": 4}))
    return command(path, name, folder / "runs")


def test_the_second_adapt_says_who_holds_the_cell_and_a_killed_one_holds_nothing(
    tiny: Tiny, tmp_path: Path
) -> None:
    verb, arguments = asked_for(tiny, tmp_path, "cdc")
    with started(verb, arguments) as holder:
        cell = cell_in(tmp_path / "runs", holder)
        held_up(cell, holder)
        before = left(cell)
        second, in_two = ended([sys.executable], verb, arguments), ended(TORCHRUN, verb, arguments)
        assert left(cell) == before
    said = f"error: {cell}: held by process {holder.pid} on "
    assert second.returncode == 2
    assert second.stderr.splitlines()[-1].startswith(said)
    assert in_two.returncode != 0
    assert said in in_two.stderr
    assert holder.returncode == -signal.SIGKILL
    again = ended([sys.executable], verb, arguments)
    assert again.returncode == 0, again.stderr
    assert read(cell / "result.json")["status"] == "done"
    assert every_step_once(cell)


def test_the_second_pretrain_says_who_holds_the_run_and_writes_nothing(tiny: Tiny, tmp_path: Path) -> None:
    verb, arguments = asked_for(tiny, tmp_path, "pretrain")
    with started(verb, arguments) as holder:
        run = cell_in(tmp_path / "runs", holder)
        held_up(run, holder)
        before = left(run)
        second = ended([sys.executable], verb, arguments)
        assert left(run) == before
    assert second.returncode == 2
    assert f"error: {run}: held by process {holder.pid} on " in second.stderr


def every_step_once(cell: Path) -> bool:
    steps = [line["step"] for line in jsonl.read(cell / "metrics.jsonl") if "terms" in line]
    return steps == list(range(1, STEPS + 1))


def waits(process: subprocess.Popen[str]) -> bool:
    """Whether the system says that this process waits for a lock."""
    lines = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    return any(words[1] == "->" and words[5] == str(process.pid) for words in lines)


@pytest.fixture
def shared(tiny: Tiny, tmp_path: Path) -> tuple[Sweeps, Path, list[str]]:
    """A sweep of one cell, and the arguments of the same cell by itself, in the sweep's folder."""
    sweeps = Sweeps(tmp_path, tiny)
    every = {"log": 1, "sample": 1000, "save": 2}
    asked = sweeps.write("one", {"method": ["cdc"], "seed": [0]}, {"steps": STEPS, "every": every})
    values: dict[str, Any] = yaml.safe_load(asked.read_text())
    (job,) = jobs_of(Sweep.model_validate(values))
    (tmp_path / "cell.yaml").write_text(yaml.safe_dump(job.model_dump(mode="json")))
    runs = ["--runs", str(tmp_path / "runs" / "one"), "--device", "cpu", "--tracker", "none"]
    return sweeps, asked, [str(tmp_path / "cell.yaml"), *runs]


def test_a_sweep_waits_for_a_cell_that_another_command_runs(shared: tuple[Sweeps, Path, list[str]]) -> None:
    sweeps, asked, arguments = shared
    with started("adapt", arguments) as holder:
        cell = cell_in(sweeps.folder / "runs" / "one", holder)
        held_up(cell, holder)
        before = left(cell)
        with sweeps.started(asked, "share.backend=here") as sweep:
            until(lambda: waits(sweep), sweep)
            assert left(cell) == before
            holder.send_signal(signal.SIGCONT)
            assert holder.wait(PATIENCE) == 0
            ended_at = (cell / "result.json").stat().st_mtime_ns
            _, errors = sweep.communicate(timeout=PATIENCE)
    assert sweep.returncode == 0, errors
    assert (cell / "result.json").stat().st_mtime_ns == ended_at, "a finished cell is not run again"
    assert [result["status"] for result in sweeps.results("one").values()] == ["done"]
    assert every_step_once(cell)
