"""What a StyleGAN2 pair is made of: side, widths, style dimension, depth of the mapping."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True)
class Shape:
    """The sizes from which both networks are built.

    size: side of the picture in pixels, a power of two from 32 to 1024.
    widths: channels by side, one entry for each power of two from 4 to `size`.
    style_dim: length of z and w. mapping_layers: linear layers between them.
    """

    size: int
    widths: Mapping[int, int]
    style_dim: int
    mapping_layers: int

    def __post_init__(self) -> None:
        if self.size not in (32, 64, 128, 256, 512, 1024):
            raise ValueError(f"size {self.size}: expected a power of two from 32 to 1024")
        if sorted(self.widths) != self.sides:
            raise ValueError(f"widths are given for {sorted(self.widths)}, expected exactly {self.sides}")
        if min(*self.widths.values(), self.style_dim, self.mapping_layers) < 1:
            raise ValueError("widths, style_dim and mapping_layers must be at least 1")

    @property
    def sides(self) -> list[int]:
        """4, 8, ..., size."""
        return [4 << i for i in range(self.size.bit_length() - 2)]

    @property
    def layers(self) -> int:
        """Styles per picture: 2 log2(size) - 2."""
        return 2 * len(self.sides)

    @property
    def noise_sides(self) -> list[int]:
        """Side of every noise map and feature map, in order: 4, 8, 8, 16, 16, ..."""
        return [4] + [side for side in self.sides[1:] for _ in range(2)]

    @property
    def style_sides(self) -> list[int]:
        """Side at which style i acts, by the convolution that reads it; the last one colours the picture."""
        return [*self.noise_sides, self.size]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "size": self.size,
            "widths": {str(side): self.widths[side] for side in self.sides},
            "style_dim": self.style_dim,
            "mapping_layers": self.mapping_layers,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of `as_dict`."""
        widths = {int(side): int(width) for side, width in values["widths"].items()}
        return cls(int(values["size"]), widths, int(values["style_dim"]), int(values["mapping_layers"]))
