"""Layers of DRIT, with reflection padding, instance norm without affine, and torch's default slope of 0.01.

`C` channels, `H W` pixels, `S` side of the pictures.
"""

import torch.nn.functional as F
from torch import Tensor, nn

SLOPE = 0.01
DOMAINS = 2
LEAST = 32


def checked(size: int) -> int:
    """`size`, or a ValueError: contents have a quarter of the side, and come back to it."""
    if size < LEAST or size % 4:
        raise ValueError(f"DRIT needs a side that is a multiple of 4 from {LEAST} px, not {size}")
    return size


def reflected(inputs: int, outputs: int, kernel: int, stride: int = 1, padding: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=padding, padding_mode="reflect")


class ResidualBlock(nn.Module):
    """conv3, norm, ReLU, conv3, norm, plus the input; nothing after the sum."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = reflected(channels, channels, 3)
        self.conv2 = reflected(channels, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> the same shape."""
        y = F.relu(F.instance_norm(self.conv1(x)))
        return F.instance_norm(self.conv2(y)) + x


class Up(nn.Module):
    """Transposed conv3 at stride 2, layer norm, ReLU: twice the side.

    The norm is the release's LayerNorm: mean and variance over C, H and W of one picture, scale and bias per
    channel. A group norm of one group is the same function, without weights expanded over the pixels.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose2d(inputs, outputs, 3, stride=2, padding=1, output_padding=1)
        self.norm = nn.GroupNorm(1, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """[B, I, H, W] -> [B, O, 2H, 2W]."""
        return F.relu(self.norm(self.conv(x)))
