"""One pretraining run in this process: train, judge the averaged generator, and hand the model on."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cluster.engine import Engine
from models.stylegan2 import Discriminator, Generator
from pipeline.building import pretraining_nets
from pipeline.data.held import Held, open_set
from pipeline.data.shipped import credits_of
from pipeline.data.streamed import Streamed
from pipeline.draws import Change, Draws
from pipeline.inputs import eyes, heldout_pictures
from pipeline.job import Pretrain
from pipeline.judging.alone import judge_alone
from pipeline.load import Model, mean_style
from pipeline.methods import PRETRAINING
from pipeline.nets import Nets
from pipeline.pictures import averaged_pictures, fixed_latents, write_rows
from pipeline.record import begin, settle_machine
from pipeline.store import write_json
from pipeline.tracking.trackers import TRACKERS, Tracker
from pipeline.trainer import Trainer
from pipeline.training import Run

SHOWN = 64
KEPT = ("name", "value", "low", "high", "n", "network")


@dataclass(frozen=True)
class Domain:
    """What a source model is trained on, and what it is judged against: uint8 [m, 3, H, W], or None."""

    train: Held | Streamed
    heldout: Tensor | None


def open_domain(job: Pretrain) -> Domain:
    """The pictures of a config. GraftError names what is wrong with them."""
    size, fit = job.network.size, job.data.fit
    heldout = heldout_pictures(job.heldout, job.train, size, fit)
    return Domain(open_set(job.train, size, fit, seed=job.seed), heldout)


def train_source(
    job: Pretrain,
    domain: Domain,
    folder: Path,
    engine: Engine,
    tracker: str = "none",
    tick: Callable[[int], None] = lambda step: None,
) -> Model:
    """Train to the last step, or go on from the newest checkpoint; returns the averaged pair with its score."""
    settle_machine(engine.device)
    mirror = TRACKERS[tracker if engine.rank == 0 else "none"](folder, None)
    try:
        nets = _train(job, folder, engine, domain.train, mirror, tick)
        scores = _scores(job, nets, domain.heldout, engine) if engine.rank == 0 else []
    except BaseException as error:
        mirror.end("stopped" if isinstance(error, KeyboardInterrupt) else "failed", {}, str(error))
        raise
    if engine.rank == 0:
        write_json(
            folder / "result.json", {"id": job.name, "status": "done", "reason": None, "scores": scores}
        )
    mirror.end("done", {score["name"]: score["value"] for score in scores})
    engine.barrier()
    about = {**about_source(job, job.steps), "train_pictures": domain.train.count}
    about["scores"] = [{key: score[key] for key in KEPT} for score in scores]
    generator, critic = nets.averaged(Generator, "G"), nets.of(Discriminator, "D")
    path_mean, mean = nets.memory["path_mean"], mean_style(generator)
    return Model(generator.shape, generator, critic, None, path_mean, mean, about)


def about_source(job: Pretrain, steps: int) -> dict[str, Any]:
    """What the card says of how a source model was made, and whose pictures are in it."""
    about = {"name": job.name, "config_hash": job.digest, "steps": steps, "pictures_seen": steps * job.batch}
    group = job.method_settings().stddev_group
    return {**about, "stddev_group": group, "train": job.train, "credits": credits_of(job.train)}


def _train(
    job: Pretrain,
    folder: Path,
    engine: Engine,
    pictures: Held | Streamed,
    mirror: Tracker,
    tick: Callable[[int], None],
) -> Nets:
    settings = job.method_settings()
    method = PRETRAINING[job.method].table(settings)
    nets = pretraining_nets(job, settings, method, engine.device)
    draws = Draws(
        job.seed,
        job.batch,
        engine.device,
        pictures,
        Change(job.data.flip),
        engine.rank,
        engine.world,
        gather=engine.gather,
        group=settings.stddev_group,
    )
    if engine.rank == 0:
        begin(folder, job, {"train": str(job.train), "pictures": pictures.count})
    z = fixed_latents(SHOWN, job.network.style_dim)

    def sample(step: int) -> Path:
        drawn = averaged_pictures(nets, z, engine.device)
        return write_rows(folder / "samples" / f"{step:06d}.png", list(torch.split(drawn, 8)), scale=2)

    mirror.begin(job.name, {"config": job.digest, **job.model_dump(mode="json")})
    trainer = Trainer(method, nets, draws, engine)
    run = Run(folder, trainer, mirror, job.every, job.steps, job.batch, sample, tick)
    run.resume()
    run.go()
    return nets


def _scores(job: Pretrain, nets: Nets, heldout: Tensor | None, engine: Engine) -> list[dict[str, Any]]:
    """The distance of the averaged generator to the pictures that it never saw; [] where there are none."""
    if heldout is None:
        return []
    eye, _ = eyes(None, engine.device)

    def draw(z: Tensor) -> Tensor:
        return averaged_pictures(nets, z, engine.device)

    judged = judge_alone(draw, heldout, job.judge, eye, job.network.style_dim, engine.device)
    return [score.as_dict() for score in judged.scores]
