"""Intervals and decisions. Everything here is float64 and seeded.

S runs (training seeds), n evaluation z, R resamples.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special  # its stats takes most of a second to import

Array = NDArray[np.float64]
Interval = tuple[float, float]
FEWEST_SEEDS = 3


def counts(n: int, resamples: int, seed: int) -> Array:
    """How often each of n draws stands in each resample: [R, n], every row sums to n."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(n, np.full(n, 1 / n), size=resamples).astype(np.float64)


def percentiles(values: Array, level: float) -> Interval:
    """The middle `level` of resampled values [R]."""
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def bootstrap_interval(values: Array, resamples: int, seed: int, level: float = 0.95) -> Interval:
    """Percentile bootstrap interval of the mean of values [n]."""
    n = len(values)
    return percentiles(counts(n, resamples, seed) @ values / n, level)


def share_interval(share: float, n: int, level: float = 0.95) -> Interval:
    """Wilson's interval of a share among n; unlike a bootstrap it has a width at 0 and at 1."""
    z = float(special.ndtri((1 + level) / 2))
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * float(np.sqrt(share * (1 - share) / n + z * z / (4 * n * n)))
    # At 0 and 1 an end is the share itself; rounding must not push it past.
    return max(0.0, min(share, middle - half)), min(1.0, max(share, middle + half))


def seeds_interval(values: Sequence[float], level: float = 0.95) -> Interval:
    """Student's interval of the mean over runs; needs at least three."""
    if len(values) < FEWEST_SEEDS:
        raise ValueError(f"an interval over seeds needs at least {FEWEST_SEEDS} runs, not {len(values)}")
    mean, error = float(np.mean(values)), float(np.std(values, ddof=1)) / len(values) ** 0.5
    half = float(special.stdtrit(len(values) - 1, (1 + level) / 2)) * error
    return mean - half, mean + half


@dataclass(frozen=True)
class Paired:
    """A paired difference second - first: mean, interval, two-sided p; over how many runs and z.

    over: "seeds and z", or "z" where there were too few runs to speak of other runs.
    """

    difference: float
    low: float
    high: float
    p: float
    seeds: int
    n: int
    over: str


def paired_difference(first: Array, second: Array, resamples: int, seed: int, level: float = 0.95) -> Paired:
    """The difference of two methods' per-z values [S, n], row by row the same run seed and the same z.

    Hierarchical bootstrap: runs and z are resampled, each z together in all runs (with fewer than three runs,
    z alone). The spread of S runs is too small by S / (S - 1) when runs are resampled, and is set right.
    Interval and p are Student's with that error and Satterthwaite's degrees of freedom.
    """
    gap = second - first
    runs, n = gap.shape
    mean = float(gap.mean())
    z_means = gap.mean(0)
    draws = counts(n, resamples, seed) / n
    if runs < FEWEST_SEEDS:
        error, freedom, over = float((draws @ z_means).std(ddof=1)), float(n - 1), "z"
    else:
        run_means = gap.mean(1)
        set_right = np.sqrt(runs / (runs - 1)) - 1
        wide = gap + set_right * (run_means - mean)[:, None]
        chosen = counts(runs, resamples, seed + 1) / runs
        error = float(np.einsum("rs,sn,rn->r", chosen, wide, draws, optimize=True).std(ddof=1))
        of_runs, of_z = float(run_means.var(ddof=1)) / runs, float(z_means.var(ddof=1)) / n
        below = of_runs**2 / (runs - 1) + of_z**2 / (n - 1)
        freedom = (of_runs + of_z) ** 2 / below if below > 0 else float(n - 1)
        over = "seeds and z"
    half = float(special.stdtrit(freedom, (1 + level) / 2)) * error
    p = 1.0 if mean == 0 else 0.0 if error == 0 else float(2 * special.stdtr(freedom, -abs(mean) / error))
    return Paired(mean, mean - half, mean + half, p, runs, n, over)


def holm(p: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p values (Holm 1979), in the given order."""
    order = sorted(range(len(p)), key=lambda index: p[index])
    adjusted = [0.0] * len(p)
    highest = 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(p) - rank) * p[index]))
        adjusted[index] = highest
    return adjusted


def pareto(points: Sequence[tuple[float, ...]]) -> list[bool]:
    """Which points no other point beats: all coordinates at least as good, one better. Lower is better."""

    def beaten(point: tuple[float, ...], other: tuple[float, ...]) -> bool:
        return other != point and all(b <= a for a, b in zip(point, other, strict=True))

    return [not any(beaten(point, other) for other in points) for point in points]


def plain(values: Any) -> Array:
    """Any array or tensor on the CPU, as float64."""
    return np.asarray(values, dtype=np.float64)
