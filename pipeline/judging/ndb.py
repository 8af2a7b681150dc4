"""NDB and JSD: do generated pictures fall into the training pictures' bins as often as those do?

Richardson and Weiss 2018, as in their release (gans-n-gmms): K-means of pixels, then a test of each bin.
N training pictures, m others, D = 3 H W pixels of a picture, d of them seen by K-means, K bins.
"""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special
from torch import Tensor

from pipeline.judging.measured import Measured
from pipeline.judging.settings import Binning
from pipeline.judging.statistics import Array

Flat = NDArray[np.float32]
Whole = NDArray[np.int64]


@dataclass(frozen=True)
class Bins:
    """Bins of N training pictures, the fullest first.

    centres [K, D]; dimensions [d], the ones by which the nearest is found; counts [K] of training pictures;
    mean, deviation [D] to whiten by, or None; iterations: how many K-means took.
    """

    centres: Array
    dimensions: Whole
    counts: Whole
    whitening: tuple[Flat, Flat] | None
    iterations: int

    def count(self, flat: Flat) -> Whole:
        """How many of the pictures [m, D] are nearest to each centre: [K]. Sums over batches."""
        seen = _whitened(flat, self.whitening)[:, self.dimensions].astype(np.float64)
        nearest = _squared(seen, self.centres[:, self.dimensions]).argmin(1)
        return np.bincount(nearest, minlength=len(self.counts))

    @property
    def sha256(self) -> str:
        """Of the centres, to two decimals of a grey level: NDB is comparable where it is the same."""
        return hashlib.sha256(np.round(self.centres * 25500).astype(np.int64).tobytes()).hexdigest()


def flattened(pictures: Tensor) -> Flat:
    """Pictures [m, 3, H, W] in [-1, 1] as rows of pixels in [0, 1]: [m, D]."""
    return ((pictures.detach().cpu().float().flatten(1) + 1) / 2).numpy()


def bins_for(count: int, settings: Binning) -> int:
    """K of `count` training pictures: as set, or by `per_bin`; at least 1, at most one a picture."""
    return max(1, min(count, settings.bins or count // settings.per_bin))


def fit_bins(flat: Flat, settings: Binning) -> Bins:
    """Bins of training pictures [N, D].

    K-means sees a random d = D // 6 of more than 1,000 pixels; centres are means in all of them.
    A bin that stays empty, as duplicates can make it, is left out.
    """
    count, size = flat.shape
    rng = np.random.default_rng(settings.seed)
    dimensions = np.arange(size)
    if size > settings.large:
        dimensions = np.sort(rng.permutation(size)[: max(1, size // settings.thinning)])
    whitening = (flat.mean(0), flat.std(0) + np.float32(1e-6)) if settings.whiten else None
    x = _whitened(flat, whitening)
    labels, iterations = _kmeans(
        x[:, dimensions].astype(np.float64), bins_for(count, settings), settings.iterations, rng
    )
    counts = np.bincount(labels)
    order = np.argsort(-counts, kind="stable")
    order = order[counts[order] > 0]
    centres = np.stack([x[labels == label].mean(0, dtype=np.float64) for label in order])
    return Bins(centres, dimensions, counts[order], whitening, iterations)


def different(first: Whole, second: Whole, significance: float) -> NDArray[np.bool_]:
    """Bins [K] whose shares of two sets differ: pooled two-proportion z, two-tailed.

    Where all pictures or none of both sets lie in a bin there is nothing to tell apart.
    """
    n1, n2 = first.sum(), second.sum()
    pooled = (first + second) / (n1 + n2)
    error = np.sqrt(pooled * (1 - pooled) * (1 / n1 + 1 / n2))
    z = np.divide(first / n1 - second / n2, error, out=np.zeros(len(first)), where=error > 0)
    return np.asarray(2 * special.ndtr(-np.abs(z)) < significance)


def divergence(first: Whole, second: Whole) -> float:
    """Jensen-Shannon divergence of two sets' shares, natural logarithm: from 0 to log 2."""
    p, q = first / first.sum(), second / second.sum()
    middle = (p + q) / 2

    def kl(a: Array) -> float:
        some = a > 0
        return float((a[some] * np.log(a[some] / middle[some])).sum())

    return max(0.0, (kl(p) + kl(q)) / 2)


def binned(bins: Bins, found: Whole, sources: int, origin: str, settings: Binning) -> dict[str, Measured]:
    """ndb and jsd of generated pictures counted into bins [K], each with what it depends on."""
    apart = different(bins.counts, found, settings.significance)
    detail: dict[str, Any] = {
        "bins": len(bins.counts),
        "training": int(bins.counts.sum()),
        "dimensions": len(bins.dimensions),
        "of": bins.centres.shape[1],
        "iterations": bins.iterations,
        "centres": bins.sha256,
    }
    made = int(found.sum())
    if len(bins.counts) < 2:
        reason = f"{detail['training']} training pictures make {len(bins.counts)} bin; it takes two"
        return {name: Measured(None, None, made, sources, origin, reason) for name in ("ndb", "jsd")}
    return {
        "ndb": Measured(
            float(apart.sum()),
            None,
            made,
            sources,
            origin,
            detail={**detail, "share": float(apart.mean())},
        ),
        "jsd": Measured(divergence(bins.counts, found), None, made, sources, origin, detail=detail),
    }


def protocol(settings: Binning) -> dict[str, Any]:
    """Everything by which two NDB can differ, but for the training pictures."""
    return {
        "bins": settings.bins or f"training pictures / {settings.per_bin}",
        "pixels": "[0, 1], of pictures as saved",
        "dimensions": f"a random one of {settings.thinning} where there are more than {settings.large}",
        "whitening": settings.whiten,
        "kmeans": f"one k-means++ start, at most {settings.iterations} Lloyd iterations",
        "seed": settings.seed,
        "test": "pooled two-proportion z, two-tailed",
        "significance": settings.significance,
        "logarithm": "natural",
        "interval": "none",
    }


def _whitened(flat: Flat, whitening: tuple[Flat, Flat] | None) -> Flat:
    return flat if whitening is None else (flat - whitening[0]) / whitening[1]


def _squared(x: Array, centres: Array) -> Array:
    """Squared distances [m, K]."""
    apart = (x**2).sum(1)[:, None] - 2 * x @ centres.T + (centres**2).sum(1)
    return np.asarray(apart.clip(0))


def _kmeans(x: Array, count: int, iterations: int, rng: np.random.Generator) -> tuple[Whole, int]:
    """Labels [N] of Lloyd's algorithm from k-means++ centres, and how many iterations it took.

    A centre that loses all its rows takes the row farthest from its own.
    """
    centres = _spread_out(x, count, rng)
    labels = np.full(len(x), -1)
    for iteration in range(1, iterations + 1):
        apart = _squared(x, centres)
        before, labels = labels, apart.argmin(1)
        if (before == labels).all():
            return labels, iteration
        sizes = np.bincount(labels, minlength=count)
        sums = np.zeros_like(centres)
        np.add.at(sums, labels, x)
        filled = sizes > 0
        centres[filled] = sums[filled] / sizes[filled, None]
        empty = np.flatnonzero(~filled)
        far = np.argsort(-apart[np.arange(len(x)), labels], kind="stable")[: len(empty)]
        centres[empty] = x[far]
    return labels, iterations


def _spread_out(x: Array, count: int, rng: np.random.Generator) -> Array:
    """k-means++ (Arthur and Vassilvitskii 2007): a next centre is a row, likelier the farther."""
    picked = [int(rng.integers(len(x)))]
    nearest = _squared(x, x[picked])[:, 0]
    for _ in range(count - 1):
        total = nearest.sum()
        share = nearest / total if total > 0 else np.full(len(x), 1 / len(x))
        picked.append(int(rng.choice(len(x), p=share)))
        nearest = np.minimum(nearest, _squared(x, x[picked[-1:]])[:, 0])
    return x[picked].copy()
