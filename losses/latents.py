"""Latents near a query and latents apart from it: the positives and negatives of DivCo's contrast.

B queries, N negatives of each, Z dimensions of the latent. The noise is an argument: uniform on [0, 1], of
the shape that is wanted. Nothing here carries a gradient.
"""

import math

import torch
from torch import Tensor

# Below this logarithm a probability is no longer a float64; there the inverse is found from the logarithm.
_DEEP = -600.0


@torch.no_grad()
def near(z: Tensor, uniform: Tensor, radius: float) -> Tensor:
    """Latents uniform in the cube of half side `radius` around each query: z + (2 u - 1) radius.

    z: [B, Z]. uniform: [..., B, Z] in [0, 1]. Returns uniform's shape in z's type. The cube, not a ball, and
    independent in every dimension, as released (Liu et al. 2021). ValueError for a radius below 0.
    """
    _check(radius)
    return z + (2 * uniform.to(z.dtype) - 1) * radius


@torch.no_grad()
def apart(z: Tensor, uniform: Tensor, radius: float) -> Tensor:
    """Standard normal latents that lie at least `radius` from the query in every dimension.

    z: [B, Z]. uniform: [..., B, Z] in [0, 1], best drawn in float64; negatives of one query differ in it
    alone. Returns uniform's shape in z's type. ValueError for a radius below 0.
    The accepted set is a product over dimensions, so each is drawn by itself: the inverse of the distribution
    function of the normal with ]z - radius, z + radius[ cut out. That is the distribution of the release,
    which draws whole batches again until every entry is far enough, with probability about
    exp(-0.56 B Z radius) a try. In float64, and from logarithms, so a radius of any size has its draws;
    u = 0 and u = 1 stand for half a step of their type from the end.
    """
    _check(radius)
    query, u = z.double(), uniform.double()
    below, above = query - radius, query + radius
    mass_below, mass_above = torch.special.log_ndtr(below), torch.special.log_ndtr(-above)
    mass = torch.logaddexp(mass_below, mass_above)
    least = torch.finfo(uniform.dtype).eps / 4
    under = u.clamp_min(least).log() + mass
    # Not the logarithm of 1 - under: the upper tail needs its own small numbers.
    over = (1 - u).clamp_min(least).log() + mass
    # Rounding may lead across the edge by a last digit.
    low = torch.minimum(_quantile(under), below)
    high = torch.maximum(-_quantile(over), above)
    return torch.where(under < mass_below, low, high).to(z.dtype)


def _quantile(log_probability: Tensor) -> Tensor:
    """The point below which a standard normal lies with the probability of this logarithm."""
    shallow = torch.special.ndtri(log_probability.clamp(_DEEP, 0).exp())
    # log Phi is concave and -sqrt(-2 log p) lies below the root, so Newton's steps rise to it: after three of
    # them the gap is under 1e-15.
    target = log_probability.clamp_max(_DEEP)
    deep = -(-2 * target).sqrt()
    for _ in range(3):
        reached = torch.special.log_ndtr(deep)
        # Phi / phi, the reciprocal of the slope of log Phi.
        ratio = (reached + deep.square() / 2 + 0.5 * math.log(2 * math.pi)).exp()
        deep = deep + (target - reached) * ratio
    return torch.where(log_probability > _DEEP, shallow, deep)


def _check(radius: float) -> None:
    if not 0 <= radius < math.inf:
        raise ValueError(f"the radius around a latent is {radius}; it must be a number from 0 up")
