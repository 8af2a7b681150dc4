"""What a checkpoint of a large model costs: `python -m benchmarks.checkpoint [--saves 5] [--starts 3] [--out FILE]`.

StyleGAN2's config-f at 256 px: both networks, the average, Adam's moments, 0.8 GB. How long training stands still for
a checkpoint (less than 2 s promised, the median), and what passes from the start of a process that goes on after the
newest one to its first step (less than 15 s promised, torch's import included; `resume_with_the_step` adds the step,
which is minutes of this model's own arithmetic on slow cores); exit code 1 if either is missed. The first step of the
run is real, so that all moments exist; those between two checkpoints are only counted.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

import pipeline.cell  # with it all that the command imports before it goes on
import pipeline.problems  # noqa: F401
from benchmarks import timing
from benchmarks.enlarged import enlarged
from benchmarks.timing import Spell
from cluster.engine import PlainEngine
from cluster.tasks import own_cpus
from pipeline.families import FAMILIES
from pipeline.job import Every, Pretrain
from pipeline.pretraining import draws_of
from pipeline.read import read
from pipeline.tracking.trackers import TRACKERS
from pipeline.trainer import Trainer
from pipeline.training import Run

MOST_STALL, MOST_RESUME = 2.0, 15.0
PICTURES = 8


class Standing(Trainer):
    """Its first step is real; the others are only counted."""

    def step(self) -> None:
        if self.step_number == 0:
            super().step()
        else:
            self.step_number += 1


def asked(folder: Path, size: int, widest: int, batch: int, saves: int) -> Pretrain:
    """A run over a few pictures that saves after every step; channels as in config-f, in proportion to `widest`."""
    sides = [4 << i for i in range(size.bit_length() - 2)]
    network = {
        "size": size,
        "widths": {side: min(widest, 64 * widest // side) for side in sides},
        "style_dim": widest,
        "mapping_layers": 8,
    }
    train = enlarged(folder / "pictures", PICTURES, size)
    every = Every(log=saves, sample=saves, save=1)
    return Pretrain(name="large", train=str(train), network=network, batch=batch, steps=saves, every=every)


def run_of(job: Pretrain, folder: Path, kind: type[Trainer] = Trainer) -> tuple[Run, dict[str, float]]:
    """The run as the command builds it, and the seconds of its parts."""
    began = time.perf_counter()
    engine = PlainEngine("cpu")
    family = FAMILIES[job.method]
    opened = family.open(job)
    read_at = time.perf_counter()
    method = job.entry.table(job.method_settings())
    nets = family.nets(job, method, opened, engine.device)
    trainer = kind(method, nets, draws_of(job, opened, engine), engine)
    tracker = TRACKERS["none"](folder, None)
    run = Run(folder, trainer, tracker, job.every, job.steps, job.batch, lambda step: None)
    return run, {"pictures": read_at - began, "networks": time.perf_counter() - read_at}


def stalls(job: Pretrain, folder: Path) -> list[Spell]:
    """How long each checkpoint of the run took, from the end of a step to the begin of the next."""
    found: list[Spell] = []
    begun: list[tuple[float, float]] = []

    def whole(step: int, path: Path) -> None:
        cpu, wall = begun[-1]
        found.append(Spell((time.thread_time() - cpu) * 1e3, (time.perf_counter() - wall) * 1e3))

    folder.mkdir(parents=True)
    run, _ = run_of(job, folder, Standing)
    run.at_step = lambda step: begun.append((time.thread_time(), time.perf_counter()))
    run.saved = whole
    run.go()
    return found


def first_step(folder: Path, started: float) -> dict[str, Any]:
    """What a process that was started at that time does until it has made a step of the run in `folder`; seconds."""
    parts = {"imports": time.time() - started}
    torch.set_num_threads(own_cpus())
    job = read(folder / "config.json", [], Pretrain)
    run, built = run_of(job, folder / "run")
    began = time.perf_counter()
    if not run.resume():
        raise SystemExit(f"error: {folder}: no whole checkpoint in it")
    parts |= {**built, "checkpoint": time.perf_counter() - began}
    before, trainer = time.time() - started, run.trainer
    phases = [phase.name for phase in trainer.method.phases if phase.when(trainer.step_number)]
    trainer.step()
    whole = {"to_first_step": before, "first_step": time.time() - started - before}
    found = {name: round(seconds, 2) for name, seconds in {**parts, **whole}.items()}
    return {**found, "phases": phases, "threads": torch.get_num_threads()}


def started_anew(folder: Path) -> dict[str, Any]:
    """The same in a process of its own, for which nothing of the checkpoint is in memory any more."""
    for path in (folder / "run").rglob("*.safetensors"):
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    words = [sys.executable, "-m", "benchmarks.checkpoint", "--resume", str(folder)]
    started = ["--started", repr(time.time())]
    done = subprocess.run([*words, *started], cwd=timing.ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def measured(size: int, widest: int, batch: int, saves: int, starts: int) -> list[dict[str, Any]]:
    """The stalls, then every start: lines, the last of which says both medians."""
    with tempfile.TemporaryDirectory(prefix="graft-checkpoint-") as name:
        folder = Path(name)
        job = asked(folder, size, widest, batch, saves)
        (folder / "config.json").write_text(job.model_dump_json())
        found = stalls(job, folder / "run")
        newest = max((folder / "run" / "checkpoints").glob("[0-9]*"))
        mb = (newest / "tensors.safetensors").stat().st_size / 1e6
        resumed = [started_anew(folder) for _ in range(starts)]
    about = {"size": size, "widest": widest, "batch": batch, "mb": round(mb, 1)}
    whole = [one["to_first_step"] + one["first_step"] for one in resumed]
    before = [one["to_first_step"] for one in resumed]
    last = {"stall": statistics.median(one.wall for one in found) / 1e3}
    last |= {"resume": statistics.median(before), "resume_with_the_step": statistics.median(whole)}
    return [
        {
            "what": "stall of a checkpoint",
            **about,
            "seconds": [round(each.wall / 1e3, 3) for each in found],
            "cpu": [round(each.cpu / 1e3, 3) for each in found],
        },
        *({"what": "process start to first step", **about, **one} for one in resumed),
        {"what": "medians", **about, **{name: round(each, 3) for name, each in last.items()}},
    ]


def kept(last: dict[str, Any]) -> bool:
    """Whether both promises are."""
    return bool(last["stall"] < MOST_STALL and last["resume"] < MOST_RESUME)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.checkpoint", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--saves", type=int, default=5, help="checkpoints (default: 5)")
    parser.add_argument("--starts", type=int, default=3, help="processes that go on (default: 3)")
    parser.add_argument("--size", type=int, default=256, help="side in pixels (default: 256)")
    parser.add_argument("--widest", type=int, default=512, help="most channels of a layer (default: 512)")
    parser.add_argument("--batch", type=int, default=1, help="pictures of a step (default: 1)")
    parser.add_argument("--out", type=Path, help="append JSON lines to this file")
    parser.add_argument("--resume", type=Path, help="go on from this folder, print the parts and stop")
    parser.add_argument("--started", type=float, help="when that process was started, in seconds since 1970")
    given = parser.parse_args(argv)
    if given.resume is not None:
        print(json.dumps(first_step(given.resume, given.started)))
        return 0
    timing.about()
    torch.set_num_threads(own_cpus())
    lines = measured(given.size, given.widest, given.batch, given.saves, given.starts)
    for one in lines:
        print(json.dumps(one), flush=True)
    timing.write(lines, given.out)
    return 0 if kept(lines[-1]) else 1


if __name__ == "__main__":
    raise SystemExit(main())
