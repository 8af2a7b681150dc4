"""The FIR filter of StyleGAN2 in two forms. `B` batch, `C` channels, `H W` pixels; kernel [4, 4], symmetric."""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

Filter = Callable[[Tensor, Tensor, tuple[int, int]], Tensor]


def blur_rows(x: Tensor, kernel: Tensor, pad: tuple[int, int]) -> Tensor:
    """P0: every channel is a picture of its own. [B, C, H, W] -> [B, C, H + sum(pad) - 3, ...]."""
    batch, channels, height, width = x.shape
    rows = F.pad(x.reshape(batch * channels, 1, height, width), (*pad, *pad))
    rows = F.conv2d(rows, kernel.to(x.dtype).flip(0, 1)[None, None])
    return rows.view(batch, channels, *rows.shape[2:])


def blur_depthwise(x: Tensor, kernel: Tensor, pad: tuple[int, int]) -> Tensor:
    """P1: one depthwise convolution. Both pads are equal wherever the networks call it."""
    channels = x.shape[1]
    weight = kernel.to(x.dtype).expand(channels, 1, 4, 4)
    return F.conv2d(x, weight, padding=pad, groups=channels)


def double_rows(x: Tensor, kernel: Tensor) -> Tensor:
    """P0: zeros inserted, then the filter, pad (2, 1). [B, C, H, W] -> [B, C, 2H, 2W]."""
    batch, channels, height, width = x.shape
    spread = F.pad(x.reshape(batch, channels, height, 1, width, 1), (0, 1, 0, 0, 0, 1))
    return blur_rows(spread.view(batch, channels, 2 * height, 2 * width), kernel, (2, 1))


def double_depthwise(x: Tensor, kernel: Tensor) -> Tensor:
    """P1: the same as a depthwise transposed convolution."""
    channels = x.shape[1]
    weight = kernel.to(x.dtype).expand(channels, 1, 4, 4)
    return F.conv_transpose2d(x, weight, stride=2, padding=1, groups=channels)


BLUR: dict[str, Filter] = {"P0": blur_rows, "P1": blur_depthwise}
DOUBLE: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"P0": double_rows, "P1": double_depthwise}
