"""The sweep as people run it: a config of tiny cells, the command, its processes, what it leaves on disk."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.tiny import Tiny

REPO = Path(__file__).parent.parent
DEADLINE = 500.0
Runs = Callable[..., subprocess.CompletedProcess[str]]


@dataclass(frozen=True)
class Sweeps:
    """One folder in which sweeps are started: configs, runs/, exports/, what the processes see."""

    folder: Path
    tiny: Tiny
    variables: dict[str, str] = field(default_factory=dict)

    def write(self, name: str, grid: Mapping[str, Any], job: Mapping[str, Any], **more: Any) -> Path:
        """NAME.yaml: cells of the tiny source, one CPU each, not mirrored unless `more` says so."""
        values = {"name": name, "job": self.tiny.job(**job), "grid": dict(grid), "tracker": "none"}
        values["methods"] = {"rssa": {"settings": {"inversion_steps": 2}}}
        path = self.folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump({**values, **more}), encoding="utf-8")
        return path

    @property
    def environment(self) -> dict[str, str]:
        """As after logging in: no Ray around, and the packages of this checkout."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("RAY_", "MLFLOW_"))}
        return {**kept, "PYTHONPATH": str(REPO), "OMP_NUM_THREADS": "1", "COLUMNS": "200", **self.variables}

    @contextlib.contextmanager
    def started(self, config: Path, *words: str, cpus: int | None = None) -> Iterator[subprocess.Popen[str]]:
        """The command while it runs, a group of processes of its own. cpus: how many it may see."""
        command = [sys.executable, "-m", "pipeline.sweep", str(config), *words]
        few = sorted(os.sched_getaffinity(0))[:cpus]
        process = subprocess.Popen(
            command,
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=lambda: os.sched_setaffinity(0, few),
        )
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def run(self, config: Path, *words: str, cpus: int | None = None) -> subprocess.CompletedProcess[str]:
        """The command to its end."""
        with self.started(config, *words, cpus=cpus) as process:
            said, errors = process.communicate(timeout=DEADLINE)
            return subprocess.CompletedProcess(process.args, process.returncode, said, errors)

    def cell(self, sweep: str, start: str) -> Path:
        """The folder of the one cell whose name begins so."""
        (found,) = (self.folder / "runs" / sweep).glob(f"{start}-*")
        return found

    def results(self, sweep: str) -> dict[str, dict[str, Any]]:
        """result.json by the name of the cell."""
        found = sorted((self.folder / "runs" / sweep).glob("*/result.json"))
        return {path.parent.name: read(path) for path in found}

    def table(self, sweep: str) -> dict[str, Any]:
        """table.json."""
        made: dict[str, Any] = read(self.folder / "runs" / sweep / "table.json")
        return made


def read(path: Path) -> Any:
    """A JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def until(holds: Callable[[], Any], process: subprocess.Popen[str] | None = None) -> Any:
    """What `holds` gives as soon as that is true; the pause only keeps the loop off the others' CPU."""
    deadline = time.monotonic() + DEADLINE
    while not (found := holds()):
        assert process is None or process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.02)
    return found


def steps_of(cell: Path) -> int:
    """Lines that a running cell has logged."""
    path = cell / "metrics.jsonl"
    return len(path.read_text(encoding="utf-8").splitlines()) if path.is_file() else 0


def descendants(pid: int) -> dict[int, str]:
    """Processes below `pid`, with their titles."""
    parents, titles = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            after_name = (folder / "stat").read_text().rpartition(")")[2].split()
            parents[int(folder.name)] = int(after_name[1])
            titles[int(folder.name)] = (folder / "cmdline").read_text().replace("\0", " ").strip()
    below = {pid}
    while more := {child for child, parent in parents.items() if parent in below} - below:
        below |= more
    return {child: titles[child] for child in below - {pid}}


def alive(pid: int) -> bool:
    """Whether a process is there and not only waiting to be counted."""
    with contextlib.suppress(OSError):
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False
