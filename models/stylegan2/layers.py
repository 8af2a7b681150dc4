"""Layers of StyleGAN2 in the forms that are quick in plain torch.

`B` batch, `I O` channels in and out, `H W` pixels, `D` style dimension.

Three exact rewrites are used throughout: the equalised scale and the gain sqrt(2) of the activation are folded
into weights and scales, since a lrelu(x) = lrelu(a x) for a > 0; modulation scales the input and demodulation the
output of one shared convolution; the blur after a transposed convolution stays a depthwise one.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SLOPE = 0.2
GAIN = math.sqrt(2)


def blur_kernel(gain: float = 1.0) -> Tensor:
    """[4, 4]: outer([1, 3, 3, 1]) / 64 times `gain`."""
    row = torch.tensor([1.0, 3.0, 3.0, 1.0])
    return torch.outer(row, row) / 64 * gain


def depthwise(x: Tensor, kernel: Tensor, padding: int, stride: int = 1) -> Tensor:
    """Filter every channel of x [B, C, H, W] by one kernel [4, 4]."""
    weight = kernel.to(x.dtype).expand(x.shape[1], 1, 4, 4)
    return F.conv2d(x, weight, padding=padding, stride=stride, groups=x.shape[1])


def upsample(x: Tensor, kernel: Tensor) -> Tensor:
    """Twice the side: zeros inserted, then the kernel (of gain 4), padding (2, 1). [B, C, H, W] -> [B, C, 2H, 2W]."""
    weight = kernel.to(x.dtype).expand(x.shape[1], 1, 4, 4)
    return F.conv_transpose2d(x, weight, stride=2, padding=1, groups=x.shape[1])


class PixelNorm(nn.Module):
    """z rsqrt(mean z^2 + 1e-8) over the last axis."""

    def forward(self, z: Tensor) -> Tensor:
        return z * torch.rsqrt(z.square().mean(dim=-1, keepdim=True) + 1e-8)


class EqualLinear(nn.Module):
    """Linear layer with equalised learning rate; optional leaky ReLU with gain sqrt(2)."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        bias_init: float = 0.0,
        lr_mul: float = 1.0,
        activate: bool = False,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / lr_mul)
        self.bias = nn.Parameter(torch.full((outputs,), float(bias_init)))
        self.scale = lr_mul / math.sqrt(inputs)
        self.lr_mul = lr_mul
        self.activate = activate

    def forward(self, x: Tensor) -> Tensor:
        gain = GAIN if self.activate else 1.0
        y = F.linear(x, self.weight * (self.scale * gain), self.bias * (self.lr_mul * gain))
        return F.leaky_relu(y, SLOPE) if self.activate else y


class FusedBias(nn.Module):
    """Holds the bias [C] of an activation under the published name `activate.bias`."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))


class NoiseStrength(nn.Module):
    """Holds the one learned noise strength of a layer under the published name `noise.weight`."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))


class ModulatedConv(nn.Module):
    """Weights of a modulated convolution [1, O, I, k, k] and the affine map from style to scales."""

    def __init__(self, inputs: int, outputs: int, kernel: int, style_dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(1, outputs, inputs, kernel, kernel))
        self.modulation = EqualLinear(style_dim, inputs, bias_init=1.0)
        self.scale = 1 / math.sqrt(inputs * kernel * kernel)

    def demodulation(self, scales: Tensor) -> Tensor:
        """rsqrt of the energy of each output filter under `scales` [B, I] -> [B, O].

        The equalised scale k cancels: k W s / sqrt(sum (k W s)^2 + e) = W s / sqrt(sum (W s)^2 + e / k^2).
        """
        energy = self.weight[0].square().sum(dim=(2, 3))
        return torch.rsqrt(scales.square() @ energy.t() + 1e-8 / self.scale**2)


class StyledConv(nn.Module):
    """Modulated 3x3 convolution, noise, bias, leaky ReLU; doubles the side if `up`."""

    kernel: Tensor

    def __init__(self, inputs: int, outputs: int, style_dim: int, up: bool = False) -> None:
        super().__init__()
        self.conv = ModulatedConv(inputs, outputs, 3, style_dim)
        self.noise = NoiseStrength()
        self.activate = FusedBias(outputs)
        self.up = up
        self.register_buffer("kernel", blur_kernel(4.0), persistent=False)

    def forward(self, x: Tensor, style: Tensor, noise: Tensor) -> Tensor:
        """x [B, I, H, W], style [B, D], noise [B or 1, 1, H', W'] -> [B, O, H', W'], H' = 2H if up else H."""
        scales = self.conv.modulation(style)
        demodulation = self.conv.demodulation(scales) * GAIN
        x = x * scales[:, :, None, None]
        if self.up:
            x = F.conv_transpose2d(x, self.conv.weight[0].transpose(0, 1), stride=2)
            x = depthwise(x, self.kernel, padding=1)
        else:
            x = F.conv2d(x, self.conv.weight[0], padding=1)
        y = x * demodulation[:, :, None, None]
        # In place, because these three are element-wise on a tensor nobody else holds; twice differentiable.
        y = y.add_(noise * (self.noise.weight * GAIN)).add_(self.activate.bias.mul(GAIN)[:, None, None])
        return F.leaky_relu_(y, SLOPE)


class ToRGB(nn.Module):
    """Modulated 1x1 convolution to three channels, without demodulation, plus bias and the picture so far."""

    kernel: Tensor

    def __init__(self, inputs: int, style_dim: int) -> None:
        super().__init__()
        self.conv = ModulatedConv(inputs, 3, 1, style_dim)
        self.bias = nn.Parameter(torch.zeros(1, 3, 1, 1))
        self.register_buffer("kernel", blur_kernel(4.0), persistent=False)

    def forward(self, x: Tensor, style: Tensor, picture: Tensor | None = None) -> Tensor:
        """x [B, I, H, W], style [B, D], picture [B, 3, H/2, W/2] -> [B, 3, H, W]."""
        scales = self.conv.modulation(style) * self.conv.scale
        weights = self.conv.weight[0, :, :, 0, 0] * scales[:, None, :]
        rgb = torch.bmm(weights, x.flatten(2)).reshape(-1, 3, *x.shape[2:]) + self.bias
        return rgb if picture is None else rgb + upsample(picture, self.kernel)


class EqualConv(nn.Module):
    """Weights [O, I, k, k] of a convolution with equalised learning rate; bias and gain are its caller's."""

    def __init__(self, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))
        self.scale = 1 / math.sqrt(inputs * kernel * kernel)

    def forward(
        self, x: Tensor, bias: Tensor | None = None, gain: float = 1.0, stride: int = 1, padding: int = 0
    ) -> Tensor:
        weight: Tensor = self.weight * (self.scale * gain)
        return F.conv2d(x, weight, bias, stride=stride, padding=padding)
