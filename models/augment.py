"""Changes of pictures on their way into training, as functions of uniform numbers.

B pictures, H W pixels. Boxes are (left, top, width, height) in shares of the side.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

TRIES = 10


def crop_boxes(
    numbers: Tensor, chance: float, scale: tuple[float, float], ratio: tuple[float, float]
) -> Tensor:
    """Boxes [B, 4] of random resized crops; the whole picture for those that are not cropped.

    numbers: uniform [B, 3 + TRIES, 3] in [0, 1). A box has `scale` of the area and `ratio` of width to height, uniform
    in the logarithm; the first of ten that fits into the picture is taken, else the whole (as torchvision does it,
    and with it StarGAN v2's release; there in whole pixels).
    """
    area = scale[0] + (scale[1] - scale[0]) * numbers[:, 3:, 0]
    low, high = math.log(ratio[0]), math.log(ratio[1])
    shape = (low + (high - low) * numbers[:, 3:, 1]).exp()
    width, height = (area * shape).sqrt(), (area / shape).sqrt()
    fits = (width <= 1) & (height <= 1)
    first = fits.int().argmax(1, keepdim=True)
    taken = fits.any(1) & (numbers[:, 0, 0] < chance)
    size = torch.cat([width.gather(1, first), height.gather(1, first)], 1)
    size = torch.where(taken[:, None], size, torch.ones_like(size))
    return torch.cat([numbers[:, 1, :2] * (1 - size), size], 1)


def cropped(pictures: Tensor, boxes: Tensor) -> Tensor:
    """Each picture [B, C, H, W] cut to its box [B, 4] and resized back, bilinearly."""
    left, top, width, height = boxes.to(pictures.dtype).unbind(1)
    none = torch.zeros_like(left)
    # From the output's [-1, 1] to the input's: the middle of the box, and its size.
    rows = [width, none, 2 * left + width - 1, none, height, 2 * top + height - 1]
    grid = functional.affine_grid(
        torch.stack(rows, 1).view(-1, 2, 3), list(pictures.shape), align_corners=False
    )
    moved = functional.grid_sample(
        pictures, grid, mode="bilinear", padding_mode="border", align_corners=False
    )
    whole = (width == 1) & (height == 1)
    return torch.where(whole[:, None, None, None], pictures, moved)
