"""The perceptual distance: spatial mean of the squared difference of unit-length taps, summed over taps.

N M pictures, C channels, h w positions. LPIPS (Zhang et al. 2018) without its linear weights, and with
another network: it is not LPIPS.
"""

import torch
from torch import Tensor


def distances(first: list[Tensor], second: list[Tensor]) -> Tensor:
    """Taps of N and of M pictures ([N, C, h, w] and [M, C, h, w] each) -> distances [N, M], float32.

    By subtraction, not by products: the distance of a picture to itself is 0, not the rounding of 2 - 2.
    """
    total = torch.zeros(len(first[0]), len(second[0]), device=first[0].device)
    for a, b in zip(first, second, strict=True):
        positions = a.shape[2] * a.shape[3]
        apart = torch.cdist(a.flatten(1), b.flatten(1), compute_mode="donot_use_mm_for_euclid_dist")
        total += apart.square() / positions
    return total


def pairs(square: Tensor) -> Tensor:
    """The values above the diagonal of a symmetric [N, N]: [N (N - 1) / 2]."""
    row, column = torch.triu_indices(len(square), len(square), offset=1, device=square.device)
    return square[row, column]
