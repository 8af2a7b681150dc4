"""Layers of StarGAN v2 (Choi et al. 2020), with the published names of their weights.

`B` batch, `C` channels, `I O` channels in and out, `H W` pixels, `D` style dimension.

Exact rewrites. A shortcut's 1x1 convolution commutes with pooling and with nearest upsampling, so it runs at the
smaller side. AdaIN's scale and offset are those of one normalisation over B C maps. With `folded`, the pool after a
3x3 convolution, or the upsampling before it, becomes part of one 4x4 kernel, composed from the weights at each call:
the same values, gradients and second derivatives from half the products, and on one CPU core at 64 px a fifth to a
third less time for a step. It is no part of the state dict, so either form reads the other's weights.
"""

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.stargan2.layout import Layout

SLOPE = 0.2
HALF = math.sqrt(0.5)  # residual and shortcut are summed with 1 / sqrt(2)
EPSILON = 1e-5


def pooled_kernel(weight: Tensor) -> Tensor:
    """[O, I, 3, 3] -> [O, I, 4, 4]: at stride 2 and padding 1, the 3x3 convolution and the 2x2 mean after it."""
    return F.avg_pool2d(weight, 2, stride=1, padding=1)


def raised_kernel(weight: Tensor) -> Tensor:
    """[O, I, 3, 3] -> [I, O, 4, 4]: transposed, at stride 2 and padding 1, nearest upsampling and the 3x3 after it."""
    return 4 * F.avg_pool2d(weight.flip(2, 3), 2, stride=1, padding=1).transpose(0, 1)


class ResBlock(nn.Module):
    """Norm (if `normalise`), activation, 3x3; mean of 2x2 (if `halve`); norm, activation, 3x3; plus a shortcut.

    conv1 keeps the width; `conv1x1` exists only where the widths differ. [B, I, H, W] -> [B, O, H', W'].
    """

    def __init__(
        self, inputs: int, outputs: int, *, normalise: bool = False, halve: bool = False, folded: bool = False
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, inputs, 3, padding=1)
        self.conv2 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.norm1 = nn.InstanceNorm2d(inputs, affine=True) if normalise else None
        self.norm2 = nn.InstanceNorm2d(inputs, affine=True) if normalise else None
        self.conv1x1 = nn.Conv2d(inputs, outputs, 1, bias=False) if inputs != outputs else None
        self.halve = halve
        self.folded = folded

    def forward(self, x: Tensor) -> Tensor:
        shortcut = F.avg_pool2d(x, 2) if self.halve else x
        if self.conv1x1 is not None:
            shortcut = self.conv1x1(shortcut)
        # In place from here on, where the tensor is fresh and nobody keeps it.
        h = F.leaky_relu(x, SLOPE) if self.norm1 is None else F.leaky_relu_(self.norm1(x), SLOPE)
        h = self._first(h)
        if self.norm2 is not None:
            h = self.norm2(h)
        residual: Tensor = self.conv2(F.leaky_relu_(h, SLOPE))
        return residual.add_(shortcut).mul_(HALF)

    def _first(self, h: Tensor) -> Tensor:
        if self.halve and self.folded:
            return F.conv2d(h, pooled_kernel(self.conv1.weight), self.conv1.bias, stride=2, padding=1)
        h = self.conv1(h)
        return F.avg_pool2d(h, 2) if self.halve else h


class AdaIN(nn.Module):
    """Instance normalisation whose scale (minus 1) and offset are the two halves of a projection `fc` of the style.

    x [B, C, H, W], projected [B, 2C] -> [B, C, H, W]. The projection is its caller's, one product for all layers.
    """

    def __init__(self, channels: int, style_dim: int) -> None:
        super().__init__()
        self.fc = nn.Linear(style_dim, 2 * channels)

    def forward(self, x: Tensor, projected: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        scale, offset = projected.chunk(2, dim=1)
        maps = x.reshape(1, batch * channels, height, width)
        scale, offset = (1 + scale).reshape(-1), offset.reshape(-1)
        y = F.batch_norm(maps, None, None, scale, offset, training=True, eps=EPSILON)
        return y.view(batch, channels, height, width)


class AdainResBlock(nn.Module):
    """AdaIN, activation, nearest upsampling (if `double`), 3x3; AdaIN, activation, 3x3; plus a shortcut.

    conv1 changes the width. With `bare` (a high-pass generator) the output is the residual alone, without the
    factor 1 / sqrt(2); `conv1x1` is then stored, as released, and never used.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        style_dim: int,
        *,
        double: bool = False,
        bare: bool = False,
        folded: bool = False,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.norm1 = AdaIN(inputs, style_dim)
        self.norm2 = AdaIN(outputs, style_dim)
        self.conv1x1 = nn.Conv2d(inputs, outputs, 1, bias=False) if inputs != outputs else None
        self.double_side = double
        self.bare = bare
        self.folded = folded

    def forward(self, x: Tensor, first: Tensor, second: Tensor) -> Tensor:
        """x [B, I, H, W] and the projections of its two norms [B, 2I], [B, 2O] -> [B, O, H', W']."""
        h = self._first(F.leaky_relu_(self.norm1(x, first), SLOPE))
        residual: Tensor = self.conv2(F.leaky_relu_(self.norm2(h, second), SLOPE))
        if self.bare:
            return residual
        shortcut = x if self.conv1x1 is None else self.conv1x1(x)
        if self.double_side:
            shortcut = F.interpolate(shortcut, scale_factor=2)
        return residual.add_(shortcut).mul_(HALF)

    def _first(self, h: Tensor) -> Tensor:
        if self.double_side and self.folded:
            kernel = raised_kernel(self.conv1.weight)
            return F.conv_transpose2d(h, kernel, self.conv1.bias, stride=2, padding=1)
        if self.double_side:
            h = F.interpolate(h, scale_factor=2)
        y: Tensor = self.conv1(h)
        return y


class HighPass(nn.Module):
    """Eight at the centre, -1 around it, divided by `strength`: the larger it is, the weaker the skip. [B, C, H, W]."""

    filter: Tensor

    def __init__(self, strength: float) -> None:
        super().__init__()
        self.register_buffer("filter", high_pass_filter(strength))

    def forward(self, x: Tensor) -> Tensor:
        kernel = self.filter.to(x.dtype).expand(x.shape[1], 1, 3, 3)
        return F.conv2d(x, kernel, padding=1, groups=x.shape[1])


def high_pass_filter(strength: float) -> Tensor:
    """[3, 3], the constant that the generator's state dict holds as `hpf.filter`."""
    kernel = torch.full((3, 3), -1.0)
    kernel[1, 1] = 8.0
    return kernel / strength


def trunk(layout: Layout, folded: bool) -> list[nn.Module]:
    """What style encoder and discriminator share: pictures [B, 3, S, S] -> [B, widest, 1, 1], no normalisation."""
    widths = layout.trunk_widths
    blocks = [ResBlock(i, o, halve=True, folded=folded) for i, o in pairwise(widths)]
    return [
        nn.Conv2d(3, layout.first, 3, padding=1),
        *blocks,
        nn.LeakyReLU(SLOPE),
        nn.Conv2d(widths[-1], widths[-1], 4),
        nn.LeakyReLU(SLOPE),
    ]
