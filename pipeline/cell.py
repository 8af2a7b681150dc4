"""One cell in this process: train, judge, write; and say plainly how it ended."""

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from cluster.engine import Engine
from pipeline import adapting, pretraining
from pipeline.job import Job, Pretrain
from pipeline.judging.evaluator import Judgement
from pipeline.mirror import Mirror
from pipeline.precision import look_at_precision
from pipeline.record import Place, settle_machine
from pipeline.store import alone, read_json, write_json
from pipeline.tracking import jsonl
from pipeline.tracking.sync import summary
from pipeline.tracking.trackers import TRACKERS
from pipeline.trainer import Diverged

FINAL = ("done", "diverged")
NO_MEMORY = "can't allocate memory"


def finished(folder: Path) -> dict[str, Any] | None:
    """The result of a cell that need not run again, or None."""
    path = folder / "result.json"
    result = read_json(path) if path.is_file() else None
    return result if isinstance(result, dict) and result.get("status") in FINAL else None


def run_cell(
    job: Job | Pretrain,
    place: Place,
    engine: Engine,
    rungs: tuple[int, ...] = (),
    report: Callable[[int, dict[str, float]], None] = lambda step, scores: None,
    tick: Callable[[int], None] = lambda step: None,
) -> dict[str, Any]:
    """Train and judge one cell; goes on from its newest checkpoint. Returns what result.json holds.

    rungs: steps after which the cell is also judged in between; `report` gets those scores and may raise to end it.
    A run that diverges or runs out of memory gives a result that says so; other errors are the caller's.
    One process at a time has the cell's folder: a second command is told who (GraftError) and leaves, having written
    nothing. A cell of a sweep waits for the other, whose result it takes, or goes on from what that one has left.
    """
    earlier = finished(place.folder)
    if earlier is not None:
        return earlier
    mirror = Mirror(place.folder, place.store if engine.rank == 0 else None)
    place = replace(place, saved=mirror.saved)
    instead = "keep this run elsewhere with --runs" if place.parent is None else None
    with alone(place.folder, instead) if engine.rank == 0 else nullcontext():
        mirror.take()
        engine.barrier()  # the others begin when rank 0 has the folder, and find what it has taken
        earlier = finished(place.folder)
        return earlier or _run_held(job, place, engine, mirror, rungs, report, tick)


def _run_held(
    job: Job | Pretrain,
    place: Place,
    engine: Engine,
    mirror: Mirror,
    rungs: tuple[int, ...],
    report: Callable[[int, dict[str, float]], None],
    tick: Callable[[int], None],
) -> dict[str, Any]:
    """The same, of a cell whose folder this process has for itself."""
    settle_machine(engine.device)
    look_at_precision(job.precision, engine.device)
    began = time.perf_counter()
    status, reason, judged = "done", None, None
    before = spent(place.folder)
    tracker = TRACKERS[place.tracker if engine.rank == 0 else "none"](place.folder, place.uri)
    try:
        if isinstance(job, Pretrain):
            judged = pretraining.train_and_judge(job, place, engine, tracker, rungs, report, tick)
        else:
            judged = adapting.train_and_judge(job, place, engine, tracker, rungs, report, tick)
    except Diverged as error:
        status, reason = "diverged", str(error)
    except BaseException as error:
        if not out_of_memory(error):
            tracker.end("stopped" if isinstance(error, KeyboardInterrupt) else "failed", {}, str(error))
            mirror.close(whole=False)
            raise
        status, reason = "out of memory", str(error).split("\n")[0] or "the system gives no more"
    finally:
        keep_time(place.folder, before + time.perf_counter() - began)
    result = result_of(job, status, reason, judged, place.folder)
    if engine.rank == 0:
        write_json(place.folder / "result.json", result)
    tracker.end(status, summary(result), reason)
    mirror.close(whole=status in FINAL)
    engine.barrier()
    return result


def out_of_memory(error: BaseException) -> bool:
    """Whether a device, the system or torch's allocator for the CPU has no more; that one says so in words only."""
    plain = isinstance(error, RuntimeError) and NO_MEMORY in str(error)
    return plain or isinstance(error, MemoryError | torch.OutOfMemoryError)


def result_of(
    job: Job | Pretrain, status: str, reason: str | None, judged: Judgement | None, folder: Path
) -> dict[str, Any]:
    """result.json of a cell. What it cost is what it has run, which of a failed one is less than was asked."""
    values = {key: getattr(job, key) for key in ("id", "method", "target", "shots", "seed", "steps")}
    lines = jsonl.read(folder / "metrics.jsonl")
    shown = max((int(line.get("images", 0)) for line in lines), default=0)
    images = job.images if status == "done" else shown
    seconds = max(
        spent(folder), sum(float(line.get("seconds", 0)) for line in lines)
    )  # a killed one kept none
    rate = images / seconds if seconds else 0.0
    cost = {"images": images, "seconds": round(seconds, 2), "images_per_second": round(rate, 2)}
    scores = judged.as_dict() if judged is not None else {"scores": [], "inputs": {}, "inputs_hash": ""}
    if job.variant:
        values["variant"] = job.variant
    return {**values, "status": status, "reason": reason, **cost, **scores}


def spent(folder: Path) -> float:
    """Seconds that earlier tries of this cell have taken."""
    path = folder / "spent.json"
    return float(read_json(path)["seconds"]) if path.is_file() else 0.0


def keep_time(folder: Path, seconds: float) -> None:
    """Remember them, of a cell that has begun."""
    if (folder / "config.yaml").is_file():
        write_json(folder / "spent.json", {"seconds": seconds})
