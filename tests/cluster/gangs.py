"""Tasks for several workers: top level, so that workers import them by name. Each writes what it saw of itself."""

import json
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cluster.engine import Engine, open_engine
from cluster.space import Report
from cluster.tasks import told_to_stop
from tests.cluster.toys import toy


def gang(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Does what payload["do"] says, on every rank, with the engine that was opened for it."""
    engine = open_engine("cpu")
    folder = Path(payload["folder"])
    try:
        return {"look": look, "count": count, "raise": one_raises, "wait": until_told, "travel": travel}[
            payload["do"]
        ](engine, folder)
    finally:
        engine.close()


def any_task(payload: Mapping[str, Any]) -> dict[str, Any]:
    """A task of one process, or one of several."""
    return toy(payload) if payload["do"] == "square" else gang(payload)


def look(engine: Engine, folder: Path) -> dict[str, Any]:
    import torch

    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "CUDA_VISIBLE_DEVICES")
    seen = {"threads": torch.get_num_threads(), "pid": os.getpid(), "cpus": held()}
    seen |= {name: os.environ.get(name) for name in names}
    (folder / f"{engine.rank}.json").write_text(json.dumps(seen))
    total = torch.tensor([float(engine.rank + 1)])
    engine.sync([total])
    return {"rank": engine.rank, "world": engine.world, "mean": float(total)}


def held() -> dict[str, float]:
    """What Ray has set aside for this process."""
    import ray

    given = ray.get_runtime_context().get_assigned_resources()
    return {name: number for name, number in given.items() if name in ("CPU", "GPU")}


def count(engine: Engine, folder: Path) -> dict[str, Any]:
    """Adds up 6 numbers over ranks, one checkpoint a step; rank 1 kills itself once, after the third."""
    import torch

    saved = folder / "state.json"
    state = json.loads(saved.read_text()) if saved.exists() else {"step": 0, "sum": 0.0}
    begun_at = state["step"]
    while state["step"] < 6:
        mine = torch.tensor([float(state["step"] * engine.world + engine.rank)])
        engine.sync([mine])
        state = {"step": state["step"] + 1, "sum": state["sum"] + float(mine) * engine.world}
        if engine.rank == 0:
            saved.with_suffix(".part").write_text(json.dumps(state))
            saved.with_suffix(".part").rename(saved)
        engine.barrier()
        mark = folder / "killed"
        if engine.rank == 1 and state["step"] == 3 and mark.parent.name == "hurt" and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
    return {"sum": state["sum"], "begun_at": begun_at}


def travel(engine: Engine, folder: Path) -> dict[str, Any]:
    """Says on which machine each rank is; the first time all wait for one of the machines to go."""
    import ray

    again = (folder / "lost").exists()
    where = ray.get_runtime_context().get_node_id()
    (folder / f"{'after' if again else 'before'}-{engine.rank}").write_text(where)
    engine.barrier()
    if not again:
        (folder / "begun").touch()
        assert not told_to_stop().wait(300), "nothing went"
    return {"again": again}


def one_raises(engine: Engine, folder: Path) -> dict[str, Any]:
    """Rank 1 has a bug while rank 0 waits for it."""
    (folder / f"try-{engine.rank}-{os.getpid()}").touch()
    if engine.rank == 1:
        raise ValueError("the loss is a pear\nand more on a second line")
    engine.barrier()
    return {}


def until_told(engine: Engine, folder: Path) -> dict[str, Any]:
    """Rank 0 waits for the word to stop, saves, and both leave as a training does."""
    if engine.rank == 0:
        (folder / "begun").touch()
        assert told_to_stop().wait(300)
        (folder / "checkpoint").touch()
    engine.barrier()
    raise KeyboardInterrupt


def hill(payload: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """A trial on several ranks: each tells the same score at two rungs; the value is the score."""
    engine = open_engine("cpu")
    folder, value = Path(payload["folder"]), float(payload["values"]["x"])
    try:
        for step in (1, 2):
            report(step, {"score": value})
        (folder / f"{payload['id']}-{engine.rank}").touch()
        return {"status": "done", "scores": [{"name": "score", "value": value}], "world": engine.world}
    finally:
        engine.close()
