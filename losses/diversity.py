"""Terms that make one source give many pictures: what is returned is minimised.

B samples, N negatives, F features, P pairs of pictures, K listed pairs, M pictures of a set. Weights and
their ramps stand in the method's table. A term that is no mean over samples takes what can be gathered: a
vector of one number a sample, so that several processes together give what one would.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from losses.correlation import at_least_float32

# Elements of the pairs that are compared at once when a set is measured.
_BLOCK = 1 << 24


@dataclass(frozen=True)
class Moments:
    """Mean and standard deviation of the distances between the pictures of a set."""

    mean: float
    deviation: float


def diversity_sensitive(first: Tensor, second: Tensor) -> Tensor:
    """Minus the mean |first - second| over every element. Scalar, <= 0 and without a lower bound.

    first, second: [B, C, H, W] from the same sources with two codes. Only `first` carries gradient; `second`
    is a constant, as released. Choi et al. 2020, Eq. 3.
    """
    return -(first - second.detach()).abs().mean()


def gaps(a: Tensor, b: Tensor) -> Tensor:
    """Mean |a - b| of each sample, in at least float32. a, b: [B, ...]. Returns [B]; both carry gradient."""
    return (at_least_float32(a) - at_least_float32(b)).abs().flatten(1).mean(1)


def mode_seeking(picture_gaps: Tensor, code_gaps: Tensor, eps: float) -> Tensor:
    """1 / (mean picture gap / mean code gap + eps), one ratio for the whole batch. Scalar, 0 to 1 / eps.

    picture_gaps: [B], `gaps` of two pictures a sample, both with gradient. code_gaps: [B], `gaps` of their
    latents or styles; a constant. A ratio of means is not the mean of ratios: on several processes gather
    both vectors first, with gradient through the own part of the first. Equal codes cost nothing.
    eps: 1e-5 in the release. The gradient grows with the square of the loss, so while a generator gives
    nearly equal pictures it is huge: clip its norm or begin with a larger eps. Mao et al. 2019, whose paper
    maximises the ratio; the reciprocal with eps outside the ratio is as released.
    """
    codes = code_gaps.detach().mean()
    # The same fraction, but of two equal codes, which are always two equal pictures, it has a value.
    below = picture_gaps.mean() + eps * codes
    return codes / below.clamp_min(torch.finfo(below.dtype).tiny)


def contrast(features: Tensor, temperature: float, normalise: bool) -> Tensor:
    """Cross-entropy of finding the positive among positive and negatives. Returns [B], one loss a sample.

    features: [N + 2, B, ...] of the pictures of query, positive and N >= 1 negatives; all carry gradient,
    and at least float32 is computed in. Row b: -log softmax over the last N + 1 of <f_query, f_i> /
    temperature, taken at the positive; <.,.> sums over all that follows B.
    normalise: features to length 1 first (the paper; off in the release). Then the least value is
    ln(1 + N exp(-2 / temperature)); equal features give ln(N + 1).
    The release sums over the batch, the paper has the mean: reduce where the batch is known, which may lie
    on several processes. Liu et al. 2021. ValueError without negatives or a temperature above 0.
    """
    if len(features) < 3:
        raise ValueError(f"contrast needs query, positive and a negative; it got {len(features)} of them")
    if not temperature > 0:
        raise ValueError(f"the temperature of contrast is {temperature}; it must be above 0")
    vectors = at_least_float32(features).flatten(2)
    if normalise:
        vectors = normalize(vectors, dim=2)
    logits = (vectors[0] * vectors[1:]).sum(2) / temperature
    return logits.logsumexp(0) - logits[0]


def latent_regression(found: Tensor, code: Tensor) -> Tensor:
    """Mean |found - code| over batch and dimensions. Scalar, >= 0.

    found, code: [B, Z], the code that an encoder read from a picture and the one that the picture was drawn
    from. Only `found` carries gradient; freeze the encoder, or it and the generator agree on a hiding place.
    Zhu et al. 2017 (BicycleGAN).
    """
    return (found - code.detach()).abs().mean()


def pair_gaps(pictures: Tensor) -> Tensor:
    """Mean |x_i - x_j| of every pair i < j, in at least float32. pictures: [B, ...], B >= 2, with gradient.

    Returns [P], P = B (B - 1) / 2, ordered (0, 1), (0, 2), ..., (1, 2), ... ValueError for one picture.
    """
    if len(pictures) < 2:
        raise ValueError("distances are kept between pictures; a batch of one has none")
    i, j = torch.triu_indices(len(pictures), len(pictures), 1, device=pictures.device)
    return gaps(pictures[i], pictures[j])


def half_gaps(pictures: Tensor) -> Tensor:
    """Mean |upper - lower half| of each picture: DistanceGAN's self-distance, for batches of one.

    pictures: [B, C, H, W] with gradient; of an odd height the middle row is left out. Returns [B].
    """
    half = pictures.shape[2] // 2
    return gaps(pictures[:, :, :half], pictures[:, :, -half:])


def distance_preservation(
    source_gaps: Tensor, image_gaps: Tensor, source_moments: Moments, image_moments: Moments
) -> Tensor:
    """Mean |standardised distance of sources - standardised distance of their images|. Scalar, >= 0.

    source_gaps, image_gaps: [P], `pair_gaps` of sources and of what was made of them, in the same order, or
    [B], `half_gaps`. Only the image gaps carry gradient. moments: of each side's training set, see
    `distance_moments`. A mean over pairs, and only pairs within what was given: a batch that lies on several
    processes has fewer of them. Benaim and Wolf 2017.
    """
    before = (source_gaps.detach() - source_moments.mean) / source_moments.deviation
    after = (image_gaps - image_moments.mean) / image_moments.deviation
    return (before - after).abs().mean()


@torch.no_grad()
def distance_moments(pictures: Tensor, pairs: Sequence[tuple[int, int]]) -> Moments:
    """Mean and standard deviation (divided by K) of mean |x_i - x_j| over the listed pairs.

    pictures: [M, ...] floats in the range that is trained in. pairs: K places (i, j) in pictures.
    Of single pictures; the release has those of batch means, whose deviation is smaller by about the root of
    the batch. ValueError without pairs, or when all distances are equal, which leaves no scale.
    """
    if not pairs:
        raise ValueError("moments of distances need pairs of pictures, and none were listed")
    step = max(1, _BLOCK // max(1, pictures[0].numel()))
    parts = []
    for at in range(0, len(pairs), step):
        i, j = torch.tensor(pairs[at : at + step], device=pictures.device).unbind(1)
        parts.append(gaps(pictures[i], pictures[j]).double())
    found = torch.cat(parts)
    deviation = found.std(correction=0).item()
    if not deviation > 0:
        raise ValueError(f"all {len(pairs)} distances between pictures are equal: they have no scale")
    return Moments(found.mean().item(), deviation)
