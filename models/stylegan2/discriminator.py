"""The StyleGAN2 discriminator, and the taps at which patch heads read it.

`B` batch, `C` channels, `H W` pixels, `g` group of the minibatch standard deviation.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.stylegan2.layers import GAIN, SLOPE, EqualConv, EqualLinear, FusedBias, blur_kernel, depthwise
from models.stylegan2.shape import Shape


@dataclass(frozen=True)
class Tap:
    """Where a patch head reads: block index (0 = from the largest side), which convolution, channels, side."""

    block: int
    conv: int
    channels: int
    side: int


def taps_of(shape: Shape) -> tuple[Tap, ...]:
    """Outputs of the convolutions inside residual blocks whose side is 32 or 16, at most four (CDC, release).

    Defined by side, so any width serves. At 32 px there are three.
    """
    found: list[Tap] = []
    for block, (small, large) in enumerate(reversed(list(pairwise(shape.sides)))):
        if large < shape.size and large in (32, 16):
            found.append(Tap(block, 1, shape.widths[large], large))
        if small in (32, 16):
            found.append(Tap(block, 2, shape.widths[small], small))
    if shape.size == 32:
        found.insert(0, Tap(0, 1, shape.widths[32], 32))
    return tuple(found[:4])


class FromRGB(nn.Sequential):
    """1x1 convolution and activation; keys `0.weight`, `1.bias`."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1) -> None:
        super().__init__(EqualConv(inputs, outputs, kernel), FusedBias(outputs))

    def forward(self, x: Tensor) -> Tensor:
        conv, activate = self[0], self[1]
        assert isinstance(conv, EqualConv)
        assert isinstance(activate, FusedBias)
        padding = conv.weight.shape[-1] // 2
        return F.leaky_relu_(conv(x, activate.bias * GAIN, GAIN, padding=padding), SLOPE)


class Down(nn.Module):
    """Blur, 3x3 convolution at stride 2; keys `1.weight`, `2.bias` (0 is the blur)."""

    kernel: Tensor

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.add_module("1", EqualConv(inputs, outputs, 3))
        self.add_module("2", FusedBias(outputs))
        self.register_buffer("kernel", blur_kernel(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """At gain 1 instead of sqrt(2): the factor cancels against the 1/sqrt(2) of the residual sum."""
        conv, activate = self.get_submodule("1"), self.get_submodule("2")
        return F.leaky_relu_(conv(depthwise(x, self.kernel, padding=2), activate.bias, stride=2), SLOPE)


class Skip(nn.Module):
    """Blur at stride 2, then 1x1; key `1.weight`. Scaled by the residual sum's 1/sqrt(2)."""

    kernel: Tensor

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.add_module("1", EqualConv(inputs, outputs, 1))
        self.register_buffer("kernel", blur_kernel(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.get_submodule("1")(
            depthwise(x, self.kernel, padding=1, stride=2), gain=math.sqrt(0.5)
        )
        return y


class ResBlock(nn.Module):
    """(conv2(conv1(x)) + skip(x)) / sqrt(2), half the side."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = FromRGB(inputs, inputs, 3)
        self.conv2 = Down(inputs, outputs)
        self.skip = Skip(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv2(self.conv1(x)) + self.skip(x)
        return y


def minibatch_deviation(x: Tensor, group: int) -> Tensor:
    """Append to x [B, C, H, W] one channel: the mean standard deviation over groups of `group` samples.

    Sample t belongs to group t mod (B / group); divisor `group`; 1e-8 under the root (StyleGAN2, release).
    The deviation is found in at least float32.
    """
    batch, channels, height, width = x.shape
    if batch % group:
        raise ValueError(f"a batch of {batch} cannot be split into groups of {group}")
    grouped = x.reshape(group, batch // group, channels, height, width)
    grouped = grouped.to(torch.promote_types(x.dtype, torch.float32))
    deviation = (grouped.var(dim=0, unbiased=False) + 1e-8).sqrt().mean(dim=(1, 2, 3)).to(x.dtype)
    return torch.cat([x, deviation.repeat(group)[:, None, None, None].expand(-1, 1, height, width)], dim=1)


class Discriminator(nn.Module):
    """Pictures [B, 3, H, W] -> logits [B, 1]; `tap` gives the feature map that a patch head reads."""

    def __init__(self, shape: Shape, group: int = 4) -> None:
        super().__init__()
        self.shape = shape
        self.group = group
        self.taps = taps_of(shape)
        widths = shape.widths
        blocks = [
            ResBlock(widths[large], widths[small]) for small, large in reversed(list(pairwise(shape.sides)))
        ]
        self.convs = nn.Sequential(FromRGB(3, widths[shape.size]), *blocks)
        self.final_conv = FromRGB(widths[4] + 1, widths[4], 3)
        self.final_linear = nn.Sequential(
            EqualLinear(widths[4] * 16, widths[4], activate=True), EqualLinear(widths[4], 1)
        )

    def forward(self, pictures: Tensor) -> Tensor:
        x = self.convs(pictures.contiguous(memory_format=torch.channels_last))
        x = minibatch_deviation(x, min(self.group, len(x)))
        logits: Tensor = self.final_linear(self.final_conv(x).flatten(1))
        return logits

    def tap(self, pictures: Tensor, index: int) -> Tensor:
        """Feature map [B, C, h, h] of `taps[index]`; nothing after it is computed."""
        tap = self.taps[index]
        x = self.convs[0](pictures.contiguous(memory_format=torch.channels_last))
        for index in range(1, 1 + tap.block):
            x = self.convs[index](x)
        block = self.convs[1 + tap.block]
        assert isinstance(block, ResBlock)
        x = block.conv1(x)
        feature: Tensor = x if tap.conv == 1 else block.conv2(x) * GAIN
        return feature
