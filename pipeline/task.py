"""One cell as a worker runs it: plain values in, a result out, every failure told with its reason."""

import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, chdir, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from cluster.engine import Engine, PlainEngine, open_engine, pick_device
from cluster.errors import MachineError
from cluster.space import Pruned
from pipeline.cell import run_cell
from pipeline.errors import is_full
from pipeline.job import Job, Pretrain
from pipeline.record import Place
from pipeline.resources import Resources

Report = Callable[[int, dict[str, float]], None]


def run_payload(payload: Mapping[str, Any]) -> dict[str, Any]:
    """A cell of the grid. payload: kind (Job or Pretrain), job (its values), folder, cache, tracker, uri, parent,
    device, resources, here.

    Its paths are absolute; those in the job may be relative to the folder `here`, where the command was given.
    """
    return attempt(job_from(payload["kind"], payload["job"]), payload)


def job_from(kind: str, values: Mapping[str, Any]) -> Job | Pretrain:
    """A job of the schema that is called `kind`."""
    return (Pretrain if kind == Pretrain.__name__ else Job).model_validate(values)


def run_trial(payload: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """A trial of the search: the same, with the proposed values, judged at every rung."""
    job = job_from(payload["kind"], with_values(payload["job"], payload["values"]))
    weights: Mapping[str, float] = payload["score"]

    def at_rung(step: int, scores: dict[str, float]) -> None:
        if step < job.steps:
            report(step, {"score": worth(scores, weights)})

    folder = str(Path(payload["folder"]) / job.id)
    result = attempt(job, {**payload, "folder": folder}, tuple(payload["rungs"]), at_rung)
    scores = {score["name"]: score["value"] for score in result["scores"] if score["value"] is not None}
    entry = {"name": "score", "value": worth(scores, weights) if result["status"] == "done" else None}
    return {**result, "scores": [*result["scores"], entry]}


def worth(scores: Mapping[str, float], weights: Mapping[str, float]) -> float:
    """The weighted sum that a search maximises; a metric that was not measured (no held-out pictures) adds nothing."""
    return sum(weight * scores.get(name, 0.0) for name, weight in weights.items())


def with_values(job: Mapping[str, Any], chosen: Mapping[str, Any]) -> dict[str, Any]:
    """The job's values with dotted keys (`weights.distance`) set."""
    values = dict(job)
    for key, number in chosen.items():
        section, _, name = key.partition(".")
        values[section] = {**values[section], name: number} if name else number
    return values


def attempt(
    job: Job | Pretrain,
    payload: Mapping[str, Any],
    rungs: tuple[int, ...] = (),
    report: Report = lambda step, scores: None,
) -> dict[str, Any]:
    """Run the cell. An error is raised, for the fleet tries again or tells it; its traceback lies in log.txt."""
    folder = Path(payload["folder"])
    parent = Path(payload["parent"]) if payload.get("parent") else None
    place = Place(
        folder, Path(payload["cache"]), payload["tracker"], parent, payload.get("uri"), payload.get("store")
    )
    used = Resources.model_validate(payload["resources"])
    place = replace(place, resources=used)
    try:
        with _standing_in(Path(payload["here"])), _opened(payload["device"], used) as engine:
            return run_cell(job, place, engine, rungs, report)
    except Pruned:
        raise
    except Exception as error:
        lost = used.workers > 1 and isinstance(error, MachineError)  # another worker is gone: all start anew
        if not lost and not is_full(error):
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "log.txt").write_text(traceback.format_exc(), encoding="utf-8")
        raise


@contextmanager
def _opened(device: str, used: Resources) -> Iterator[Engine]:
    """The engine of this process: one rank of many only where the cell has several workers."""
    if used.workers == 1:
        yield PlainEngine(pick_device(device))
        return
    engine = open_engine(device, engine=used.engine, zero=used.zero)
    try:
        yield engine
    finally:
        engine.close()


def _standing_in(folder: Path) -> AbstractContextManager[None]:
    """A worker starts where its Ray was started; on a machine without `folder` it has its own copy around it."""
    return chdir(folder) if folder.is_dir() else nullcontext()
