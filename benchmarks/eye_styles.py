"""Changes of style under which the small eye learns to see shape. Each takes its random numbers from `rng`.

B batch, H W pixels. Pictures here are float [0, 1], RGB, NCHW.
"""

import math

import torch
from torch import Generator, Tensor
from torch.nn import functional

from models.judges.sobel import Sobel

# Share of the batch each style gets; "as it is" keeps its colours, and only there are colours asked for.
STYLES = {"as it is": 0.3, "grey": 0.15, "inverted": 0.1, "recoloured": 0.2, "lines": 0.15, "ink": 0.1}


def uniform(rng: Generator, count: int, low: float, high: float) -> Tensor:
    """[count, 1, 1, 1] uniform in [low, high)."""
    return (torch.rand(count, generator=rng) * (high - low) + low).view(-1, 1, 1, 1)


def some(rng: Generator, count: int, share: float) -> Tensor:
    """[count, 1, 1, 1] true for about that share."""
    return uniform(rng, count, 0.0, 1.0) < share


def moved(x: Tensor, rng: Generator) -> Tensor:
    """Mirrored half the time; turned by up to 12 degrees, scaled by 0.85 to 1.15, shifted by up to 8 %."""
    count = len(x)
    angle = uniform(rng, count, -12, 12).flatten() * math.pi / 180
    scale = uniform(rng, count, 0.85, 1.15).flatten()
    mirror = torch.where(some(rng, count, 0.5).flatten(), -1.0, 1.0)
    shift = torch.rand(count, 2, generator=rng) * 0.32 - 0.16
    cos, sin = angle.cos() / scale, angle.sin() / scale
    theta = torch.stack(
        [
            torch.stack([mirror * cos, -sin, shift[:, 0]], 1),
            torch.stack([mirror * sin, cos, shift[:, 1]], 1),
        ],
        1,
    )
    grid = functional.affine_grid(theta, list(x.shape), align_corners=False)
    return functional.grid_sample(x, grid, padding_mode="border", align_corners=False)


def styled(x: Tensor, rng: Generator) -> tuple[Tensor, Tensor]:
    """The pictures, each in one of STYLES, and a mask [B], true where colours are still the artist's."""
    count = len(x)
    shares = torch.tensor(list(STYLES.values()))
    style = torch.multinomial(shares, count, replacement=True, generator=rng)
    grey = (x * torch.rand(count, 3, 1, 1, generator=rng).softmax(1)).sum(1, keepdim=True).expand_as(x)
    mix = (
        torch.randn(count, 3, 3, generator=rng) * 0.4
        + torch.eye(3)[torch.stack([torch.randperm(3, generator=rng) for _ in range(count)])]
    )
    mixed = torch.einsum("bij,bjhw->bihw", mix / mix.sum(2, keepdim=True).clamp(min=0.5), x)
    edges = Sobel().map(grey * 2 - 1).expand_as(x)
    lines = torch.where(some(rng, count, 0.7), 1 - edges, edges)
    level = uniform(rng, count, 0.35, 0.75)
    ink = ((grey - level) * 20).sigmoid()
    kinds = torch.stack([x, grey, 1 - x, mixed, lines, ink])
    return kinds[style, torch.arange(count)], style == 0


def lit(x: Tensor, rng: Generator) -> Tensor:
    """Contrast by 0.7 to 1.3 about the middle, brightness by up to 0.12; clipped."""
    count = len(x)
    return ((x - 0.5) * uniform(rng, count, 0.7, 1.3) + 0.5 + uniform(rng, count, -0.12, 0.12)).clamp(0, 1)


def worn(x: Tensor, rng: Generator) -> Tensor:
    """Blurred, made of coarse squares, noisy, partly covered: each for some of the pictures."""
    count, side = len(x), x.shape[-1]
    soft = functional.avg_pool2d(functional.pad(x, (1, 1, 1, 1), mode="replicate"), 3, 1)
    coarse = functional.interpolate(functional.avg_pool2d(x, 2), (side, side), mode="nearest")
    x = torch.where(some(rng, count, 0.25), soft, x)
    x = torch.where(some(rng, count, 0.15), coarse, x)
    strength = uniform(rng, count, 0, 0.1) * some(rng, count, 0.4)
    x = (x + torch.randn(x.shape, generator=rng) * strength).clamp(0, 1)
    at = torch.arange(side, dtype=torch.float32)
    top, left = uniform(rng, count, -8, side), uniform(rng, count, -8, side)
    down, across = uniform(rng, count, 8, 24), uniform(rng, count, 8, 24)
    rows, columns = at.view(1, 1, -1, 1), at.view(1, 1, 1, -1)
    inside = (rows >= top) & (rows < top + down) & (columns >= left) & (columns < left + across)
    colour = torch.rand(count, 3, 1, 1, generator=rng)
    return torch.where(inside & some(rng, count, 0.3), colour, x)


def varied(x: Tensor, rng: Generator) -> tuple[Tensor, Tensor]:
    """Pictures [B, 3, H, W] in [0, 1], moved, restyled, relit and worn; and where colours still hold [B]."""
    pictures, coloured = styled(moved(x, rng), rng)
    return worn(lit(pictures, rng), rng), coloured
