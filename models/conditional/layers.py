"""What the conditional networks share: codes beside pictures, many codes for one condition, pooling, a block.

`B` conditions, `K` blocks of codes for the same conditions, `N` latent dimension, `C` channels, `H W` pixels.
Rows come block by block: row k B + b is code k of condition b, the order [query | positive | negatives] of a
contrast.
"""

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SLOPE = 0.2


def blocks(conditions: Tensor, codes: Tensor) -> int:
    """K, how many codes each of the B conditions has; codes [K B, ...] must be whole blocks."""
    if len(conditions) == 0 or len(codes) % len(conditions):
        raise ValueError(
            f"{len(codes)} codes are not the same number for each of {len(conditions)} conditions"
        )
    return len(codes) // len(conditions)


def repeated(x: Tensor, count: int) -> Tensor:
    """x [B, ...] block after block -> [count B, ...]; x itself if there is one block."""
    return x if count == 1 else x.repeat(count, *[1] * (x.dim() - 1))


def beside(x: Tensor, code: Tensor) -> Tensor:
    """x [B, C, H, W] and code [B, N], the same at every pixel -> a new tensor [B, C + N, H, W]."""
    planes = code[:, :, None, None].expand(-1, -1, *x.shape[2:])
    return torch.cat([x, planes], dim=1)


def halved(x: Tensor) -> Tensor:
    """The next scale of a discriminator: mean over 3 x 3 at stride 2, where pixels outside do not count.

    [B, C, H, W] -> [B, C, ceil(H / 2), ceil(W / 2)].
    """
    return F.avg_pool2d(x, 3, stride=2, padding=1, count_include_pad=False)


def power_of_two(size: int, least: int, network: str) -> int:
    """`size`, or a ValueError that names the network it does not fit."""
    if size < least or size & (size - 1):
        raise ValueError(f"{network} needs a side that is a power of two from {least} px, not {size}")
    return size


class ResidualDown(nn.Module):
    """norm, LReLU .2, conv3, norm, LReLU .2, conv3, 2 x 2 mean; beside it 2 x 2 mean, then conv1; their sum.

    BicycleGAN's E has instance norm and zero padding, DRIT's attribute encoder no norm and reflection.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        norm: Callable[[int], nn.Module],
        padding: Literal["zeros", "reflect"],
    ) -> None:
        super().__init__()
        self.norm1, self.norm2 = norm(inputs), norm(inputs)
        self.conv1 = nn.Conv2d(inputs, inputs, 3, padding=1, padding_mode=padding)
        self.conv2 = nn.Conv2d(inputs, outputs, 3, padding=1, padding_mode=padding)
        self.shortcut = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, I, H, W] -> [B, O, H // 2, W // 2]."""
        y = self.conv1(F.leaky_relu(self.norm1(x), SLOPE))
        y = self.conv2(F.leaky_relu(self.norm2(y), SLOPE))
        pooled: Tensor = F.avg_pool2d(y, 2) + self.shortcut(F.avg_pool2d(x, 2))
        return pooled
