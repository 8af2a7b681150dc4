"""A class-conditional generator, judged class by class.

n pictures of a class, B of them at once, D latent dimension, m held-out and N training pictures of a class,
F features, R resamples.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models.judges import Eye
from pipeline.errors import INPUT, GraftError
from pipeline.judging.conditions import real_features
from pipeline.judging.diversity import DISTANCE
from pipeline.judging.evaluator import Judgement, Named, as_saved, hashed
from pipeline.judging.kid import kernels, per_z, resampled, whole
from pipeline.judging.measured import Measured, averaged
from pipeline.judging.ndb import Bins, binned, fit_bins, flattened, protocol
from pipeline.judging.perceptual import distances, pairs
from pipeline.judging.score import Score
from pipeline.judging.settings import ByClass
from pipeline.judging.statistics import Array, counts, plain

DrawClass = Callable[[Tensor, Tensor], Tensor]
OVER_Z = "bootstrap over z, the same z in every class; held-out pictures as they are"


@dataclass(frozen=True)
class _Class:
    """features [n, F]; square: distances of the first pictures [s, s]; binned [K], None without bins."""

    features: Array
    square: Array
    counted: np.ndarray[tuple[int, ...], np.dtype[np.int64]] | None


def judge_classes(
    draw: DrawClass,
    heldout: Mapping[int, Tensor],
    training: Mapping[int, Tensor],
    settings: ByClass,
    eye: Eye,
    latent_dim: int,
    device: torch.device | str = "cpu",
) -> Judgement:
    """KID, diversity, and NDB and JSD where there are training pictures: of each class, and their mean.

    draw: z [B, D] and classes int64 [B], on `device` -> pictures [B, 3, H, W] in [-1, 1].
    heldout, training: class -> [m, 3, H, W], uint8 or in [-1, 1]; without `training` (empty) no bins.
    Raises GraftError without a held-out class, or where a picture is not finite.
    """
    if not heldout:
        raise GraftError("no class has held-out pictures; nothing can be judged", INPUT)
    z = torch.randn(settings.n, latent_dim, generator=torch.Generator().manual_seed(settings.seed))
    inputs = {
        "z": hashed(z),
        "heldout": hashed({str(label): hashed(heldout[label]) for label in sorted(heldout)}),
        "training": hashed({str(label): hashed(training[label]) for label in sorted(training)}),
        "eye": f"{eye.name} {eye.sha256}",
        "protocol": json.dumps(settings.model_dump(exclude={"batch"}), sort_keys=True),
    }
    parts: dict[str, dict[str, Measured]] = {"kid": {}, "diversity": {}, "ndb": {}, "jsd": {}}
    arrays: Named = {}
    for label in sorted(heldout):
        bins = fit_bins(flattened(as_saved(training[label])), settings.binning) if label in training else None
        looked = _look(draw, z, label, bins, settings, eye, device)
        real = real_features(heldout[label], settings.batch, eye, device)
        measured, each = _measured(looked, real, settings)
        if bins is not None and looked.counted is not None:
            measured |= binned(bins, looked.counted, settings.n, "z", settings.binning)
        for name, part in measured.items():
            parts[name][str(label)] = part
        if each is not None:
            arrays[f"kid.{label}"] = torch.from_numpy(each).float()
    return Judgement(_scores(parts, eye.name, settings), arrays, inputs)


@torch.no_grad()
def _look(
    draw: DrawClass,
    z: Tensor,
    label: int,
    bins: Bins | None,
    settings: ByClass,
    eye: Eye,
    device: torch.device | str,
) -> _Class:
    features: list[Tensor] = []
    taps: list[list[Tensor]] = []
    counted = None
    drawn = 0
    for part in torch.split(z, settings.batch):
        y = torch.full((len(part),), label, dtype=torch.int64, device=device)
        pictures = as_saved(draw(part.to(device), y))
        seen = eye.see(pictures)
        features.append(seen.features.cpu())
        some = max(settings.members - drawn, 0)
        if some:
            taps.append([tap[:some] for tap in seen.taps])
        if bins is not None:
            more = bins.count(flattened(pictures))
            counted = more if counted is None else counted + more
        drawn += len(part)
    sample = [torch.cat(tap) for tap in zip(*taps, strict=True)]
    return _Class(plain(torch.cat(features)), plain(distances(sample, sample).cpu()), counted)


def _measured(looked: _Class, real: Array, settings: ByClass) -> tuple[dict[str, Measured], Array | None]:
    """kid and diversity of one class, and KID's per-z values [n]."""
    n, members = len(looked.features), len(looked.square)
    c = counts(members, settings.resamples, settings.seed)
    # As in KID, a picture drawn twice makes no pair with itself.
    apart = float(members * members) - (c**2).sum(1)
    apart[apart == 0] = np.nan
    diversity = Measured(
        float(pairs(torch.from_numpy(looked.square)).mean()),
        ((c @ looked.square) * c).sum(1) / apart,
        members,
        members,
        "z",
    )
    if len(real) < 2:
        reason = "one held-out picture: too few for an unbiased estimate"
        return {"kid": Measured(None, None, n, n, "z", reason), "diversity": diversity}, None
    k = kernels(looked.features, real)
    again = resampled(k, counts(n, settings.resamples, settings.seed))
    kid = Measured(whole(k), again, n, n, "z", detail={"heldout": len(real)})
    return {"kid": kid, "diversity": diversity}, per_z(k)


def _scores(parts: Mapping[str, Mapping[str, Measured]], network: str, settings: ByClass) -> list[Score]:
    common = {
        "n": settings.n,
        "seed": settings.seed,
        "mean": "every class weighs the same",
        "resamples": settings.resamples,
        "level": settings.level,
        "interval": OVER_Z,
    }
    own: dict[str, dict[str, Any]] = {
        "kid": {"kernel": "(x.y / F + 1)^3, F the number of features", "estimate": "unbiased, no subsets"},
        "diversity": {"distance": DISTANCE, "members": settings.members, "pairs": "all of one class"},
        "ndb": protocol(settings.binning),
        "jsd": protocol(settings.binning),
    }
    return [
        averaged(
            name,
            parts[name],
            "higher" if name == "diversity" else "lower",
            "pixels" if name in ("ndb", "jsd") else network,
            {**common, **recipe},
            settings.level,
        )
        for name, recipe in own.items()
        if parts[name]
    ]
