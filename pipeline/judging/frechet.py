"""Frechet distance of two sets of features, in float64, in the features of whichever eye judges.

N generated and m real pictures, F features. Never FID: that is the name of one network's numbers.
"""

from dataclasses import dataclass

import numpy as np

from pipeline.judging.statistics import Array

# Pictures a dimension below which a covariance is mostly noise and no distance is given; Graft's own choice.
PICTURES_PER_DIMENSION = 2


@dataclass(frozen=True)
class Moments:
    """mean [F]; covariance [F, F], unbiased."""

    mean: Array
    covariance: Array


def moments(features: Array) -> Moments:
    """Of features [N, F], N at least 2."""
    return Moments(features.mean(0), np.atleast_2d(np.cov(features, rowvar=False)))


def frechet(first: Moments, second: Moments) -> float:
    """|m1 - m2|^2 + tr C1 + tr C2 - 2 tr (C1 C2)^(1/2) (Dowson and Landau 1982); 0 for equal moments.

    tr (C1 C2)^(1/2) is the sum of the square roots of the eigenvalues of C1^(1/2) C2 C1^(1/2), which is
    symmetric: nothing complex appears where a covariance is singular. Rounding below 0 is taken as 0.
    """
    values, vectors = np.linalg.eigh(first.covariance)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    middle = root @ second.covariance @ root
    shared = np.sqrt(np.linalg.eigvalsh((middle + middle.T) / 2).clip(0)).sum()
    apart = first.mean - second.mean
    total = apart @ apart + np.trace(first.covariance) + np.trace(second.covariance) - 2 * shared
    return max(float(total), 0.0)


def too_few(sources: int, real: int, width: int) -> str:
    """Why there is no distance in F = `width` features, "" where there is one.

    Outputs of one source count once: ten of them are not ten pictures of a distribution.
    """
    needed = PICTURES_PER_DIMENSION * width
    if min(sources, real) >= needed:
        return ""
    return (
        f"a covariance of {width} features needs {needed} pictures on both sides; "
        f"here are {sources} distinct sources and {real} real pictures"
    )
