"""Memorisation: how many generated pictures are copies of a training picture?

n generated pictures, K training pictures, each also mirrored; a mirrored copy is a copy of the same picture.
"""

import torch
from torch import Tensor

from pipeline.judging.score import Score
from pipeline.judging.settings import Judging
from pipeline.judging.statistics import Array, plain, share_interval


def to_pictures(apart: Tensor) -> Tensor:
    """Distances [B, 2 K] to the training pictures and then to their mirror images -> [B, K], the smaller."""
    count = apart.shape[1] // 2
    return torch.minimum(apart[:, :count], apart[:, count:])


def ratios(nearest: Tensor, spread: float) -> Tensor:
    """[n, K] distances -> [n]: nearest over second nearest; for K = 1, nearest over the source's `spread`.

    0 / 0 is 1: between two equal training pictures there is no telling which was copied.
    """
    if nearest.shape[1] > 1:
        first, second = nearest.double().topk(2, dim=1, largest=False).values.unbind(1)
    else:
        first = nearest[:, 0].double()
        second = torch.full_like(first, spread)
    return (first / second).where(second > 0, 1.0)


def memorised_score(nearest: Tensor, spread: float, network: str, settings: Judging) -> tuple[Score, Array]:
    """Share of pictures whose ratio is below `settings.copy_ratio`, and the per-z zeros and ones [n].

    nearest: [n, K] as from `to_pictures`. spread: median pairwise distance of the source's samples.
    """
    ratio = ratios(nearest, spread)
    copies = (ratio < settings.copy_ratio).double()
    share = float(copies.mean())
    low, high = share_interval(share, len(copies), settings.level)
    median = float(nearest.double().min(1).values.quantile(0.5))
    several = nearest.shape[1] > 1
    score = Score(
        name="memorised",
        value=share,
        low=low,
        high=high,
        n=len(copies),
        better="lower",
        network=network,
        protocol={
            "ratio": "nearest / second nearest"
            if several
            else "nearest / median pairwise distance of the source",
            "below": settings.copy_ratio,
            "mirrored": "mirror images of the training pictures count as those pictures",
            "interval": "Wilson",
        },
        detail={
            "mean_ratio": float(ratio.mean()),
            "median_nearest": median,
            "source_spread": spread,
            "nearest_over_spread": median / spread if spread > 0 else None,
        },
    )
    return score, plain(copies)
