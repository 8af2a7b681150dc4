"""Structural consistency: do source and adapted generator draw the same edges for the same z?

The formula of RSSA's SCS (Xiao et al. 2022, section 4); it may be called that only with the HED network of
that paper, so here it is "structure" and the edge operator's name stands beside it.
"""

from torch import Tensor

from pipeline.judging.score import Score
from pipeline.judging.settings import Judging
from pipeline.judging.statistics import bootstrap_interval, plain


def consistency(adapted: Tensor, source: Tensor) -> Tensor:
    """Edge maps [B, 1, H, W] of the same z -> 2 sum(s t) / sum(s^2 + t^2) each, [B] in [0, 1]; 0 / 0 is 1."""
    t, s = adapted.double().flatten(1), source.double().flatten(1)
    total = (s.square() + t.square()).sum(1)
    return (2 * (s * t).sum(1) / total).where(total > 0, 1.0)


def structure_score(values: Tensor, network: str, settings: Judging) -> Score:
    """Mean over z of per-z consistencies [n]."""
    each = plain(values)
    low, high = bootstrap_interval(each, settings.resamples, settings.seed, settings.level)
    return Score(
        name="structure",
        value=float(each.mean()),
        low=low,
        high=high,
        n=len(each),
        better="higher",
        network=network,
        protocol={"formula": "mean over z of 2 sum(s t) / sum(s^2 + t^2)", "interval": "bootstrap over z"},
        detail={"lowest": float(each.min()), "highest": float(each.max())},
    )
