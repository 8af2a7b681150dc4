"""How far K outputs of one condition lie from each other.

b conditions, K outputs of each, C channels, h w positions, H W pixels.
"""

import torch
from torch import Tensor

from models.judges import Eye
from pipeline.judging.perceptual import distances, pairs

DISTANCE = "spatial mean of squared differences of unit-length taps, summed over taps"


def apart(taps: list[Tensor], outputs: int) -> Tensor:
    """Mean perceptual distance of all K (K - 1) / 2 pairs of each condition's outputs: [b], float32.

    taps: maps [b K, C, h, w], condition by condition; K at least 2. Every picture went through the eye once.
    """
    found = []
    for first in range(0, len(taps[0]), outputs):
        mine = [tap[first : first + outputs].float() for tap in taps]
        found.append(pairs(distances(mine, mine)).mean())
    return torch.stack(found)


def pixels_apart(pictures: Tensor) -> Tensor:
    """Mean absolute difference of all pairs of each condition's outputs: [b, K, 3, H, W] -> [b]."""
    flat = pictures.flatten(2)
    row, column = torch.triu_indices(flat.shape[1], flat.shape[1], offset=1, device=flat.device)
    return torch.stack([(one[row] - one[column]).abs().mean() for one in flat])


@torch.no_grad()
def collapse_probe(pictures: Tensor, eye: Eye) -> dict[str, float]:
    """Do codes still change anything? Means over conditions of both distances; pictures [b, K, 3, H, W].

    Near 0 a generator ignores its codes. For logs: a number of this kind says nothing of quality.
    """
    taps = eye.taps(pictures.flatten(0, 1))
    return {
        "pixels_apart": float(pixels_apart(pictures).mean()),
        "apart": float(apart(taps, pictures.shape[1]).mean()),
    }
