"""What the correlation losses share: unit vectors at every position, and products in full precision."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

_LEAST_NORM = 1e-12


def unit_channels(feature: Tensor) -> Tensor:
    """[N, C, H, W] -> the same in at least float32, each position's channel vector of length 1.

    The norm is held above 1e-12, as torch's normalize does; a zero vector stays zero. Once differentiable.
    """
    unit: Tensor = _UnitChannels.apply(at_least_float32(feature))  # type: ignore[no-untyped-call]
    return unit


class _UnitChannels(torch.autograd.Function):
    """x / |x| over dimension 1, with one new map forward and one back.

    On a CPU such maps are bound by fresh memory: autograd's own chain makes three maps forward and five back,
    and took longer than all products of the correlation behind it.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        unit = x.square()
        squared = unit.sum(1, keepdim=True)
        torch.mul(x, squared.clamp(min=_LEAST_NORM**2).rsqrt_(), out=unit)
        ctx.save_for_backward(unit, squared)
        return unit

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> Tensor:
        unit: Tensor
        squared: Tensor
        unit, squared = ctx.saved_tensors
        slope = upstream * unit
        along = slope.sum(1, keepdim=True)
        # Where the norm is held it does not move with x, so nothing is taken off along x.
        along.masked_fill_(squared < _LEAST_NORM**2, 0)
        torch.mul(unit, along.neg_(), out=slope)
        held = squared.clamp_min(_LEAST_NORM**2)
        return slope.add_(upstream).mul_(held.rsqrt_())


def average_2x2(feature: Tensor) -> Tensor:
    """[N, C, H, W] with even sides -> [N, C, H / 2, W / 2], means of 2x2 neighbours. Once differentiable.

    Slices instead of avg_pool2d: on a CPU they take a ninth of its time forward and a fifth back.
    """
    averaged: Tensor = _Average2x2.apply(feature)  # type: ignore[no-untyped-call]
    return averaged


class _Average2x2(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        rows = x[:, :, 0::2] + x[:, :, 1::2]
        return (rows[..., 0::2] + rows[..., 1::2]).mul_(0.25)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> Tensor:
        count, channels, height, width = upstream.shape
        quarter = upstream * 0.25
        slope = upstream.new_empty(count, channels, 2 * height, 2 * width)
        slope[:, :, 0::2, 0::2] = quarter
        slope[:, :, 0::2, 1::2] = quarter
        slope[:, :, 1::2] = slope[:, :, 0::2]
        return slope


def at_least_float32(x: Tensor) -> Tensor:
    """x itself if it is float32 or float64, else x in float32."""
    return x if x.dtype in (torch.float32, torch.float64) else x.float()


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Matrix products inside are neither autocast nor TF32: differences of correlations are small numbers."""
    before = torch.get_float32_matmul_precision()
    if before != "highest":
        torch.set_float32_matmul_precision("highest")
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        if before != "highest":
            torch.set_float32_matmul_precision(before)


def check_pairs(adapted: Sequence[Tensor], source: Sequence[Tensor]) -> None:
    """ValueError unless there is at least one feature and both lists have the same shapes."""
    shapes = [tuple(x.shape) for x in adapted]
    others = [tuple(x.shape) for x in source]
    if not shapes or shapes != others:
        raise ValueError(f"adapted and source features must agree and not be empty: {shapes} and {others}")
