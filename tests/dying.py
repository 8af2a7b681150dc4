"""Runs commands one after the other, each in a process of its own that kills itself (-9) where it is told to.

usage: python tests/dying.py PLAN.json ANSWERS.json. A plan is a list of {"verb", "arguments", "dies"}; the answer to
each is its exit status, negative for a signal. Forked after the imports, so that a process costs no start-up.
"""

import importlib
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from pipeline.cli import run

PRELOADED = (
    "cluster.engine",
    "pipeline.adapting",
    "pipeline.pretraining",
    "pipeline.problems",
    "pipeline.export",
)


def die() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("a killed process goes on")


def dies_in_step(number: int) -> None:
    """In the middle of the step `number`: the networks have moved, their averages have not."""
    from pipeline.nets import Nets

    follow = Nets.follow

    def followed(nets: Nets, step: int) -> None:
        if step == number:
            die()
        follow(nets, step)

    Nets.follow = followed  # type: ignore[method-assign]


def dies_in_flush(name: str) -> None:
    """While the file or folder whose path ends so is flushed; of a file, half has reached the disk."""
    fsync = os.fsync

    def flushed(descriptor: int) -> None:
        path = str(Path(f"/proc/self/fd/{descriptor}").readlink())
        if name in path:
            if Path(path).is_file():
                os.ftruncate(descriptor, os.fstat(descriptor).st_size // 2)
            die()
        fsync(descriptor)

    os.fsync = flushed  # type: ignore[assignment]


def dies_at_rename(name: str) -> None:
    """Before a file or folder is renamed to this name."""

    def watched(real: Callable[..., Path]) -> Callable[..., Path]:
        def renamed(path: Path, target: Path) -> Path:
            if Path(target).name == name:
                die()
            return real(path, target)

        return renamed

    Path.rename = watched(Path.rename)  # type: ignore[method-assign]
    Path.replace = watched(Path.replace)  # type: ignore[method-assign]


def dies_at_put(name: str) -> None:
    """Before a file whose address ends so is put into an S3 store."""
    from pipeline import mirror

    put = mirror.put_file

    def watched(path: Path, where: str | Path) -> None:
        if str(where).endswith(name):
            die()
        put(path, where)

    mirror.put_file = watched


def dies_after_put(name: str) -> None:
    """As soon as it is there."""
    from pipeline import mirror

    put = mirror.put_file

    def watched(path: Path, where: str | Path) -> None:
        put(path, where)
        if str(where).endswith(name):
            die()

    mirror.put_file = watched


WAYS: dict[str, Callable[[Any], None]] = {
    "step": dies_in_step,
    "flush": dies_in_flush,
    "rename": dies_at_rename,
    "put": dies_at_put,
    "was put": dies_after_put,
}


def alone(entry: dict[str, Any]) -> int:
    """The exit status of one command in a forked process."""
    child = os.fork()
    if child == 0:
        for way, where in (entry["dies"] or {}).items():
            WAYS[way](where)
        code = 70
        try:
            code = run(importlib.import_module(f"pipeline.{entry['verb']}").main, entry["arguments"])
        finally:
            sys.stdout.flush()
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main(plan: Path, answers: Path) -> None:
    for module in PRELOADED:
        importlib.import_module(module)
    answers.write_text(json.dumps([alone(entry) for entry in json.loads(plan.read_text())]))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
