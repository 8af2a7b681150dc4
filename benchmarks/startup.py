"""What it costs until a trial computes: `python -m benchmarks.startup [--cells 10] [--workers 2]`.

A Ray of our own is up before the clock runs. One process: tiny cells that import what a cell imports and then sleep for
`--work` seconds; start-up is what the run took beyond that, per cell and slot. Several workers: one trial, its parts by
name, from times that the task reads where it runs.
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from benchmarks.timing import ROOT
from cluster.fleet import joined, run_many
from cluster.tasks import Failure, Share, own_cpus


def tiny_cell(payload: Mapping[str, Any]) -> dict[str, Any]:
    """A cell without training: the imports of one, then sleep."""
    begun = time.time()
    import pipeline.task  # noqa: F401 (what it costs is what is asked)

    imported = time.time()
    time.sleep(payload["work"])
    return {"pid": os.getpid(), "begun": begun, "imports": imported - begun, "ended": time.time()}


def first_step(payload: Mapping[str, Any]) -> dict[str, Any]:
    """One rank of a trial on several workers: when it got so far, in seconds since the trial was handed over."""
    entered, handed = time.time(), payload["handed"]
    process = entered - age()
    import torch.distributed as dist

    import pipeline.task  # noqa: F401

    imported = time.time()
    dist.new_group(timeout=timedelta(seconds=60))
    grouped = time.time()
    from cluster.engine import open_engine

    engine = open_engine("cpu")
    import torch

    gradients = [torch.ones(1_000_000)]
    engine.sync(gradients)
    stepped = time.time()
    engine.close()
    return {
        "placement (trial, Ray Train's actors, room for all workers)": process - handed,
        "worker start (process, torch, process group)": entered - process,
        "of that, a process group like it": grouped - imported,
        "imports of a cell": imported - entered,
        "engine and first step": stepped - grouped,
        "stepped": stepped,
    }


def age() -> float:
    """Seconds since this process was made (Linux)."""
    ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")


def single(cells: int, work: float, slots: int) -> dict[str, Any]:
    """Seconds of start-up per cell, for cells of one process on a warm Ray."""
    tasks = [(str(number), {"work": work}) for number in range(cells)]
    began = time.time()
    answers = run_many(tiny_cell, tasks, share=Share(1), on_result=lambda key, answer: None)
    wall = time.time() - began
    found = [refused_or(answer) for answer in answers.values()]
    return {
        "what": f"{cells} cells of one process and {work:g} s, {slots} at a time",
        "startup_per_cell": round((wall * slots - cells * work) / cells, 3),
        "wall": round(wall, 2),
        "first_begun": round(min(each["begun"] for each in found) - began, 2),
        "imports_of_the_first": round(max(each["imports"] for each in found), 2),
        "imports_after": round(statistics.median(each["imports"] for each in found), 4),
        "processes": len({each["pid"] for each in found}),
    }


def several(workers: int, slots: int) -> dict[str, Any]:
    """Seconds of each part of the start-up of a trial on several workers."""
    share = Share(cpus=min(1.0, slots / workers), workers=workers)
    handed = time.time()
    answers = run_many(
        first_step, [("a", {"handed": handed})], share=share, on_result=lambda key, answer: None
    )
    parts = refused_or(answers["a"])
    end = time.time() - parts.pop("stepped")
    parts["end (last step to answer)"] = end
    whole = {"what": f"a trial of {workers} workers", "wall": round(time.time() - handed, 2)}
    return whole | {name: round(seconds, 2) for name, seconds in parts.items()}


def refused_or(answer: dict[str, Any] | Failure) -> dict[str, Any]:
    """The result, where there is one."""
    if isinstance(answer, Failure):
        raise SystemExit(f"error: {answer.reason}\n{answer.detail}")
    return answer


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.startup", description=__doc__.split("\n")[0])
    parser.add_argument("--cells", type=int, default=10)
    parser.add_argument("--work", type=float, default=0.2, help="seconds that a cell sleeps")
    parser.add_argument("--workers", type=int, default=2, help="of the trial on several; 1: leave it out")
    given = parser.parse_args(argv)
    before = os.environ.get("PYTHONPATH", "")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), before)))
    slots = own_cpus()
    began = time.time()
    with joined():
        print(json.dumps({"what": "a Ray of our own", "wall": round(time.time() - began, 2)}), flush=True)
        print(json.dumps(single(given.cells, given.work, slots)), flush=True)
        if given.workers > 1:
            print(json.dumps(several(given.workers, slots)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
