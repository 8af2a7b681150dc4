"""The face alignment network whose heat maps say where a face has its parts (adaptive wing loss, one stack).

`B` batch, `C` channels, `H W` pixels. 98 landmarks and one boundary map.
"""

from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LANDMARKS = 98
DEPTH = 4


def with_coordinates(x: Tensor) -> Tensor:
    """x [B, C, H, W] and three more channels: the row and the column in [-1, 1], and their radius over its maximum."""
    batch, _, height, width = x.shape
    rows = torch.linspace(-1, 1, height, dtype=x.dtype, device=x.device)[:, None].expand(height, width)
    columns = torch.linspace(-1, 1, width, dtype=x.dtype, device=x.device)[None, :].expand(height, width)
    radius = torch.sqrt(rows.square() + columns.square())
    coordinates = torch.stack([rows, columns, radius / radius.max()])
    return torch.cat([x, coordinates.expand(batch, -1, -1, -1)], dim=1)


class CoordConv(nn.Module):
    """A convolution that also sees where it is; key `conv`."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, padding: int = 0) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs + 3, outputs, kernel, stride, padding)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(with_coordinates(x))
        return y


class ConvBlock(nn.Module):
    """Three 3x3 convolutions in a row (O/2, O/4, O/4 channels), side by side in the output; plus a shortcut."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        half, quarter = outputs // 2, outputs // 4
        self.bn1, self.conv1 = nn.BatchNorm2d(inputs), nn.Conv2d(inputs, half, 3, padding=1, bias=False)
        self.bn2, self.conv2 = nn.BatchNorm2d(half), nn.Conv2d(half, quarter, 3, padding=1, bias=False)
        self.bn3, self.conv3 = nn.BatchNorm2d(quarter), nn.Conv2d(quarter, quarter, 3, padding=1, bias=False)
        self.downsample = None
        if inputs != outputs:
            self.downsample = nn.Sequential(
                nn.BatchNorm2d(inputs), nn.ReLU(), nn.Conv2d(inputs, outputs, 1, bias=False)
            )

    def forward(self, x: Tensor) -> Tensor:
        first = self.conv1(F.relu(self.bn1(x)))
        second = self.conv2(F.relu(self.bn2(first)))
        third = self.conv3(F.relu(self.bn3(second)))
        shortcut = x if self.downsample is None else self.downsample(x)
        return torch.cat([first, second, third], dim=1) + shortcut


class Hourglass(nn.Module):
    """Down four times and up again, with a block on the skip of every level; keys `b1_4` ... `b3_1`, `b2_plus_1`."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.coordconv = CoordConv(channels, channels, 1)
        for level in range(DEPTH, 0, -1):
            for part in ("b1", "b2", "b3"):
                self.add_module(f"{part}_{level}", ConvBlock(channels, channels))
        self.add_module("b2_plus_1", ConvBlock(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        return self._level(DEPTH, self.coordconv(x))

    def _level(self, level: int, x: Tensor) -> Tensor:
        skip = self.get_submodule(f"b1_{level}")(x)
        low = self.get_submodule(f"b2_{level}")(F.avg_pool2d(x, 2))
        low = self._level(level - 1, low) if level > 1 else self.get_submodule("b2_plus_1")(low)
        low = self.get_submodule(f"b3_{level}")(low)
        total: Tensor = skip + F.interpolate(low, scale_factor=2)
        return total


class FAN(nn.Module):
    """Pictures [B, 3, 256, 256] in [0, 1] -> maps [B, 99, 64, 64]: 98 landmarks and the boundary, no non-linearity.

    An eye that never learns: no gradients, and its batch norms always use their stored statistics.
    Sides other than 256 are computed too (multiples of 64), but it was trained on 256 alone.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = CoordConv(3, 64, 7, stride=2, padding=3)
        self.bn1 = nn.BatchNorm2d(64)
        self.conv2 = ConvBlock(64, 128)
        self.conv3 = ConvBlock(128, 128)
        self.conv4 = ConvBlock(128, 256)
        self.m0 = Hourglass(256)
        self.top_m_0 = ConvBlock(256, 256)
        self.conv_last0 = nn.Conv2d(256, 256, 1)
        self.bn_end0 = nn.BatchNorm2d(256)
        self.l0 = nn.Conv2d(256, LANDMARKS + 1, 1)
        self.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> Self:
        """Stays in evaluation whatever is asked."""
        return super().train(False)

    def forward(self, pictures: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(pictures)))
        x = F.avg_pool2d(self.conv2(x), 2)
        x = self.m0(self.conv4(self.conv3(x)))
        x = F.relu(self.bn_end0(self.conv_last0(self.top_m_0(x))))
        maps: Tensor = self.l0(x)
        return maps
