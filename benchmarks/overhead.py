"""What a fleet costs beside its work: `python -m benchmarks.overhead [--cells 50] [--compute | --sweep]`.

Cells that sleep, or compute, for so long on a Ray of our own; its start is counted too. With --sweep the real thing:
the command `graft sweep` over short adaptations, mirrored to MLflow, with its table, page and export. The cost is what
the run took, times the cells that run at once, beyond the sum of what the cells took: at most 10 % is promised (exit
code 1 if not). Some minutes: 50 cells of 10 s on two cores are 250 s at best.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
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


def sweep(cells: int, steps: int, folder: Path) -> tuple[float, list[float]]:
    """The seconds of the command, and those of each cell from its first file to its result."""
    job = {"source": "personas_64", "target": "lorelei", "shots": 10, "steps": steps, "judge": {"n": 50}}
    job |= {"batch": 4, "every": {"log": 10, "sample": steps, "save": steps}}
    config = {"name": "overhead", "job": job, "grid": {"method": ["tgan"], "seed": list(range(cells))}}
    (folder / "overhead.yaml").write_text(json.dumps({**config, "share": {"cpus": 1}}), encoding="utf-8")
    uri = {"MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db", "OMP_NUM_THREADS": "1"}
    began = time.perf_counter()
    command = [sys.executable, "-m", "pipeline.sweep", "overhead.yaml"]
    done = subprocess.run(command, cwd=folder, env=os.environ | uri, capture_output=True, text=True)
    wall = time.perf_counter() - began
    if done.returncode:
        raise SystemExit(
            f"error: the sweep ended with {done.returncode}: {(done.stdout + done.stderr)[-500:]}"
        )
    results = list((folder / "runs" / "overhead").glob("*/result.json"))
    first = [min(path.stat().st_mtime for path in each.parent.glob("*.*")) for each in results]
    return wall, [each.stat().st_mtime - start for each, start in zip(results, first, strict=True)]


def beyond(wall: float, each: Sequence[float], slots: int) -> float:
    """What the run took beyond its work. Where the last round is not full, its empty places are no cost."""
    rounds = -(-len(each) // slots) * slots / len(each)
    return wall * slots / (sum(each) * rounds) - 1


def cost(cells: int, seconds: float, compute: bool) -> dict[str, Any]:
    """One run and its cost, a share of its work."""
    slots = own_cpus()
    tasks = [(str(number), {"seconds": seconds, "compute": compute}) for number in range(cells)]
    began = time.perf_counter()
    answers = run_many(cell, tasks, share=Share(1), on_result=lambda key, answer: None)
    wall = time.perf_counter() - began
    found = [refused_or(answer) for answer in answers.values()]
    each = [one["seconds"] for one in found]
    return {
        "what": f"{cells} cells that {'compute' if compute else 'sleep'} {seconds:g} s, {slots} at a time",
        "wall": round(wall, 2),
        "work": round(sum(each), 2),
        "cost": round(beyond(wall, each, slots), 4),
        "processes": len({one["pid"] for one in found}),
    }


def real_cost(cells: int, steps: int) -> dict[str, Any]:
    """One sweep and its cost, a share of its work."""
    with tempfile.TemporaryDirectory() as folder:
        wall, each = sweep(cells, steps, Path(folder))
    return {
        "what": f"graft sweep of {cells} adaptations of {steps} steps, {own_cpus()} at a time",
        "wall": round(wall, 2),
        "work": round(sum(each), 2),
        "cell": round(statistics.median(each), 2),
        "cost": round(beyond(wall, each, own_cpus()), 4),
    }


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overhead", description=__doc__.split("\n")[0])
    parser.add_argument("--cells", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=10.0, help="work of a cell")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--compute", action="store_true", help="compute, rather than sleep")
    kind.add_argument("--sweep", action="store_true", help="a real sweep")
    parser.add_argument("--steps", type=int, default=20, help="of a cell, with --sweep (default: 20)")
    given = parser.parse_args(argv)
    before = os.environ.get("PYTHONPATH", "")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), before)))
    found = (
        real_cost(given.cells, given.steps)
        if given.sweep
        else cost(given.cells, given.seconds, given.compute)
    )
    print(json.dumps(found), flush=True)
    return 0 if found["cost"] <= MOST else 1


if __name__ == "__main__":
    sys.exit(main())
