"""One pretraining run in this process: train, judge the averaged networks, and hand the model on."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from cluster.engine import Engine
from pipeline.draws import Change, Draws
from pipeline.exporting import Exportable
from pipeline.families import FAMILIES, Opened
from pipeline.job import Pretrain
from pipeline.nets import Nets
from pipeline.pictures import write_rows
from pipeline.record import begin, settle_machine
from pipeline.store import write_json
from pipeline.tracking.trackers import TRACKERS, Tracker
from pipeline.trainer import Trainer
from pipeline.training import Run

KEPT = ("name", "value", "low", "high", "n", "network")


def train_source(
    job: Pretrain,
    opened: Opened,
    folder: Path,
    engine: Engine,
    tracker: str = "none",
    tick: Callable[[int], None] = lambda step: None,
) -> Exportable:
    """Train to the last step, or go on from the newest checkpoint; returns the model with its scores."""
    settle_machine(engine.device)
    family = FAMILIES[job.method]
    mirror = TRACKERS[tracker if engine.rank == 0 else "none"](folder, None)
    try:
        nets = _train(job, folder, engine, opened, mirror, tick)
        judged = family.scores(job, nets, opened, engine.device) if engine.rank == 0 else []
        scores = [score.as_dict() for score in judged]
    except BaseException as error:
        mirror.end("stopped" if isinstance(error, KeyboardInterrupt) else "failed", {}, str(error))
        raise
    if engine.rank == 0:
        write_json(
            folder / "result.json", {"id": job.name, "status": "done", "reason": None, "scores": scores}
        )
    mirror.end("done", {score["name"]: score["value"] for score in scores})
    engine.barrier()
    about = about_source(job, job.steps, opened)
    about["scores"] = [{key: score[key] for key in KEPT} for score in scores]
    return family.model(job, nets, opened, about)


def about_source(job: Pretrain, steps: int, opened: Opened) -> dict[str, Any]:
    """What the card says of how a model was made, and whose pictures are in it."""
    about = {"name": job.name, "method": job.method, "config_hash": job.digest, "seed": job.seed}
    about |= {"steps": steps, "pictures_seen": steps * job.batch, "train": job.train}
    return {**about, "train_pictures": opened.count, **opened.about}


def _train(
    job: Pretrain,
    folder: Path,
    engine: Engine,
    opened: Opened,
    mirror: Tracker,
    tick: Callable[[int], None],
) -> Nets:
    settings, family = job.method_settings(), FAMILIES[job.method]
    method = job.entry.table(settings)
    nets = family.nets(job, method, opened, engine.device)
    draws = Draws(
        job.seed,
        job.batch,
        engine.device,
        opened.data,
        Change(job.data.flip, getattr(settings, "crop", 0.0)),
        engine.rank,
        engine.world,
        gather=engine.gather,
        group=getattr(settings, "stddev_group", 1),
    )
    if engine.rank == 0:
        begin(folder, job, {"train": str(job.train), "pictures": opened.count})
    look = family.watch(job, nets, opened, engine.device)

    def sample(step: int) -> Path:
        watched = look()
        run.note(step, watched.readings)
        path = folder / "samples" / f"{step:06d}.png"
        return write_rows(path, watched.rows, watched.labels, scale=2)

    mirror.begin(job.name, {"config": job.digest, **job.model_dump(mode="json")})
    trainer = Trainer(method, nets, draws, engine)
    run = Run(folder, trainer, mirror, job.every, job.steps, job.batch, sample, tick)
    run.resume()
    run.go()
    return nets
