"""Kernel inception distance (Binkowski et al. 2018), in the features of whichever eye judges.

X generated [n, F], Y held-out real [m, F]; kernel k(x, y) = (x.y / F + 1)^3; float64 throughout.
K outputs a condition, R resamples.
"""

from dataclasses import dataclass

import numpy as np

from pipeline.judging.score import Score
from pipeline.judging.settings import Judging
from pipeline.judging.statistics import Array, Interval, counts, percentiles


@dataclass(frozen=True)
class Kernels:
    """k within X [n, n], within Y [m, m], across [n, m]."""

    xx: Array
    yy: Array
    xy: Array


def kernel(a: Array, b: Array) -> Array:
    """k of every row of A [n, F] with every row of B [m, F]: [n, m]."""
    base = a @ b.T / a.shape[1] + 1
    return np.asarray(base * base * base)


def kernels(x: Array, y: Array) -> Kernels:
    """All kernel values of two sets of features."""
    return Kernels(kernel(x, x), kernel(y, y), kernel(x, y))


def condition_kernels(x: Array, y: Array, own: bool) -> Kernels:
    """Kernel values between conditions, each the mean over their outputs X [n, K, F]; Y [m, F].

    Outputs of one condition resemble each other. The estimates below leave out the diagonal, so here they
    pair outputs of different conditions alone and count conditions, not outputs.
    own: Y's row i is condition i's own picture, which is then left out of what its outputs are set against
    (an output must not be judged by the picture it was made from); `xy` is then [n, 1], the mean of the rest.
    """
    n, outputs, width = x.shape
    flat = x.reshape(n * outputs, width)
    # Row by row: the kernel of all outputs with all would not fit in memory.
    xx = np.stack([kernel(rows, flat).reshape(outputs, n, outputs).mean((0, 2)) for rows in x])
    xy = np.stack([kernel(rows, y).mean(0) for rows in x])
    if own:
        xy = ((xy.sum(1) - np.diag(xy)) / (n - 1))[:, None]
    return Kernels(xx, kernel(y, y), xy)


def within(k: Array) -> float:
    """Mean of k over ordered pairs of different members."""
    n = len(k)
    return float((k.sum() - np.trace(k)) / (n * (n - 1)))


def whole(k: Kernels) -> float:
    """The unbiased estimate from all pictures; can be below zero."""
    return within(k.xx) + within(k.yy) - 2 * float(k.xy.mean())


def by_subsets(k: Kernels, size: int, subsets: int, seed: int) -> Array:
    """The unbiased estimate of each of `subsets` random subsets of `size` pictures a side: [subsets]."""
    n, m = k.xy.shape
    if size == n == m:
        return np.array([whole(k)])
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(subsets):
        a, b = rng.permutation(n)[:size], rng.permutation(m)[:size]
        found.append(whole(Kernels(k.xx[np.ix_(a, a)], k.yy[np.ix_(b, b)], k.xy[np.ix_(a, b)])))
    return np.array(found)


def per_z(k: Kernels) -> Array:
    """Jackknife pseudo-values [n]: their mean is the whole estimate, their spread its error over z.

    n U - (n - 1) U_without_i; what a paired comparison of two methods on the same z is made from.
    """
    n = len(k.xx)
    mine = (k.xx.sum(1) - np.diag(k.xx)) / (n - 1)
    average = float(mine.mean())
    # Leaving one out of a mean over pairs weighs its deviation by this; out of a plain mean, by one.
    weight = 2 * (n - 1) / (n - 2) if n > 2 else 0.0
    return np.asarray(average + weight * (mine - average) + within(k.yy) - 2 * k.xy.mean(1))


def resampled(k: Kernels, c: Array) -> Array:
    """The whole estimate of every resample c [R, n] of X; a picture drawn twice is never paired with itself.

    NaN where a resample holds one picture alone, n times: it has no pair.
    """
    n = len(k.xx)
    paired = ((c @ k.xx) * c).sum(1) - c**2 @ np.diag(k.xx)
    apart = float(n * n) - (c**2).sum(1)
    apart[apart == 0] = np.nan
    return np.asarray(paired / apart + within(k.yy) - 2 * (c @ k.xy.mean(1)) / n)


def interval_over_z(k: Kernels, settings: Judging) -> Interval:
    """Bootstrap interval of the whole estimate."""
    found = resampled(k, counts(len(k.xx), settings.resamples, settings.seed))
    return percentiles(found[~np.isnan(found)], settings.level)


def kid_score(x: Array, y: Array, network: str, settings: Judging) -> tuple[Score, Array]:
    """KID of features X against Y, and its per-z values [n]."""
    k = kernels(x, y)
    size = min(settings.kid_subset_size, *k.xy.shape)
    subsets = by_subsets(k, size, settings.kid_subsets, settings.seed)
    low, high = interval_over_z(k, settings)
    score = Score(
        name="kid",
        value=float(subsets.mean()),
        low=low,
        high=high,
        n=len(x),
        better="lower",
        network=network,
        protocol={
            "kernel": f"(x.y / {x.shape[1]} + 1)^3, unbiased",
            "subsets": len(subsets),
            "subset_size": size,
            "heldout": len(y),
            "interval": "bootstrap over z, held-out pictures as they are",
        },
        detail={"whole": whole(k), "subset_std": float(subsets.std())},
    )
    return score, per_z(k)
