"""Pictures into the source's latent space W+, all at once (Abdal et al. 2019; RSSA, release).

`n` pictures, `L` style layers, `D` style dimension.
"""

import torch
from torch import Tensor

from models.judges import Eye
from pipeline.load import Model

HALVINGS = 4


def perceptual(first: list[Tensor], second: list[Tensor]) -> Tensor:
    """Mean over positions of the squared difference of unit-length taps, summed over taps -> [n]."""
    return torch.stack(
        [(a - b).square().sum(1).mean((1, 2)) for a, b in zip(first, second, strict=True)]
    ).sum(0)


def invert(
    source: Model,
    pictures: Tensor,
    eye: Eye,
    steps: int,
    lr: float,
) -> dict[str, Tensor]:
    """codes [n, L, D] and distance [n] (perceptual, of the best code) of pictures [n, 3, H, W] in [-1, 1].

    Adam from the mean style, stored noise, loss perceptual + mean squared error a picture; summed over pictures, which
    leaves each picture's gradient what it would be alone. The rate is halved after every quarter (release: every 1000
    of 4002 steps). The code with the least loss of each picture is kept.
    """
    generator, count = source.generator, len(pictures)
    known = [tap.detach() for tap in eye.taps(pictures)]
    codes = source.mean.expand(count, source.shape.layers, -1).clone().requires_grad_()
    adam = torch.optim.Adam([codes], lr=lr)
    best, least = codes.detach().clone(), torch.full((count,), torch.inf, device=pictures.device)
    apart = torch.zeros(count, device=pictures.device)
    for step in range(steps):
        for group in adam.param_groups:
            group["lr"] = lr * 0.5 ** (step * HALVINGS // steps)
        drawn = generator.synthesis(codes).picture
        distance = perceptual(eye.taps(drawn.clamp(-1, 1)), known)
        loss = distance + (drawn - pictures).square().mean((1, 2, 3))
        with torch.no_grad():
            better = loss < least
            best[better], least[better], apart[better] = codes[better], loss[better], distance[better]
        adam.zero_grad()
        torch.autograd.backward(loss.sum())
        adam.step()
    return {"codes": best.detach(), "distance": apart.detach()}
