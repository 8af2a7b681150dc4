"""The StarGAN v2 generator (Choi et al. 2020): encode a picture once, decode it under as many styles as you like.

`B` batch, `C` channels, `S` side of the picture, `H W` pixels, `D` style dimension.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.stargan2.layers import SLOPE, AdainResBlock, HighPass, ResBlock
from models.stargan2.layout import Layout

SKIP_SIDES = (32, 64, 128)


@dataclass(frozen=True)
class Encoded:
    """Pictures without their style: h [B, C, H, W], and by side what the high-pass skip will need (else empty)."""

    h: Tensor
    kept: dict[int, Tensor]

    def detach(self) -> Self:
        """The same values, cut off from their graph."""
        return type(self)(self.h.detach(), {side: x.detach() for side, x in self.kept.items()})

    def rows(self, index: Tensor) -> Self:
        """Rows `index` [N] of the batch, in that order; they may repeat."""
        return type(self)(self.h[index], {side: x[index] for side, x in self.kept.items()})

    def repeat(self, count: int) -> Self:
        """Each picture `count` times in a row, to be decoded under that many styles: [B count, ...]."""
        index = torch.arange(len(self.h), device=self.h.device).repeat_interleave(count)
        return self.rows(index)


class Encoder(nn.ModuleList):
    """Pictures [B, 3, S, S] -> Encoded, at side 16 (8 with the high-pass skip)."""

    def __init__(self, blocks: Sequence[ResBlock], from_rgb: nn.Conv2d, keeps: bool) -> None:
        super().__init__(blocks)
        self.keeps = keeps
        # In a tuple, where torch does not register it: by its published name it belongs to the generator.
        self.before = (from_rgb,)

    def forward(self, pictures: Tensor) -> Encoded:
        x = self.before[0](pictures)
        kept: dict[int, Tensor] = {}
        for block in self:
            if self.keeps and x.shape[-1] in SKIP_SIDES:
                kept[x.shape[-1]] = x
            x = block(x)
        return Encoded(x, kept)


class Decoder(nn.ModuleList):
    """Encoded and styles [B, D] -> pictures [B, 3, S, S], nominally in [-1, 1]; there is no output non-linearity.

    masks: two of [B, 1, h, w] in [0, 1], any side: where the encoder's fine structure is added at side 32, and at
    sides 64 and 128. Only a high-pass generator takes them; without them it decodes with no skip at all.
    """

    def __init__(
        self, blocks: Sequence[AdainResBlock], to_rgb: nn.Sequential, high_pass: HighPass | None
    ) -> None:
        super().__init__(blocks)
        self.after = (to_rgb, high_pass)

    def forward(self, encoded: Encoded, s: Tensor, masks: tuple[Tensor, Tensor] | None = None) -> Tensor:
        to_rgb, high_pass = self.after
        if masks is not None and high_pass is None:
            raise ValueError(
                "masks were given to a generator of high_pass 0, which has no skip to weigh with them"
            )
        x = encoded.h
        projected = self._projected(s)
        for block in self:
            x = block(x, next(projected), next(projected))
            side = x.shape[-1]
            if masks is not None and high_pass is not None and side in SKIP_SIDES:
                mask = masks[0] if side == 32 else masks[1]
                mask = F.interpolate(mask, size=(side, side), mode="bilinear", align_corners=False)
                x = x + high_pass(mask * encoded.kept[side])
        pictures: Tensor = to_rgb(x)
        return pictures

    def _projected(self, s: Tensor) -> Iterator[Tensor]:
        """Every AdaIN's projection of the styles, from one product."""
        blocks = [block for block in self if isinstance(block, AdainResBlock)]
        linears = [norm.fc for block in blocks for norm in (block.norm1, block.norm2)]
        weight = torch.cat([linear.weight for linear in linears])
        bias = torch.cat([linear.bias for linear in linears])
        parts = torch.split(F.linear(s, weight, bias), [linear.out_features for linear in linears], dim=1)
        return iter(parts)


class Generator(nn.Module):
    """`encode`: pictures [B, 3, S, S] -> Encoded; `decode`: (Encoded, s [B, D], masks) -> pictures [B, 3, S, S].

    They are modules, since the published names of the weights begin with them. `folded`: see `layers`.
    """

    def __init__(self, layout: Layout, folded: bool = True) -> None:
        super().__init__()
        self.layout = layout
        widths, dim, skips = layout.encoder_widths, layout.style_dim, layout.high_pass > 0
        pairs = list(pairwise(widths))
        last = widths[-1]
        self.from_rgb = nn.Conv2d(3, layout.first, 3, padding=1)
        self.to_rgb = nn.Sequential(
            nn.InstanceNorm2d(layout.first, affine=True), nn.LeakyReLU(SLOPE), nn.Conv2d(layout.first, 3, 1)
        )
        self.hpf = HighPass(layout.high_pass) if skips else None
        down = [ResBlock(i, o, normalise=True, halve=True, folded=folded) for i, o in pairs]
        flat = [ResBlock(last, last, normalise=True) for _ in range(2)]
        self.encode = Encoder([*down, *flat], self.from_rgb, skips)
        level = [AdainResBlock(last, last, dim, bare=skips) for _ in range(2)]
        up = [AdainResBlock(o, i, dim, double=True, bare=skips, folded=folded) for i, o in reversed(pairs)]
        self.decode = Decoder([*level, *up], self.to_rgb, self.hpf)

    def forward(self, pictures: Tensor, s: Tensor, masks: tuple[Tensor, Tensor] | None = None) -> Tensor:
        translated: Tensor = self.decode(self.encode(pictures), s, masks)
        return translated
