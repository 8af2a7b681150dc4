"""The StyleGAN2 generator (Karras et al. 2020; specs: names of the state dict as in the widely used PyTorch layout).

`B` batch, `L` style layers (2 log2(size) - 2), `D` style dimension, `H W` pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from models.stylegan2.layers import EqualLinear, PixelNorm, StyledConv, ToRGB
from models.stylegan2.shape import Shape


@dataclass(frozen=True)
class Drawn:
    """What one pass of the synthesis gives: the picture [B, 3, H, W], and the feature map of every styled conv."""

    picture: Tensor
    features: list[Tensor]


class Constant(nn.Module):
    """The learned 4 x 4 input, under the published name `input.input`."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.input = nn.Parameter(torch.randn(1, channels, 4, 4))


class Noises(nn.Module):
    """The fixed noise maps [1, 1, h, h] as buffers `noise_i`; they belong to the model, not to a step."""

    def __init__(self, sides: Sequence[int]) -> None:
        super().__init__()
        for i, side in enumerate(sides):
            self.register_buffer(f"noise_{i}", torch.randn(1, 1, side, side))


class Generator(nn.Module):
    """z or styles in, pictures out, nominally in [-1, 1] (there is no output non-linearity)."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        dim, widths = shape.style_dim, shape.widths
        linears = [EqualLinear(dim, dim, lr_mul=0.01, activate=True) for _ in range(shape.mapping_layers)]
        self.style = nn.Sequential(PixelNorm(), *linears)
        self.input = Constant(widths[4])
        self.conv1 = StyledConv(widths[4], widths[4], dim)
        self.to_rgb1 = ToRGB(widths[4], dim)
        self.convs = nn.ModuleList()
        self.to_rgbs = nn.ModuleList()
        for before, side in pairwise(shape.sides):
            self.convs.append(StyledConv(widths[before], widths[side], dim, up=True))
            self.convs.append(StyledConv(widths[side], widths[side], dim))
            self.to_rgbs.append(ToRGB(widths[side], dim))
        self.noises = Noises(shape.noise_sides)

    def mapping(self, z: Tensor) -> Tensor:
        """z [B, D] -> w [B, D]."""
        w: Tensor = self.style(z)
        return w

    def styles(self, w: Tensor, second: Tensor | None = None, crossover: Tensor | None = None) -> Tensor:
        """w [B, D], repeated for every layer; from layer `crossover` [B or 1] on, `second` instead. -> [B, L, D]."""
        first = w[:, None].expand(-1, self.shape.layers, -1)
        if second is None or crossover is None:
            return first
        layer = torch.arange(self.shape.layers, device=w.device)
        return torch.where((layer < crossover[:, None])[:, :, None], first, second[:, None])

    def fixed_noise(self) -> list[Tensor]:
        """The stored noise maps, in order of the layers, each [1, 1, h, h]."""
        return [self.noises.get_buffer(f"noise_{i}") for i in range(len(self.shape.noise_sides))]

    def _constant(self, count: int) -> Tensor:
        """[B, C, 4, 4], channels last in memory: every later map follows, and the convolutions like it best."""
        return self.input.input.expand(count, -1, -1, -1).contiguous(memory_format=torch.channels_last)

    def synthesis(self, styles: Tensor, noise: Sequence[Tensor] | None = None) -> Drawn:
        """styles [B, L, D] and one noise map a layer (None: the stored ones) -> picture and all features."""
        noise = self.fixed_noise() if noise is None else noise
        x = self.conv1(self._constant(len(styles)), styles[:, 0], noise[0])
        picture = self.to_rgb1(x, styles[:, 1])
        features = [x]
        for block, to_rgb in enumerate(self.to_rgbs):
            for i in (2 * block, 2 * block + 1):
                x = self.convs[i](x, styles[:, i + 1], noise[i + 1])
                features.append(x)
            picture = to_rgb(x, styles[:, 2 * block + 3], picture)
        return Drawn(picture, features)

    def features(self, styles: Tensor, last: int, noise: Sequence[Tensor] | None = None) -> list[Tensor]:
        """Feature maps 0 ... `last` alone: no colour, and nothing after the last one is computed."""
        noise = self.fixed_noise() if noise is None else noise
        x = self.conv1(self._constant(len(styles)), styles[:, 0], noise[0])
        features = [x]
        for i in range(last):
            x = self.convs[i](x, styles[:, i + 1], noise[i + 1])
            features.append(x)
        return features

    def forward(self, z: Tensor, psi: float = 1.0, mean: Tensor | None = None) -> Tensor:
        """Pictures of z [B, D] with the stored noise; truncated towards `mean` [D] if psi < 1."""
        w = self.mapping(z)
        if mean is not None and psi != 1.0:
            w = mean + psi * (w - mean)
        return self.synthesis(self.styles(w)).picture
