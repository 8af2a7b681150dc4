"""What a fleet costs beside its work: `python -m benchmarks.overhead [--cells 50] [--seconds 10] [--compute]`.

Cells that sleep, or compute, for so long on a Ray of our own; its start is counted too. The cost is what the run took,
times the cells that run at once, beyond the sum of what the cells took: at most 10 % is promised (exit code 1 if not).
Some minutes: 50 cells of 10 s on two cores are 250 s at best.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.startup import refused_or
from benchmarks.timing import ROOT
from cluster.fleet import run_many
from cluster.tasks import Share, own_cpus

MOST = 0.10


def cell(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Sleeps, or multiplies matrices until its thread has computed for so long; says how long that was."""
    began = time.perf_counter()
    if payload["compute"]:
        import torch

        numbers = torch.randn(256, 256)
        computed = time.thread_time()
        while time.thread_time() - computed < payload["seconds"]:
            numbers = (numbers @ numbers).tanh()
    else:
        time.sleep(payload["seconds"])
    return {"seconds": time.perf_counter() - began, "pid": os.getpid()}


def cost(cells: int, seconds: float, compute: bool) -> dict[str, Any]:
    """One run and its cost, a share of its work."""
    slots = own_cpus()
    tasks = [(str(number), {"seconds": seconds, "compute": compute}) for number in range(cells)]
    began = time.perf_counter()
    answers = run_many(cell, tasks, share=Share(1), on_result=lambda key, answer: None)
    wall = time.perf_counter() - began
    found = [refused_or(answer) for answer in answers.values()]
    work = sum(each["seconds"] for each in found)
    rounds = (
        -(-cells // slots) * slots / cells
    )  # where the last round is not full, its empty places are no cost
    return {
        "what": f"{cells} cells that {'compute' if compute else 'sleep'} {seconds:g} s, {slots} at a time",
        "wall": round(wall, 2),
        "work": round(work, 2),
        "cost": round(wall * slots / (work * rounds) - 1, 4),
        "processes": len({each["pid"] for each in found}),
    }


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overhead", description=__doc__.split("\n")[0])
    parser.add_argument("--cells", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=10.0, help="work of a cell")
    parser.add_argument("--compute", action="store_true", help="compute, rather than sleep")
    given = parser.parse_args(argv)
    before = os.environ.get("PYTHONPATH", "")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), before)))
    found = cost(given.cells, given.seconds, given.compute)
    print(json.dumps(found), flush=True)
    return 0 if found["cost"] <= MOST else 1


if __name__ == "__main__":
    sys.exit(main())
