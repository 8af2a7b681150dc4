"""The StyleGAN2 discriminator and the patch heads in their published form, on the parameters of ours.

`B` batch, `C` channels, `H W` pixels, `g` group of the minibatch standard deviation.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.literal.filters import BLUR
from benchmarks.literal.generator import activated, equal_linear
from models.patch_heads import PatchHeads
from models.stylegan2 import Discriminator, Shape
from models.stylegan2.discriminator import Down, FromRGB, ResBlock, Skip
from models.stylegan2.layers import EqualConv, EqualLinear, FusedBias


def equal_conv(conv: nn.Module, x: Tensor, stride: int = 1, padding: int = 0) -> Tensor:
    """[B, I, H, W] -> [B, O, H', W'], without bias."""
    assert isinstance(conv, EqualConv)
    return F.conv2d(x, conv.weight * conv.scale, stride=stride, padding=padding)


def convolved(layer: nn.Module, x: Tensor) -> Tensor:
    """Convolution and activation at the same side."""
    assert isinstance(layer, FromRGB)
    conv, activate = layer[0], layer[1]
    assert isinstance(conv, EqualConv)
    assert isinstance(activate, FusedBias)
    return activated(equal_conv(conv, x, padding=conv.weight.shape[-1] // 2), activate.bias)


def deviation(x: Tensor, group: int) -> Tensor:
    """[B, C, H, W] with the minibatch standard deviation as one more channel."""
    channels, height, width = x.shape[1:]
    y = x.view(group, -1, 1, channels, height, width)
    y = torch.sqrt(y.var(0, unbiased=False) + 1e-8)
    y = y.mean([2, 3, 4], keepdim=True).squeeze(2)
    return torch.cat([x, y.repeat(group, 1, height, width)], 1)


class LiteralDiscriminator(Discriminator):
    """Same parameters and results; `form` is P0 or P1."""

    def __init__(self, shape: Shape, group: int, form: str) -> None:
        super().__init__(shape, group)
        self.form = form

    def _down(self, layer: Down, x: Tensor) -> Tensor:
        x = BLUR[self.form](x, layer.kernel, (2, 2))
        activate = layer.get_submodule("2")
        assert isinstance(activate, FusedBias)
        return activated(equal_conv(layer.get_submodule("1"), x, stride=2), activate.bias)

    def _skip(self, layer: Skip, x: Tensor) -> Tensor:
        x = BLUR[self.form](x, layer.kernel, (1, 1))
        return equal_conv(layer.get_submodule("1"), x, stride=2)

    def _block(self, block: ResBlock, x: Tensor) -> Tensor:
        return (self._down(block.conv2, convolved(block.conv1, x)) + self._skip(block.skip, x)) / math.sqrt(2)

    def _blocks(self) -> list[ResBlock]:
        return [block for block in self.convs if isinstance(block, ResBlock)]

    def _ended(self, x: Tensor) -> Tensor:
        x = convolved(self.final_conv, deviation(x, min(self.group, len(x))))
        x = x.view(len(x), -1)
        for layer in self.final_linear:
            assert isinstance(layer, EqualLinear)
            x = equal_linear(layer, x)
        return x

    def forward(self, pictures: Tensor) -> Tensor:
        """[B, 3, H, W] -> [B, 1]."""
        x = convolved(self.convs[0], pictures)
        for block in self._blocks():
            x = self._block(block, x)
        return self._ended(x)


class ReleasedPatchDiscriminator(LiteralDiscriminator):
    """As in CDC and RSSA: the convolutions of a block run once for the taps and once more in the block.

    So they do with the image head too; a pass for patches goes on to the last tap, whichever was drawn.
    """

    def _twice(self, block: ResBlock, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        first = convolved(block.conv1, x)
        return first, self._down(block.conv2, first), self._block(block, x)

    def forward(self, pictures: Tensor) -> Tensor:
        """[B, 3, H, W] -> [B, 1]."""
        x = convolved(self.convs[0], pictures)
        for block in self._blocks():
            _, _, x = self._twice(block, x)
        return self._ended(x)

    def tap(self, pictures: Tensor, tap: int) -> Tensor:
        """The feature map of tap number `tap`."""
        x = convolved(self.convs[0], pictures)
        found: dict[tuple[int, int], Tensor] = {}
        for number, block in enumerate(self._blocks()[: self.taps[-1].block + 1]):
            found[number, 1], found[number, 2], x = self._twice(block, x)
        return found[self.taps[tap].block, self.taps[tap].conv]


class LiteralHeads(PatchHeads):
    """Equalised convolution, then bias and activation apart."""

    def forward(self, feature: Tensor, index: int) -> Tensor:
        """[B, C, h, h] of tap `index` -> logits [B, 1, h, h]."""
        weight, bias = self.weights[index], self.biases[index]
        logits = F.conv2d(feature, weight * (1 / math.sqrt(weight[0].numel())), padding=1)
        return activated(logits, bias) if self.activate else logits + bias.view(1, -1, 1, 1)
