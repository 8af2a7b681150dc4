"""A translator that learned from pairs, judged: several outputs of each test input, and the true picture.

n test pairs A and B, b of them at once, K outputs of an input, Z latent dimension, D pixels, F features.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models.judges import Eye
from pipeline.errors import INPUT, GraftError
from pipeline.judging.codes import noise
from pipeline.judging.conditions import (
    OVER_CONDITIONS,
    PAIRS_OF_SOURCES,
    Looked,
    diversity_of,
    joined,
    kid_of,
    look,
    real_features,
)
from pipeline.judging.diversity import DISTANCE
from pipeline.judging.evaluator import Judgement, Named, as_saved, hashed
from pipeline.judging.measured import Measured, averaged
from pipeline.judging.ndb import Bins, Whole, binned, fit_bins, flattened, protocol
from pipeline.judging.score import Score
from pipeline.judging.settings import Pairing
from pipeline.judging.statistics import counts, plain

DrawPair = Callable[[Tensor, Tensor], Tensor]
PART = "test"


@dataclass(frozen=True)
class _Outputs:
    """looked: all outputs; closest [n]: an input's smallest difference to B; counted [K] in bins."""

    looked: Looked
    closest: Tensor
    counted: Whole | None


def judge_paired(
    draw: DrawPair,
    first: Tensor,
    second: Tensor,
    settings: Pairing,
    eye: Eye,
    latent_dim: int,
    training: Tensor | None = None,
    device: torch.device | str = "cpu",
) -> Judgement:
    """KID of outputs to real B, diversity, the closest output's difference to the true B; NDB and JSD.

    draw: A [b, 3, H, W] in [-1, 1] and z [b, Z], on `device` -> pictures like B.
    first, second: test pictures A and B [n, 3, H, W], row by row one pair, uint8 or in [-1, 1].
    training: B's training pictures, by whose bins NDB and JSD count; None leaves both out.
    Raises GraftError where A and B are not pairs, or an output is not finite.
    """
    if len(first) != len(second) or not len(first):
        raise GraftError(f"{len(first)} test pictures A and {len(second)} B: these are not pairs", INPUT)
    inputs = {
        "test": hashed({"a": hashed(first), "b": hashed(second)}),
        "codes": hashed({"latent_dim": str(latent_dim)}),
        "training": "" if training is None else hashed(training),
        "eye": f"{eye.name} {eye.sha256}",
        "protocol": json.dumps(settings.model_dump(exclude={"batch"}), sort_keys=True),
    }
    bins = None if training is None else fit_bins(flattened(as_saved(training)), settings.binning)
    found = _look(draw, first, second, bins, settings, eye, latent_dim, device)
    real = real_features(second, settings.batch, eye, device)
    n = len(first)
    c = counts(n, settings.resamples, settings.seed)
    kid, each = kid_of(found.looked.features, real, True, c, PART)
    closest = plain(found.closest)
    parts = {
        "kid": kid,
        "diversity": diversity_of(found.looked, torch.ones(n), c, PART),
        "closest": Measured(float(closest.mean()), c @ closest / n, n * settings.outputs, n, PART),
    }
    if bins is not None and found.counted is not None:
        parts |= binned(bins, found.counted, n, PART, settings.binning)
    arrays: Named = {"diversity": found.looked.apart.float(), "closest": found.closest.float()}
    if each is not None:
        arrays["kid"] = torch.from_numpy(each).float()
    return Judgement(_scores(parts, eye.name, settings), arrays, inputs)


@torch.no_grad()
def _look(
    draw: DrawPair,
    first: Tensor,
    second: Tensor,
    bins: Bins | None,
    settings: Pairing,
    eye: Eye,
    latent_dim: int,
    device: torch.device | str,
) -> _Outputs:
    looked: list[Looked] = []
    closest: list[Tensor] = []
    counted = None if bins is None else np.zeros(len(bins.counts), dtype=np.int64)
    for start in range(0, len(first), settings.batch):
        rows = range(len(first))[start : start + settings.batch]
        x = as_saved(first[rows.start : rows.stop].to(device))
        true = as_saved(second[rows.start : rows.stop].to(device))
        z = noise(settings.seed, "a", rows, "b", settings.outputs, latent_dim).to(device)
        pictures = torch.stack([as_saved(draw(x, z[:, k])) for k in range(settings.outputs)], 1)
        looked.append(look(pictures, eye, quantised=True))
        closest.append((pictures - true[:, None]).abs().mean((2, 3, 4)).min(1).values.cpu())
        if bins is not None and counted is not None:
            counted = counted + bins.count(flattened(pictures.flatten(0, 1)))
    return _Outputs(joined(looked), torch.cat(closest), counted)


def _scores(parts: dict[str, Measured], network: str, settings: Pairing) -> list[Score]:
    common = {
        "outputs": settings.outputs,
        "seed": settings.seed,
        "codes": "z by (seed, input, output)",
        "resamples": settings.resamples,
        "level": settings.level,
        "interval": OVER_CONDITIONS,
    }
    outputs = settings.outputs
    own: dict[str, dict[str, Any]] = {
        "kid": {
            "kernel": "(x.y / F + 1)^3, F the number of features",
            "estimate": PAIRS_OF_SOURCES,
            "left_out": "of the real pictures an output is set against, its own input's",
        },
        "diversity": {"distance": DISTANCE, "pairs": outputs * (outputs - 1) // 2},
        "closest": {"difference": "mean absolute, pictures in [-1, 1], as saved", "of": "the nearest output"},
        "ndb": _bins_of(settings),
        "jsd": _bins_of(settings),
    }
    return [
        averaged(
            name,
            {PART: parts[name]},
            "higher" if name == "diversity" else "lower",
            network if name in ("kid", "diversity") else "pixels",
            {**common, **recipe},
            settings.level,
        )
        for name, recipe in own.items()
        if name in parts
    ]


def _bins_of(settings: Pairing) -> dict[str, Any]:
    # The test takes pictures as independent, which outputs of one input are not.
    caution = "outputs of one input count as independent, as published: more bins differ than with one output"
    return {**protocol(settings.binning), "independence": caution}
