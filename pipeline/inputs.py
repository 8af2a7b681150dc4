"""What a cell needs before it can start: its source, its few pictures, the held-out ones, the eyes that judge."""

import os
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from models.judges import Edges, Eye, find_edges, find_eye
from models.projector import Projector
from pipeline.data.fewshot import few_shots
from pipeline.data.held import Held, open_set
from pipeline.data.shipped import NAMES, heldout_of
from pipeline.errors import INPUT, GraftError
from pipeline.inversion import invert
from pipeline.job import Job
from pipeline.judging.evaluator import hashed
from pipeline.load import Model, load_model
from pipeline.methods import METHODS
from pipeline.methods.rssa import Settings as RSSASettings
from pipeline.methods.rssa import alphas
from pipeline.store import Cache

ENOUGH = 100


@dataclass(frozen=True)
class Inputs:
    """shots: the few pictures as a stream; heldout: uint8 [m, 3, H, W], or None where none were given."""

    source: Model
    shots: Held
    heldout: Tensor | None
    eye: Eye
    edges: Edges
    projector: Projector | None

    def digests(self) -> dict[str, str]:
        """What inputs.json says of them."""
        return {
            "source": self.source.sha256,
            "shots": hashed(self.shots.pictures),
            "heldout": "" if self.heldout is None else hashed(self.heldout),
            "eye": f"{self.eye.name} {self.eye.sha256}",
            "edges": f"{self.edges.name} {self.edges.sha256}",
        }


def weight_folders(job: Job) -> list[Path]:
    """Where files of judging networks may lie: the job's folder, then GRAFT_WEIGHTS."""
    return [Path(where) for where in (job.judge_weights, os.environ.get("GRAFT_WEIGHTS")) if where]


def heldout_pictures(job: Job, size: int) -> Tensor | None:
    """The pictures to judge against: the job's own, else those of a shipped target, else none."""
    where = (
        job.heldout if job.heldout is not None else heldout_of(job.target) if job.target in NAMES else None
    )
    if where is None:
        return None
    opened = open_set(where, size, job.data.fit)
    if not isinstance(opened, Held):
        raise GraftError(f"{where}: too many pictures to judge against; name a smaller set", INPUT)
    if opened.count < ENOUGH and not job.judge_few:
        raise GraftError(
            f"{where}: {opened.count} held-out pictures are too few for a distance (at least {ENOUGH}); "
            "leave heldout out, or pass judge_few=true",
            INPUT,
        )
    return opened.pictures


def open_inputs(job: Job, cache: Cache, device: torch.device) -> Inputs:
    """Everything on `device`; the inversion, if the method compresses latents, from the cache or made now."""
    source = load_model(job.source).to(device)
    found = few_shots(job.target, job.shots, 0, source.shape.size, job.data.fit)
    shots = Held(found.pictures, found.fields, job.seed, found.names, found.notes)
    folders = weight_folders(job)
    eye, edges = find_eye(folders), find_edges(folders)
    for judge in (eye, edges):
        if isinstance(judge, torch.nn.Module):
            judge.to(device)
    heldout = heldout_pictures(job, source.shape.size)
    projector = None
    if "projector" in METHODS[job.method].parts:
        projector = compression(job, source, shots.pictures, cache, device)
    return Inputs(source, shots, heldout, eye, edges, projector)


def compression(job: Job, source: Model, pictures: Tensor, cache: Cache, device: torch.device) -> Projector:
    """RSSA's projector for these pictures. Always inverted by the built-in eye: the judge has no part in training."""
    settings = job.method_settings()
    assert isinstance(settings, RSSASettings)
    eye = find_eye([])
    if isinstance(eye, torch.nn.Module):
        eye.to(device)
    steps, lr = settings.inversion_steps, settings.inversion_lr
    key = {"source": source.sha256, "pictures": hashed(pictures), "eye": eye.sha256, "steps": steps, "lr": lr}
    real = pictures.to(device).float() / 127.5 - 1
    made = cache.get("inversions", key, lambda: invert(source, real, eye, steps, lr))
    table = alphas(settings, source.shape.style_sides, source.shape.size, len(pictures))
    return Projector.from_codes(made["codes"].to(device), table.to(device)).to(device)
