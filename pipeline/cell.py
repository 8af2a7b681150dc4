"""One cell of a sweep in this process: train, judge, write; and say plainly how it ended."""

import time
from collections.abc import Callable
from dataclasses import dataclass
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
from pipeline.record import begin, settle_machine
from pipeline.store import Cache, read_json, write_json
from pipeline.tracking import jsonl
from pipeline.tracking.sync import summary
from pipeline.tracking.trackers import TRACKERS, Tracker
from pipeline.trainer import Diverged, Trainer
from pipeline.training import Run

SHOWN = 8
FINAL = ("done", "diverged")


@dataclass(frozen=True)
class Place:
    """Where a cell lies and who watches: its folder, the sweep's cache, the mirror, the sweep's folder."""

    folder: Path
    cache: Path
    tracker: str = "none"
    parent: Path | None = None
    uri: str | None = None


def finished(folder: Path) -> dict[str, Any] | None:
    """The result of a cell that need not run again, or None."""
    path = folder / "result.json"
    result = read_json(path) if path.is_file() else None
    return result if isinstance(result, dict) and result.get("status") in FINAL else None


def run_cell(
    job: Job,
    place: Place,
    engine: Engine,
    rungs: tuple[int, ...] = (),
    report: Callable[[int, dict[str, float]], None] = lambda step, scores: None,
    tick: Callable[[int], None] = lambda step: None,
) -> dict[str, Any]:
    """Train and judge one cell; goes on from its newest checkpoint. Returns what result.json holds.

    rungs: steps after which the cell is also judged in between; `report` gets those scores and may raise to end it.
    A run that diverges or runs out of memory gives a result that says so; other errors are the caller's.
    """
    earlier = finished(place.folder)
    if earlier is not None:
        return earlier
    settle_machine(engine.device)
    began = time.perf_counter()
    status, reason, judged = "done", None, None
    before = spent(place.folder)
    tracker = TRACKERS[place.tracker if engine.rank == 0 else "none"](place.folder, place.uri)
    try:
        judged = _train_and_judge(job, place, engine, tracker, rungs, report, tick)
    except Diverged as error:
        status, reason = "diverged", str(error)
    except torch.OutOfMemoryError as error:
        status, reason = "out of memory", str(error).split("\n")[0]
    except BaseException as error:
        tracker.end("stopped" if isinstance(error, KeyboardInterrupt) else "failed", {}, str(error))
        raise
    finally:
        keep_time(place.folder, before + time.perf_counter() - began)
    result = result_of(job, status, reason, judged, place.folder)
    if engine.rank == 0:
        write_json(place.folder / "result.json", result)
    tracker.end(status, summary(result), reason)
    engine.barrier()
    return result


def result_of(
    job: Job, status: str, reason: str | None, judged: Judgement | None, folder: Path
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
    """Remember them."""
    if folder.is_dir():
        write_json(folder / "spent.json", {"seconds": seconds})


def _train_and_judge(
    job: Job,
    place: Place,
    engine: Engine,
    tracker: Tracker,
    rungs: tuple[int, ...],
    report: Callable[[int, dict[str, float]], None],
    tick: Callable[[int], None],
) -> Judgement:
    settings = job.method_settings()
    method = METHODS[job.method].table(settings)
    cache = Cache(place.cache)
    inputs = open_inputs(job, cache, engine.device)
    if engine.rank == 0:
        begin(place.folder, job, {"inputs": inputs.digests(), "notes": inputs.shots.notes})
        (place.folder / "table.txt").write_text(method.table() + "\n", encoding="utf-8")
    tracker.begin(job.id, {"table": method.table(), **job.model_dump(mode="json")}, place.parent)
    nets = adaptation_nets(job, settings, method, inputs.source, inputs.projector, engine.device)
    trainer = Trainer(method, nets, draws_of(job, inputs, engine), engine)
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

    run = Run(place.folder, trainer, tracker, job.every, job.steps, job.batch, sample, at_step)
    run.resume()
    run.go()
    judgement = look()
    if engine.rank == 0:
        write_tensors(place.folder / "judged.safetensors", judgement.arrays)
        save_model(adapted_model(job, inputs, nets), place.folder / "model")
    return judgement


def draws_of(job: Job, inputs: Inputs, engine: Engine) -> Draws:
    """The cell's randomness and its few pictures, for this process."""
    return Draws(
        job.seed,
        job.batch,
        engine.device,
        inputs.shots,
        Change(job.data.flip),
        engine.rank,
        engine.world,
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
