"""Runs commands one after the other, each in a forked process of its own in which something really breaks.

usage: python tests/faults/breaking.py PLAN.json ANSWERS.json. An entry of a plan is {"verb", "arguments", "dies"} as
for tests/dying.py, which kills; here "dies" may also name a fault of BREAKS. "copy" names two folders: the first is
copied to the second after the command. The answer is {"status", "said"}: exit status and stderr.
"""

import importlib
import json
import os
import resource
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cluster.engine import PlainEngine
from pipeline.nets import Nets
from tests.dying import PRELOADED, WAYS, alone

BALLAST = "ballast"


def nan_in_loss(calls: list[int]) -> None:
    """The scalar of these backward passes, counted from 0, is not a number."""
    backward, count = PlainEngine.backward, iter(range(1 << 30))

    def poisoned(engine: PlainEngine, loss: Tensor) -> None:
        backward(engine, loss * torch.nan if next(count) in calls else loss)

    PlainEngine.backward = poisoned  # type: ignore[method-assign]


def nan_in_gradient(calls: list[int]) -> None:
    """One element of the gradients that are looked at in these calls, counted from 0, is not a number."""
    sync, count = PlainEngine.sync, iter(range(1 << 30))

    def poisoned(engine: PlainEngine, gradients: list[Tensor], names: Sequence[str] = ()) -> bool:
        if next(count) in calls:
            gradients[-1].view(-1)[-1] = torch.nan
        return sync(engine, gradients, names)

    PlainEngine.sync = poisoned  # type: ignore[method-assign]


def out_of_memory(step: int) -> None:
    """From this step on the process may not have more memory than it has then."""
    follow = Nets.follow

    def followed(nets: Nets, number: int) -> None:
        follow(nets, number)
        if number == step:
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            most = pages * resource.getpagesize() + (1 << 20)
            resource.setrlimit(resource.RLIMIT_AS, (most, most))

    Nets.follow = followed  # type: ignore[method-assign]


def full_disk(place: tuple[str, int]) -> None:
    """A file takes all of a file system but so many bytes."""
    folder, left = place
    ballast = Path(folder) / BALLAST
    ballast.unlink(missing_ok=True)
    with ballast.open("wb") as file:
        free = os.fstatvfs(file.fileno())
        os.posix_fallocate(file.fileno(), 0, max(1, free.f_bavail * free.f_bsize - left))


def space_again(folder: str) -> None:
    """It is taken away."""
    (Path(folder) / BALLAST).unlink()


BREAKS = {
    "loss": nan_in_loss,
    "gradient": nan_in_gradient,
    "memory": out_of_memory,
    "full": full_disk,
    "freed": space_again,
}


def heard(entry: dict[str, Any]) -> dict[str, Any]:
    """The answer to an entry. stderr goes to a file: a pipe would have to be emptied meanwhile."""
    with tempfile.TemporaryFile() as file:
        kept = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            status = alone(entry)
        finally:
            os.dup2(kept, 2)
            os.close(kept)
        file.seek(0)
        said = file.read().decode(errors="replace")
    if "copy" in entry:
        shutil.copytree(*entry["copy"], ignore=shutil.ignore_patterns(BALLAST))
    return {"status": status, "said": said}


def main(plan: Path, answers: Path) -> None:
    for module in PRELOADED:
        importlib.import_module(module)
    answers.write_text(json.dumps([heard(entry) for entry in json.loads(plan.read_text())]))


if __name__ == "__main__":
    WAYS.update(BREAKS)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
