"""EfficientNet-Lite0 (Tan and Le 2019; the Lite variant: no squeeze-and-excite, ReLU6) as a judge's eye.

B batch, C channels, H W pixels, h w positions. Pictures are float [-1, 1], RGB, NCHW.
Trained on ImageNet-1k classification. Scores made with it are neither FID nor LPIPS.
"""

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from models.judges.eye import Seen, loaded, resized, unit_channels

NAME = "efficientnet_lite0"
SIDE = 224
# (repeats, kernel, first stride, expansion, channels out) of each stage, Lite0.
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
# Blocks whose output is tapped: the last before each halving, and the last of all: sides 56, 28, 14, 7.
TAPPED = (2, 4, 10, 15)
# Pictures that go through at once: with more, the maps fall out of a processor's cache and each takes longer.
TOGETHER = 16


class SameConv(nn.Conv2d):
    """Convolution padded as TensorFlow's "same": the odd pixel goes to the bottom and the right."""

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C', ceil(H / stride), ceil(W / stride)]."""
        (down, across) = (
            max((-(-side // stride) - 1) * stride + kernel - side, 0)
            for side, stride, kernel in zip(x.shape[-2:], self.stride, self.kernel_size, strict=True)
        )
        if down or across:
            x = functional.pad(x, (across // 2, across - across // 2, down // 2, down - down // 2))
        return functional.conv2d(x, self.weight, self.bias, self.stride, 0, 1, self.groups)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)


class Block(nn.Module):
    """Inverted bottleneck: expand 1x1, depthwise k x k, project 1x1; plus its input where shapes allow."""

    def __init__(self, inside: int, outside: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = inside * expansion
        self.expands = expansion > 1
        self.adds = stride == 1 and inside == outside
        if self.expands:
            self._expand_conv = SameConv(inside, wide, 1, bias=False)
            self._bn0 = _norm(wide)
        self._depthwise_conv = SameConv(wide, wide, kernel, stride, groups=wide, bias=False)
        self._bn1 = _norm(wide)
        self._project_conv = SameConv(wide, outside, 1, bias=False)
        self._bn2 = _norm(outside)

    def forward(self, x: Tensor) -> Tensor:
        """[B, inside, H, W] -> [B, outside, ceil(H / stride), ceil(W / stride)]."""
        y = functional.relu6(self._bn0(self._expand_conv(x)), inplace=True) if self.expands else x
        y = functional.relu6(self._bn1(self._depthwise_conv(y)), inplace=True)
        y = cast(Tensor, self._bn2(self._project_conv(y)))
        return x + y if self.adds else y


class EfficientNetLite0(nn.Module):
    """Names as in the released state dict (`_conv_stem`, `_blocks.N...`, `_conv_head`, `_fc`)."""

    name = NAME

    def __init__(self, sha256: str = "") -> None:
        super().__init__()
        self.sha256 = sha256
        self._conv_stem = SameConv(3, 32, 3, 2, bias=False)
        self._bn0 = _norm(32)
        blocks: list[Block] = []
        inside = 32
        for repeats, kernel, stride, expansion, outside in STAGES:
            for index in range(repeats):
                blocks.append(Block(inside, outside, kernel, stride if index == 0 else 1, expansion))
                inside = outside
        self._blocks = nn.ModuleList(blocks)
        self._conv_head = SameConv(inside, 1280, 1, bias=False)
        self._bn1 = _norm(1280)
        self._fc = nn.Linear(1280, 1000)

    @torch.no_grad()
    def see(self, pictures: Tensor) -> Seen:
        """Pooled features [B, 1280] and taps at sides 56, 28, 14, 7 of pictures [B, 3, H, W] in [-1, 1].

        Pictures of any side are resized to 224 (bilinear, antialias); (x - 127) / 128 of 0..255 goes in.
        """
        parts = [self._see(part) for part in torch.split(pictures, TOGETHER)]
        taps = [torch.cat(maps) for maps in zip(*(part.taps for part in parts), strict=True)]
        return Seen(torch.cat([part.features for part in parts]), taps)

    def _see(self, pictures: Tensor) -> Seen:
        x = ((resized(pictures, SIDE) + 1) * 127.5 - 127) / 128
        x = functional.relu6(self._bn0(self._conv_stem(x.contiguous(memory_format=torch.channels_last))))
        taps: list[Tensor] = []
        for index, block in enumerate(self._blocks):
            x = block(x)
            if index in TAPPED:
                taps.append(unit_channels(x).contiguous())
        x = functional.relu6(self._bn1(self._conv_head(x)))
        return Seen(x.mean((2, 3)), taps)

    def features(self, pictures: Tensor) -> Tensor:
        """[B, 3, H, W] in [-1, 1] -> pooled [B, 1280]."""
        return self.see(pictures).features

    def taps(self, pictures: Tensor) -> list[Tensor]:
        """[B, 3, H, W] in [-1, 1] -> unit-length maps of 24, 40, 112, 320 channels."""
        return self.see(pictures).taps

    def classes(self, pictures: Tensor) -> Tensor:
        """[B, 3, H, W] in [-1, 1] -> logits [B, 1000], ImageNet's order: to see that a file was read."""
        with torch.no_grad():
            return cast(Tensor, self._fc(self.features(pictures)))


def efficientnet_lite0(tensors: Mapping[str, Tensor], sha256: str) -> EfficientNetLite0:
    """The frozen network with these weights (names of the released state dict, any float type), made fast."""
    return folded(loaded(EfficientNetLite0(sha256), tensors))


def folded(network: EfficientNetLite0) -> EfficientNetLite0:
    """The same function with every batch norm folded into the convolution before it, channels last."""
    pairs = (("_conv_stem", "_bn0"), ("_conv_head", "_bn1"))
    inside = (("_expand_conv", "_bn0"), ("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2"))
    for module, names in [(network, pairs), *((block, inside) for block in network._blocks)]:
        for conv, norm in names:
            if hasattr(module, conv):
                fused = fuse_conv_bn_eval(getattr(module, conv), getattr(module, norm))
                setattr(module, conv, fused)
                setattr(module, norm, nn.Identity())
    return network.to(memory_format=torch.channels_last).requires_grad_(False)  # type: ignore[call-overload,no-any-return]
