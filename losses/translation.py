"""Losses of translation with pairs and without: reconstruction, judgement at several scales, codes.

B pictures, C channels, H W pixels, h w positions of a logit map, Z dimensions of a code. A list of logit maps
has one [B, 1, h, w] for each scale of a discriminator: the mean over batch and positions within a scale, then
the SUM over scales, as released by BicycleGAN and DRIT. Everything that is given carries gradient.
"""

from collections.abc import Callable, Sequence

from torch import Tensor
from torch.nn.functional import softplus


def mean_absolute(a: Tensor, b: Tensor) -> Tensor:
    """Mean |a - b| over every element. a, b: one shape. Scalar, >= 0; both carry gradient."""
    return (a - b).abs().mean()


def mean_square(values: Tensor) -> Tensor:
    """Mean of the squares over every element. Scalar, >= 0.

    What DRIT pays on content codes, and on the codes of its deterministic attribute encoder in place of the
    divergence (Lee et al. 2018, as released).
    """
    return values.square().mean()


def real_square(scales: Sequence[Tensor]) -> Tensor:
    """What a discriminator pays on real pictures: (logit - 1)^2. Scalar, >= 0 (Mao et al. 2017)."""
    return _summed(scales, lambda logits: (logits - 1).square())


def fake_square(scales: Sequence[Tensor]) -> Tensor:
    """What a discriminator pays on made pictures: logit^2, without the factor 1/2. Scalar, >= 0."""
    return _summed(scales, lambda logits: logits.square())


def fool_square(scales: Sequence[Tensor]) -> Tensor:
    """What a generator pays on its own pictures: (logit - 1)^2. Scalar, >= 0."""
    return real_square(scales)


def real_logistic_scales(scales: Sequence[Tensor]) -> Tensor:
    """What a discriminator pays on real pictures: log(1 + exp(-logit)). Scalar, >= 0 (Lee et al. 2018).

    DRIT has cross-entropy after a sigmoid; on logits it is the same and does not overflow.
    """
    return _summed(scales, lambda logits: softplus(-logits))


def fake_logistic_scales(scales: Sequence[Tensor]) -> Tensor:
    """What a discriminator pays on made pictures: log(1 + exp(logit)). Scalar, >= 0."""
    return _summed(scales, softplus)


def fool_logistic_scales(scales: Sequence[Tensor]) -> Tensor:
    """What a generator pays on its own pictures: log(1 + exp(-logit)). Scalar, >= 0."""
    return real_logistic_scales(scales)


def undecided(logits: Tensor) -> Tensor:
    """Mean cross-entropy of sigmoid(logits) to 1/2, over every element. Scalar, >= ln 2, reached at 0.

    What a content encoder pays so that its domain cannot be told (Lee et al. 2018).
    """
    return (softplus(logits) - 0.5 * logits).mean()


def kl_to_normal(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, exp(log_variance)) || N(0, 1)): -1/2 sum of (1 + log_variance - mean^2 - variance).

    mean, log_variance: [B, Z]. Scalar, >= 0, the SUM over batch and dimensions, as released by BicycleGAN and
    DRIT with one encoded picture a step. A mean over processes of it is that sum divided by their number.
    """
    return -0.5 * (1 + log_variance - mean.square() - log_variance.exp()).sum()


def _summed(scales: Sequence[Tensor], cost: Callable[[Tensor], Tensor]) -> Tensor:
    """Sum over scales of the mean cost; ValueError for an empty list."""
    if not scales:
        raise ValueError("a judgement at several scales needs at least one map of logits")
    first, *others = (cost(logits).mean() for logits in scales)
    return sum(others, first)
