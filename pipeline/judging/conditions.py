"""What is measured on K outputs of each of n conditions: sources for a target, or inputs of a pair.

n conditions, b of them at once, K outputs, F features, m real pictures, R resamples. What is resampled is the
condition: outputs of one condition resemble each other, and taken singly would make intervals too narrow.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from models.judges import Eye
from pipeline.judging.diversity import apart, pixels_apart
from pipeline.judging.evaluator import as_saved
from pipeline.judging.frechet import frechet, moments, too_few
from pipeline.judging.kid import condition_kernels, per_z, resampled, whole
from pipeline.judging.measured import Measured
from pipeline.judging.statistics import Array, plain

OVER_CONDITIONS = "bootstrap over sources, each with all its outputs; held-out pictures as they are"
PAIRS_OF_SOURCES = "unbiased over all pairs of outputs of different sources; no subsets are drawn"


@dataclass(frozen=True)
class Looked:
    """features [n, K, F]; apart, pixels [n]: mean distance of a condition's outputs; on the CPU."""

    features: Tensor
    apart: Tensor
    pixels: Tensor


def joined(parts: Sequence[Looked]) -> Looked:
    """The parts of n, one after the other."""
    return Looked(
        torch.cat([part.features for part in parts]),
        torch.cat([part.apart for part in parts]),
        torch.cat([part.pixels for part in parts]),
    )


@torch.no_grad()
def look(pictures: Tensor, eye: Eye, quantised: bool) -> Looked:
    """Outputs [b, K, 3, H, W] as a generator gives them, through the eye.

    Features are of the pictures as files hold them. quantised: distances too, and one pass gives both;
    if not, distances are of the raw values, neither clamped nor rounded, and every picture is seen twice.
    """
    b, outputs = pictures.shape[:2]
    raw = pictures.flatten(0, 1)
    saved = as_saved(raw)
    seen = [eye.see(part) for part in torch.split(saved, b)]
    drawn = saved
    taps = [part.taps for part in seen]
    if not quantised:
        drawn, taps = raw, [eye.taps(part) for part in torch.split(raw, b)]
    maps = [torch.cat(tap) for tap in zip(*taps, strict=True)]
    features = torch.cat([part.features for part in seen]).cpu()
    grouped = drawn.view(b, outputs, *drawn.shape[1:])
    return Looked(features.view(b, outputs, -1), apart(maps, outputs).cpu(), pixels_apart(grouped).cpu())


@torch.no_grad()
def real_features(pictures: Tensor, batch: int, eye: Eye, device: torch.device | str) -> Array:
    """Features [m, F] of real pictures [m, 3, H, W], uint8 or in [-1, 1]."""
    parts = [eye.features(as_saved(part.to(device))).cpu() for part in torch.split(pictures, batch)]
    return plain(torch.cat(parts))


def kid_of(features: Tensor, real: Array, own: bool, c: Array, origin: str) -> tuple[Measured, Array | None]:
    """KID of outputs [n, K, F] against real [m, F], and its values per condition [n] (jackknife).

    own: real's row i belongs to condition i, whose outputs are not set against it. c [R, n]: the resamples.
    """
    n, outputs = features.shape[:2]
    if min(n, len(real)) < 2:
        reason = f"{n} sources and {len(real)} held-out pictures: too few for an unbiased estimate"
        return Measured(None, None, n * outputs, n, origin, reason), None
    k = condition_kernels(plain(features), real, own)
    found = Measured(whole(k), resampled(k, c), n * outputs, n, origin, detail={"heldout": len(real)})
    return found, per_z(k)


def frechet_of(features: Tensor, real: Array, origin: str) -> Measured:
    """Frechet distance of all outputs [n, K, F] to real [m, F]; absent where there are too few pictures."""
    n, outputs, width = features.shape
    reason = too_few(n, len(real), width)
    if reason:
        return Measured(None, None, n * outputs, n, origin, reason)
    value = frechet(moments(plain(features.flatten(0, 1))), moments(real))
    return Measured(value, None, n * outputs, n, origin, detail={"heldout": len(real)})


def diversity_of(looked: Looked, weights: Tensor, c: Array, origin: str) -> Measured:
    """Mean over conditions of their outputs' mean distance, by weights [n], which are kept in resamples."""
    n, outputs = looked.features.shape[:2]
    values, weighed = plain(looked.apart), plain(weights)
    mass = c * weighed
    detail = {
        "sources_std": float(values.std(ddof=1)) if n > 1 else None,
        "pixels_apart": float(np.average(plain(looked.pixels), weights=weighed)),
    }
    again = mass @ values / mass.sum(1)
    return Measured(float(values @ weighed / weighed.sum()), again, n * outputs, n, origin, detail=detail)
