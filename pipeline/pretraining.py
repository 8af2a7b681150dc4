"""A pretraining run in this process: from pictures to a judged model."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from cluster.engine import Engine
from models.files import write_tensors
from pipeline.draws import Change, Draws
from pipeline.exporting import write_export
from pipeline.families import FAMILIES, Opened
from pipeline.job import Pretrain
from pipeline.judging.evaluator import Judgement
from pipeline.nets import Nets
from pipeline.pictures import write_rows
from pipeline.record import Place, begin
from pipeline.tracking.trackers import Tracker
from pipeline.trainer import Trainer
from pipeline.training import Run

KEPT = ("name", "value", "low", "high", "n", "network")


def train_and_judge(
    job: Pretrain,
    place: Place,
    engine: Engine,
    tracker: Tracker,
    rungs: tuple[int, ...],
    report: Callable[[int, dict[str, float]], None],
    tick: Callable[[int], None],
) -> Judgement | None:
    """Train to the last step, or go on from the newest checkpoint, and judge; the model lies in the folder `model`.

    rungs: steps after which it is also judged in between; `report` gets those scores and may raise to end it.
    """
    family = FAMILIES[job.method]
    opened = family.open(job)
    method = job.entry.table(job.method_settings())
    if engine.rank == 0:
        begin(place.folder, job, {"train": str(job.train), "pictures": opened.count})
    tracker.begin(job.id, {"table": method.table(), **job.model_dump(mode="json")}, place.parent)
    nets = family.nets(job, method, opened, engine.device)
    look = family.watch(job, nets, opened, engine.device)

    def sample(step: int) -> Path:
        watched = look()
        run.note(step, watched.readings)
        path = place.folder / "samples" / f"{step:06d}.png"
        return write_rows(path, watched.rows, watched.labels, scale=2)

    def at_step(step: int) -> None:
        tick(step)
        judged = family.scores(job, nets, opened, engine.device) if step in rungs else None
        if judged is not None:
            scores = {score.name: score.value for score in judged.scores if score.value is not None}
            run.lines.append({"step": step, "scores": scores})
            tracker.log(step, {f"score/{name}": value for name, value in scores.items()})
            report(step, scores)

    parts = place.resources.accumulate
    trainer = Trainer(method, nets, draws_of(job, opened, engine, parts), engine, parts, job.precision)
    run = Run(place.folder, trainer, tracker, job.every, job.steps, job.batch, sample, at_step, place.saved)
    run.checksum_every = place.resources.checksum_every
    run.resume()
    run.go()
    return judged_and_written(job, place, nets, opened, engine) if engine.rank == 0 else None


def judged_and_written(
    job: Pretrain, place: Place, nets: Nets, opened: Opened, engine: Engine
) -> Judgement | None:
    """The judgement of the last step; the model is written with it."""
    family = FAMILIES[job.method]
    judgement = family.scores(job, nets, opened, engine.device)
    about = about_source(job, job.steps, opened)
    if judgement is not None:
        write_tensors(place.folder / "judged.safetensors", judgement.arrays)
        about["scores"] = [{key: getattr(score, key) for key in KEPT} for score in judgement.scores]
    write_export(family.model(job, nets, opened, about), place.folder / "model")
    return judgement


def draws_of(job: Pretrain, opened: Opened, engine: Engine, parts: int = 1) -> Draws:
    """The run's randomness and its pictures, for this process."""
    settings = job.method_settings()
    return Draws(
        job.seed,
        job.batch,
        engine.device,
        opened.data,
        Change(job.data.flip, getattr(settings, "crop", 0.0)),
        engine.rank,
        engine.world,
        parts,
        gather=engine.gather,
        group=getattr(settings, "group", getattr(settings, "stddev_group", 1)),
    )


def about_source(job: Pretrain, steps: int, opened: Opened) -> dict[str, Any]:
    """What the card says of how a model was made, and whose pictures are in it."""
    about = {"name": job.name, "method": job.method, "config_hash": job.digest, "seed": job.seed}
    about |= {"steps": steps, "pictures_seen": steps * job.batch, "train": job.train}
    return {**about, "train_pictures": opened.count, **opened.about}
