"""Latent compression: styles drawn towards the span of the inverted few-shot pictures (RSSA, section 3.3).

`B` batch, `L` style layers, `D` style dimension, `n` inverted pictures.
"""

from typing import Self

import torch
from torch import Tensor, nn


def orthonormal_bases(codes: Tensor, tolerance: float = 1e-6) -> Tensor:
    """Per layer an orthonormal basis of the span of codes [n, L, D] -> [L, D, n].

    Directions below `tolerance` of the largest singular value are left out (their columns are zero), so equal
    pictures do no harm.
    """
    u, s, _ = torch.linalg.svd(codes.double().permute(1, 2, 0), full_matrices=False)
    kept = s > tolerance * s[:, :1].clamp_min(1e-30)
    bases: Tensor = (u * kept[:, None, :]).to(codes.dtype)
    return bases


class Projector(nn.Module):
    """w -> alpha * wbar |w| / |wbar| + (1 - alpha) w, with wbar = Q Q^T w per layer."""

    bases: Tensor
    alphas: Tensor

    def __init__(self, bases: Tensor, alphas: Tensor) -> None:
        """bases [L, D, n], alphas [L] in [0, 1]."""
        super().__init__()
        self.register_buffer("bases", bases.contiguous())
        self.register_buffer("alphas", alphas)

    @classmethod
    def from_codes(cls, codes: Tensor, alphas: Tensor) -> Self:
        """From inverted codes [n, L, D]."""
        return cls(orthonormal_bases(codes), alphas)

    def forward(self, styles: Tensor) -> Tensor:
        """[B, L, D] -> [B, L, D]."""
        inside = torch.einsum("ldn,bln->bld", self.bases, torch.einsum("ldn,bld->bln", self.bases, styles))
        norms = styles.norm(dim=-1, keepdim=True) / inside.norm(dim=-1, keepdim=True).clamp_min(1e-8)
        alphas = self.alphas[:, None]
        mixed: Tensor = alphas * inside * norms + (1 - alphas) * styles
        return mixed
