"""Many processes through Accelerate: gloo on the CPU, NCCL on GPUs, one rank a process under torchrun.

Networks are not wrapped. Gradient penalties differentiate twice and networks are called many times in a
step, which the hooks of DistributedDataParallel were not made for; one flat all-reduce after the backward
is exact for any graph. Legend: b rows held by one rank, W ranks.
"""

from collections.abc import Sequence
from datetime import timedelta

import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import InitProcessGroupKwargs
from torch import Tensor, nn

from cluster.collectives import first_line, gathered, wait_for_all
from cluster.engine import PATIENCE, Moves
from cluster.errors import MachineError

TAIL = 2  # after the gradients ride: how many there are, and whether any element is not finite


class AccelerateEngine:
    """One rank of many; see cluster.engine.Engine for what each call promises."""

    def __init__(self, device: torch.device, patience: timedelta = PATIENCE) -> None:
        self.accelerator = Accelerator(
            cpu=device.type == "cpu",
            mixed_precision="no",  # precision is the trainer's business; keep the launcher's variable out
            kwargs_handlers=[InitProcessGroupKwargs(timeout=patience)],
        )
        if not dist.is_initialized():
            raise MachineError("WORLD_SIZE is more than 1, but no process group came up; start with torchrun")
        placed: torch.device = self.accelerator.device
        self.device = placed if placed.type == "cuda" else torch.device(placed.type)  # it says cpu:0
        self.world: int = dist.get_world_size()
        self.rank: int = dist.get_rank()

    def prepare(self, name: str, module: nn.Module, optimiser: torch.optim.Optimizer) -> Moves:
        """See Engine.prepare: every rank steps the whole network by itself, all of them alike."""
        return optimiser

    def backward(self, loss: Tensor) -> None:
        """See Engine.backward."""
        self.accelerator.backward(loss)

    @torch.no_grad()
    def sync(self, gradients: list[Tensor], names: Sequence[str] = ()) -> bool:
        """See Engine.sync.

        The buffer is float64 if any gradient is, else float32, so that halves are averaged in float32.
        Each rank divides before the sum: the mean of finite gradients cannot overflow.
        """
        flat = self._flatten(gradients)
        try:
            dist.all_reduce(flat)
        except RuntimeError as error:
            raise MachineError(
                f"rank {self.rank} of {self.world} could not average {len(gradients)} gradients with the "
                f"others: a rank is gone, or holds other gradients than this one ({first_line(error)})"
            ) from error
        count, broken = (flat[-TAIL:] * self.world).round().tolist()
        if count != self.world * len(gradients):
            raise MachineError(
                f"rank {self.rank} has {len(gradients)} gradients, the {self.world} ranks together have "
                f"{count:.0f}: every rank must train the same parameters in a step"
            )
        start = 0
        for gradient in gradients:
            gradient.copy_(flat[start : start + gradient.numel()].view_as(gradient))
            start += gradient.numel()
        return bool(broken == 0)

    def _flatten(self, gradients: list[Tensor]) -> Tensor:
        double = any(gradient.dtype == torch.float64 for gradient in gradients)
        dtype = torch.float64 if double else torch.float32
        size = sum(gradient.numel() for gradient in gradients)
        flat = torch.empty(size + TAIL, dtype=dtype, device=self.device)
        start = 0
        for gradient in gradients:
            flat[start : start + gradient.numel()].view_as(gradient).copy_(gradient)
            start += gradient.numel()
        flat[-2] = len(gradients)
        flat[-1] = (~torch.isfinite(flat[:size]).all()).to(dtype)
        return flat.div_(self.world)

    def gather(self, x: Tensor) -> Tensor:
        """See Engine.gather."""
        return gathered(x)

    def barrier(self) -> None:
        """See Engine.barrier: an all-reduce of one number on this rank's own device."""
        wait_for_all(self.device)

    def close(self) -> None:
        """See Engine.close. Accelerate's shared state goes too, so that another engine can be opened."""
        if dist.is_initialized():
            dist.destroy_process_group()
        AcceleratorState._reset_state(True)
