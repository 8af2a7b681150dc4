"""Gradient penalties: R1 on the discriminator, path length on the generator.

B pictures, C channels, H W pixels, L style layers, D style dimension. Weights (gamma / 2, the lazy interval)
stand in the method's table, not here.
"""

import math

import torch
from torch import Tensor


def r1(logits: Tensor, pictures: Tensor) -> Tensor:
    """Squared norm of each picture's gradient of its logit, differentiable once more. Returns [B], >= 0.

    logits: [B, 1], or a patch map [B, 1, h, w], which is averaged over its positions first, as released.
    pictures: [B, C, H, W], the very tensor the logits were computed from, requiring grad.
    Summed over all pixels and channels of a picture (Mescheder et al. 2018). Autograd raises
    RuntimeError when the logits do not depend on the pictures.
    """
    total = logits.flatten(1).mean(1).sum()
    (slope,) = torch.autograd.grad(total, pictures, create_graph=True)
    return slope.square().flatten(1).sum(1)


def path_lengths(picture: Tensor, styles: Tensor, noise: Tensor) -> Tensor:
    """Length of the generator's Jacobian along one random direction per picture. Returns [B], >= 0.

    picture: [B, C, H, W], drawn from styles. styles: [B, L, D], requiring grad. noise: standard normal, of
    the picture's shape; the division by sqrt(H W) is done here. With J = d sum(picture * noise) / d styles:
    the square root of (mean over L of (sum over D of J^2)). Karras et al. 2020, Eq. 4, layers as released.
    """
    height, width = picture.shape[-2:]
    total = (picture * noise).sum() / math.sqrt(height * width)
    (slope,) = torch.autograd.grad(total, styles, create_graph=True)
    return slope.square().sum(2).mean(1).sqrt()


def path_length_penalty(lengths: Tensor, mean_before: Tensor, decay: float) -> tuple[Tensor, Tensor]:
    """Mean over the batch of (length - m)^2, and the moved mean m without its graph.

    lengths: [B]. mean_before: scalar, 0 at the start. decay: the share of the new batch in the mean (0.01 in
    the release). m = mean_before + decay * (mean lengths - mean_before), and inside the penalty m keeps its
    graph, as in the release: detaching it would change the gradient by the factor 1 - decay on the mean.
    """
    mean = mean_before.detach() + decay * (lengths.mean() - mean_before.detach())
    return (lengths - mean).square().mean(), mean.detach()
