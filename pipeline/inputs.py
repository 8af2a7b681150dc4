"""What a cell needs before it can start: its source, its few pictures, the held-out ones, the eyes that judge."""

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from cluster.object_cache import at_hand
from models.judges import Edges, Eye, find_edges, find_eye
from models.projector import Projector
from pipeline.data.fewshot import few_shots
from pipeline.data.held import Held, open_set
from pipeline.data.shipped import NAMES, heldout_of
from pipeline.errors import INPUT, GraftError
from pipeline.inversion import invert
from pipeline.job import Evaluation, Job, Pretrain
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


def eyes(own: str | None, device: torch.device) -> tuple[Eye, Edges]:
    """The networks that judge, on `device`: from the folder `own`, then GRAFT_WEIGHTS, else the built-in ones."""
    folders = [at_hand(where) for where in (own, os.environ.get("GRAFT_WEIGHTS")) if where]
    eye, edges = find_eye(folders), find_edges(folders)
    for judge in (eye, edges):
        if isinstance(judge, torch.nn.Module):
            judge.to(device)
    return eye, edges


def heldout_pictures(
    own: str | None, domain: str, size: int, fit: str, few: bool | None = None
) -> Tensor | None:
    """The pictures to judge against: the job's own, else those of a shipped domain, else none.

    A shipped name means the pictures of that set that no training sees. few: take less than ENOUGH of them too;
    None where the config has no such key.
    """
    name = own or domain
    if own is None and name not in NAMES:
        return None
    where = heldout_of(name) if name in NAMES else name
    opened = open_set(where, size, fit)
    if not isinstance(opened, Held):
        raise GraftError(f"{where}: too many pictures to judge against; name a smaller set", INPUT)
    if opened.count < ENOUGH and not few:
        anyway = "" if few is None else ", or pass judge_few=true"
        raise GraftError(
            f"{where}: {opened.count} held-out pictures are too few for a distance (at least {ENOUGH}); "
            f"name more, leave heldout out{anyway}",
            INPUT,
        )
    return opened.pictures


def judging_inputs(asked: Job | Evaluation, seed: int, device: torch.device) -> Inputs:
    """What a judgement needs, on `device`; compresses nothing. `seed` orders the few pictures as a stream."""
    source = load_model(asked.source).to(device)
    size, fit = source.shape.size, asked.data.fit
    found = few_shots(asked.target, asked.shots, 0, size, fit)
    shots = Held(found.pictures, found.fields, seed, found.names, found.notes)
    heldout = heldout_pictures(asked.heldout, asked.target, size, fit, asked.judge_few)
    return Inputs(source, shots, heldout, *eyes(asked.judge_weights, device), None)


def open_inputs(job: Job, cache: Cache, device: torch.device) -> Inputs:
    """Everything on `device`; the inversion, if the method compresses latents, from the cache or made now."""
    inputs = judging_inputs(job, job.seed, device)
    if "projector" not in METHODS[job.method].parts:
        return inputs
    return replace(inputs, projector=compression(job, inputs.source, inputs.shots.pictures, cache, device))


def look_at_inputs(jobs: Iterable[Job | Pretrain]) -> None:
    """Open what these cells need, each thing once, so that a bad file is named before any of them starts."""
    from pipeline.families import FAMILIES  # its families open their data through this file

    seen: set[object] = set()
    for job in jobs:
        if isinstance(job, Pretrain):
            what: object = (job.method, job.train, job.heldout, str(job.network), job.data.fit)
            if what not in seen:
                seen.add(what)
                FAMILIES[job.method].open(job)
            continue
        what = (
            job.source,
            job.target,
            job.heldout,
            job.shots,
            job.data.fit,
            job.judge_weights,
            job.judge_few,
        )
        if what not in seen:
            seen.add(what)
            judging_inputs(job, job.seed, torch.device("cpu")).source.critic()


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
