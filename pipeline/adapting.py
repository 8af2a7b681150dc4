"""An adaptation in this process: from a source and a few pictures to a judged model."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cluster.engine import Engine
from models.files import write_tensors
from models.stylegan2 import Generator
from pipeline.building import adaptation_nets
from pipeline.data.shipped import credits_of
from pipeline.draws import Change, Draws
from pipeline.exporting import save_model
from pipeline.inputs import Inputs, open_inputs
from pipeline.job import Job
from pipeline.judging import Judging
from pipeline.judging.evaluator import Cache as Judged
from pipeline.judging.evaluator import Draw, Judgement, judge, uncached
from pipeline.load import Model, mean_style
from pipeline.methods import METHODS
from pipeline.nets import Nets
from pipeline.pictures import averaged_pictures, fixed_latents, write_rows
from pipeline.record import Place, begin
from pipeline.store import Cache
from pipeline.tracking.trackers import Tracker
from pipeline.trainer import Trainer
from pipeline.training import Run

SHOWN = 8


def train_and_judge(
    job: Job,
    place: Place,
    engine: Engine,
    tracker: Tracker,
    rungs: tuple[int, ...],
    report: Callable[[int, dict[str, float]], None],
    tick: Callable[[int], None],
) -> Judgement:
    """Adapt the source and judge the averaged generator; goes on from the newest checkpoint.

    rungs: steps after which it is also judged in between; `report` gets those scores and may raise to end it.
    """
    settings = job.method_settings()
    method = METHODS[job.method].table(settings)
    cache = Cache(place.cache)
    inputs = open_inputs(job, cache, engine.device)
    if engine.rank == 0:
        begin(place.folder, job, {"inputs": inputs.digests(), "notes": inputs.shots.notes})
        (place.folder / "table.txt").write_text(method.table() + "\n", encoding="utf-8")
    tracker.begin(job.id, {"table": method.table(), **job.model_dump(mode="json")}, place.parent)
    nets = adaptation_nets(job, settings, method, inputs.source, inputs.projector, engine.device)
    parts = place.resources.accumulate
    trainer = Trainer(method, nets, draws_of(job, inputs, engine, parts), engine, parts, job.precision)
    z = fixed_latents(SHOWN, inputs.source.shape.style_dim).to(engine.device)
    above = inputs.source.draw(z)

    def sample(step: int) -> Path:
        rows = [above, averaged_pictures(nets, z, engine.device)]
        return write_rows(place.folder / "samples" / f"{step:06d}.png", rows, ["source", job.method])

    look = partial(_judged, job, inputs, nets, cache, engine.device)

    def at_step(step: int) -> None:
        tick(step)
        if step in rungs:
            scores = {score.name: score.value for score in look().scores if score.value is not None}
            run.lines.append({"step": step, "scores": scores})
            tracker.log(step, {f"score/{name}": value for name, value in scores.items()})
            report(step, scores)

    run = Run(place.folder, trainer, tracker, job.every, job.steps, job.batch, sample, at_step, place.saved)
    run.checksum_every = place.resources.checksum_every
    run.resume()
    run.go()
    judgement = look()
    if engine.rank == 0:
        write_tensors(place.folder / "judged.safetensors", judgement.arrays)
        save_model(adapted_model(job, inputs, nets), place.folder / "model")
    return judgement


def draws_of(job: Job, inputs: Inputs, engine: Engine, parts: int = 1) -> Draws:
    """The cell's randomness and its few pictures, for this process."""
    return Draws(
        job.seed,
        job.batch,
        engine.device,
        inputs.shots,
        Change(job.data.flip),
        engine.rank,
        engine.world,
        parts,
        gather=engine.gather,
        group=job.method_settings().stddev_group,
    )


def _judged(job: Job, inputs: Inputs, nets: Nets, cache: Cache, device: torch.device) -> Judgement:
    """Every metric of the averaged generator as it is now."""

    def keep(key: str, make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        return cache.get("judging", key, make)

    return judged_beside_source(lambda z: averaged_pictures(nets, z, device), inputs, job.judge, device, keep)


def judged_beside_source(
    draw: Draw, inputs: Inputs, settings: Judging, device: torch.device, cache: Judged = uncached
) -> Judgement:
    """Every metric of an adapted generator: draw is z [B, D] -> pictures [B, 3, H, W] in [-1, 1]."""
    return judge(
        draw,
        inputs.source.draw,
        inputs.shots.pictures,
        inputs.heldout,
        settings,
        inputs.eye,
        inputs.edges,
        style_dim=inputs.source.shape.style_dim,
        source_hash=inputs.source.sha256,
        cache=cache,
        device=device,
    )


def adapted_model(job: Job, inputs: Inputs, nets: Nets) -> Model:
    """The averaged generator with its projector, as it is exported."""
    generator = nets.averaged(Generator, "G")
    about, mean = about_adapted(job, inputs.source, job.steps), mean_style(generator)
    return Model(generator.shape, generator, None, inputs.projector, nets.memory["path_mean"], mean, about)


def about_adapted(job: Job, source: Model, steps: int) -> dict[str, Any]:
    """What the card says of how a model was adapted, and whose pictures are in it."""
    about = {"name": job.id, "method": job.method, "target": job.target, "shots": job.shots, "seed": job.seed}
    about |= {"source": job.source, "source_sha256": source.sha256, "config_hash": job.digest}
    about |= {"steps": steps, "pictures_seen": steps * job.batch}
    credits = [str(source.about.get("credits") or ""), credits_of(job.target)]
    return about | {"credits": "; ".join(filter(None, credits))}
