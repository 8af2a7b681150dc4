"""The StyleGAN2 generator in its published PyTorch form, on the parameters of ours.

`B` batch, `I O` channels in and out, `H W` pixels, `L` style layers, `D` style dimension.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.literal.filters import BLUR, DOUBLE
from models.stylegan2 import Drawn, Generator, Shape
from models.stylegan2.layers import EqualLinear, ModulatedConv, StyledConv, ToRGB


def activated(x: Tensor, bias: Tensor) -> Tensor:
    """Bias, leaky ReLU and gain, one after the other. x [B, C, ...], bias [C]."""
    shifted = x + bias.view(1, -1, *[1] * (x.ndim - 2))
    return F.leaky_relu(shifted, 0.2) * math.sqrt(2)


def equal_linear(layer: EqualLinear, x: Tensor) -> Tensor:
    """x [B, I] -> [B, O]."""
    if layer.activate:
        return activated(F.linear(x, layer.weight * layer.scale), layer.bias * layer.lr_mul)
    return F.linear(x, layer.weight * layer.scale, layer.bias * layer.lr_mul)


def sample_filters(conv: ModulatedConv, style: Tensor, demodulate: bool) -> Tensor:
    """A filter bank for each sample: [B, O, I, k, k]."""
    scales = equal_linear(conv.modulation, style)[:, None, :, None, None]
    filters = conv.scale * conv.weight * scales
    if demodulate:
        filters = filters * torch.rsqrt(filters.pow(2).sum((2, 3, 4), keepdim=True) + 1e-8)
    return filters


def grouped(x: Tensor, filters: Tensor) -> Tensor:
    """Sample by sample as groups. x [B, I, H, W], filters [B, O, I, k, k] -> [B, O, H, W]."""
    batch, outputs, inputs, side, _ = filters.shape
    y = F.conv2d(
        x.reshape(1, batch * inputs, *x.shape[2:]),
        filters.view(batch * outputs, inputs, side, side),
        padding=side // 2,
        groups=batch,
    )
    return y.view(batch, outputs, *y.shape[2:])


def grouped_up(x: Tensor, filters: Tensor) -> Tensor:
    """The same transposed, at stride 2: [B, O, 2H + 1, 2W + 1]."""
    batch, outputs, inputs, side, _ = filters.shape
    turned = filters.transpose(1, 2).reshape(batch * inputs, outputs, side, side)
    x = x.reshape(1, batch * inputs, *x.shape[2:])
    y = F.conv_transpose2d(x, turned, stride=2, groups=batch)
    return y.view(batch, outputs, *y.shape[2:])


class LiteralGenerator(Generator):
    """Same parameters, buffers and results; `form` is P0 or P1."""

    def __init__(self, shape: Shape, form: str) -> None:
        super().__init__(shape)
        self.form = form

    def mapping(self, z: Tensor) -> Tensor:
        """z [B, D] -> w [B, D]."""
        x = z * torch.rsqrt(z.pow(2).mean(dim=1, keepdim=True) + 1e-8)
        for layer in list(self.style)[1:]:
            assert isinstance(layer, EqualLinear)
            x = equal_linear(layer, x)
        return x

    def _styled(self, layer: StyledConv, x: Tensor, style: Tensor, noise: Tensor) -> Tensor:
        filters = sample_filters(layer.conv, style, demodulate=True)
        x = BLUR[self.form](grouped_up(x, filters), layer.kernel, (1, 1)) if layer.up else grouped(x, filters)
        x = x + layer.noise.weight * noise
        return activated(x, layer.activate.bias)

    def _coloured(self, layer: ToRGB, x: Tensor, style: Tensor, picture: Tensor | None) -> Tensor:
        rgb = grouped(x, sample_filters(layer.conv, style, demodulate=False)) + layer.bias
        return rgb if picture is None else rgb + DOUBLE[self.form](picture, layer.kernel)

    def synthesis(self, styles: Tensor, noise: Sequence[Tensor] | None = None) -> Drawn:
        """styles [B, L, D] -> picture and all features."""
        maps = self.fixed_noise() if noise is None else noise
        x = self.input.input.repeat(len(styles), 1, 1, 1)
        x = self._styled(self.conv1, x, styles[:, 0], maps[0])
        picture = self._coloured(self.to_rgb1, x, styles[:, 1], None)
        features = [x]
        for i, layer in enumerate(self.convs):
            assert isinstance(layer, StyledConv)
            x = self._styled(layer, x, styles[:, i + 1], maps[i + 1])
            features.append(x)
            if i % 2:
                to_rgb = self.to_rgbs[i // 2]
                assert isinstance(to_rgb, ToRGB)
                picture = self._coloured(to_rgb, x, styles[:, i + 2], picture)
        return Drawn(picture, features)

    def features(self, styles: Tensor, last: int, noise: Sequence[Tensor] | None = None) -> list[Tensor]:
        """As released: the whole pass, colours and all, whatever is asked for."""
        return self.synthesis(styles, noise).features[: last + 1]
