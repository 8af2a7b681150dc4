"""What ranks do together beside averaging, whichever engine has brought their group up.

Legend: b rows held by one rank, W ranks.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable

from cluster.errors import MachineError


def gathered(x: Tensor) -> Tensor:
    """Every rank's rows, dealt out in strides: [b, ...] -> [W*b, ...]; see Engine.gather."""
    world, rank = dist.get_world_size(), dist.get_rank()
    try:
        rows: Tensor = _Gather.apply(x, world, rank)  # type: ignore[no-untyped-call]
    except RuntimeError as error:
        raise MachineError(
            f"rank {rank} of {world} could not gather {tuple(x.shape)} from the others: a rank is gone, or holds "
            f"other shapes ({first_line(error)})"
        ) from error
    return rows


def wait_for_all(device: torch.device) -> None:
    """A barrier: an all-reduce of one number on this rank's own device. MachineError where a rank is gone."""
    try:
        dist.all_reduce(torch.zeros(1, device=device))
    except RuntimeError as error:
        raise MachineError(
            f"rank {dist.get_rank()} of {dist.get_world_size()} waited for the others in vain ({first_line(error)})"
        ) from error


def first_line(error: RuntimeError) -> str:
    """What an error of the process group says first."""
    return (str(error).strip().splitlines() or ["no reason given"])[0]


class _Gather(torch.autograd.Function):
    """Forward: all-gather in strides. Backward: own rows times the number of ranks."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, world: int, rank: int) -> Tensor:
        ctx.world, ctx.rank = world, rank
        rows = [torch.empty_like(x, memory_format=torch.contiguous_format) for _ in range(world)]
        dist.all_gather(rows, x.detach().contiguous())
        return torch.stack(rows, dim=1).flatten(0, 1)

    @staticmethod
    @once_differentiable  # the factor would enter a penalty on this gradient: better refused than wrong
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return gradient[ctx.rank :: ctx.world] * ctx.world, None, None
