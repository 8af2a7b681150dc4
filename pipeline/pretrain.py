"""`pretrain`: a source model from shards, exported with its card when it is done."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from cluster.engine import Engine, open_engine
from models.stylegan2 import Discriminator, Generator
from pipeline.building import pretraining_nets
from pipeline.cli import run
from pipeline.data.held import open_set
from pipeline.draws import Draws
from pipeline.export import export_source
from pipeline.job import Pretrain, problems
from pipeline.load import Model, mean_style
from pipeline.methods import PRETRAINING
from pipeline.pictures import averaged_pictures, fixed_latents, write_rows
from pipeline.read import read
from pipeline.record import begin, settle_machine
from pipeline.tracking.trackers import TRACKERS
from pipeline.trainer import Trainer
from pipeline.training import Run

EXAMPLE = "example: python -m pipeline.pretrain configs/pretrain_personas.yaml steps=200"


def train_source(job: Pretrain, folder: Path, engine: Engine, tracker: str = "none") -> Model:
    """Train to the last step, or go on from the newest checkpoint; returns the averaged pair."""
    settings = job.method_settings()
    method = PRETRAINING[job.method].table(settings)
    pictures = open_set(job.train, job.network.size, job.data.fit, seed=job.seed)
    nets = pretraining_nets(job, settings, method, engine.device)
    draws = Draws(
        job.seed,
        job.batch,
        engine.device,
        pictures,
        job.data.flip,
        engine.rank,
        engine.world,
        1,
        engine.gather,
    )
    if engine.rank == 0:
        begin(folder, job, {"train": str(job.train), "pictures": pictures.count})
        print(method.table(), flush=True)
    z = fixed_latents(64, job.network.style_dim)

    def sample(step: int) -> Path:
        drawn = averaged_pictures(nets, z, engine.device)
        return write_rows(folder / "samples" / f"{step:06d}.png", list(drawn.split(8)), scale=2)

    mirror = TRACKERS[tracker if engine.rank == 0 else "none"](folder, None)
    mirror.begin(job.name, {"config": job.digest, **job.model_dump(mode="json")})
    training = Run(
        folder, Trainer(method, nets, draws, engine), mirror, job.every, job.steps, job.batch, sample
    )
    training.resume()
    training.go()
    mirror.end("done", {})
    generator, discriminator = nets.averaged(Generator, "G"), nets.of(Discriminator, "D")
    about = {
        "name": job.name,
        "config_hash": job.digest,
        "steps": job.steps,
        "stddev_group": settings.stddev_group,
    }
    about |= {
        "pictures_seen": job.steps * job.batch,
        "train": str(job.train),
        "train_pictures": pictures.count,
    }
    mean = mean_style(generator)
    return Model(generator.shape, generator, discriminator, None, nets.memory["path_mean"], mean, about)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="graft pretrain", description="Train a source model from shards.", epilog=EXAMPLE
    )
    parser.add_argument("config", help="a YAML file: configs/pretrain_*.yaml")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="values over those of the file")
    parser.add_argument("--runs", default="runs", type=Path, help="folder of runs (default: runs)")
    parser.add_argument(
        "--exports", default="exports", type=Path, help="folder of exports (default: exports)"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    parser.add_argument("--tracker", default="mlflow", choices=list(TRACKERS), help="default: mlflow")
    given = parser.parse_args(argv)
    job = read(given.config, given.overrides, Pretrain, lambda found: list(problems(found)))
    engine = open_engine(given.device)
    settle_machine(engine.device)
    folder = given.runs / f"{job.name}-{job.digest}"
    try:
        model = train_source(job, folder, engine, given.tracker)
        if engine.rank == 0:
            where = export_source(model, job, given.exports / job.name, engine.device)
            print(f"model: {where}\nsamples: {folder / 'samples'}")
            print(json.dumps(model.about.get("scores", {})), file=sys.stderr)
    finally:
        engine.close()
    return 0


if __name__ == "__main__":
    torch.set_num_threads(max(1, torch.get_num_threads()))
    raise SystemExit(run(main))
