"""Masks of a face, made from its landmarks' heat maps: where the high-pass skip may keep what the picture shows.

`B` batch, `K` landmarks (98), `H W` pixels (256 x 256; every shift below is in pixels of that side).
All numbers as released with StarGAN v2; landmarks are numbered as in WFLW.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from models.stargan2.fan import FAN, LANDMARKS

SIDE = 256
FAINT = 0.1  # fainter values of a heat map are taken for noise
RANGE_EPSILON = 1e-6


@dataclass(frozen=True)
class Part:
    """Landmarks `first` to `last`, moved up by `up` pixels (down if negative) and raised to `power`."""

    first: int
    last: int
    up: int
    power: int

    def of(self, maps: Tensor) -> Tensor:
        return moved_up(maps[:, self.first : self.last + 1], self.up) ** self.power


# Left out, since they count as nothing: the sides of the face (0-7, 25-32), the corners of brows (33, 46) and lips
# (76, 82). The bridge of the nose (51) and the pupils (96, 97) stay as they are.
EYES_AND_NOSE = (
    Part(51, 51, 0, 1),
    Part(52, 54, 4, 1),
    Part(55, 59, 8, 4),  # nostrils
    Part(60, 75, -8, 3),  # each eye twice: sharp, and wide and lower
    Part(60, 75, -24, 1),
    Part(96, 97, 0, 1),
)
REST_OF_THE_FACE = (
    Part(8, 24, 0, 3),  # chin
    Part(34, 45, -7, 2),  # brows
    Part(47, 50, -7, 2),
    Part(77, 81, -8, 4),  # upper lip
    Part(83, 87, 8, 4),  # lower lip
    Part(88, 95, -2, 3),  # inner lip
)


def moved_up(maps: Tensor, pixels: int) -> Tensor:
    """Row r of the result is row r + `pixels` of [B, K, H, W]; what leaves at one edge comes in at the other."""
    return torch.roll(maps, -pixels, dims=2)


@torch.no_grad()
def heat_maps(fan: FAN, pictures: Tensor) -> Tensor:
    """Pictures [B, 3, S, S] in [-1, 1] -> one map a landmark [B, K, 256, 256]."""
    x = F.interpolate(pictures, size=(SIDE, SIDE), mode="bilinear", align_corners=False) * 0.5 + 0.5
    maps: Tensor = fan(x)[:, :LANDMARKS]
    return F.interpolate(maps, scale_factor=SIDE // maps.shape[-1], mode="bilinear", align_corners=True)


@torch.no_grad()
def masks_from(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Heat maps [B, K, H, W] -> (the whole face, eyes and nose alone), each [B, 1, H, W] in [0, 1].

    Faint values go, every map is stretched to [0, 1), the parts are moved and sharpened, and summed.
    A heat map that is not a number counts as nothing, in both masks; the release leaves it in the second.
    """
    maps = torch.where(maps < FAINT, 0.0, maps)
    low, high = maps.amin(dim=(2, 3), keepdim=True), maps.amax(dim=(2, 3), keepdim=True)
    maps = (maps - low) / (high - low + RANGE_EPSILON)
    eyes_nose = _sum(EYES_AND_NOSE, maps)
    full = eyes_nose + _sum(REST_OF_THE_FACE, maps)
    return full.nan_to_num(0.0).clamp(0, 1), eyes_nose.nan_to_num(0.0).clamp(0, 1)


def _sum(parts: tuple[Part, ...], maps: Tensor) -> Tensor:
    return torch.cat([part.of(maps) for part in parts], dim=1).sum(dim=1, keepdim=True)


def masks_of(fan: FAN, pictures: Tensor) -> tuple[Tensor, Tensor]:
    """Pictures [B, 3, S, S] in [-1, 1] -> the two masks that a high-pass generator takes, [B, 1, 256, 256] each."""
    return masks_from(heat_maps(fan, pictures))
