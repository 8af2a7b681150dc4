"""What a training step needs to know of processes: one object, with one process or many behind it.

Legend: b rows held by one rank, W ranks. The global batch is dealt out in strides: rank r holds the rows
t with t % W == r, so that the same global batch exists whatever W is.
"""

import os
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from cluster.errors import MachineError

PATIENCE = timedelta(minutes=10)  # a rank that died is noticed at once; this bounds only one that hangs


class Moves(Protocol):
    """What steps one network: torch's optimiser, or an engine's own in its place, with the same state."""

    param_groups: list[dict[str, Any]]

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients."""

    def step(self) -> Any:
        """One step along the gradients that `Engine.sync` has averaged."""

    def state_dict(self) -> dict[str, Any]:
        """As torch's, whole on every rank: "state" has full moments by number of parameter. Every rank asks."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The inverse of `state_dict`, whatever engine and number of ranks it came from."""


class Engine(Protocol):
    """Devices, backward, gradient sync, gather and barrier. Every rank makes the same calls in order."""

    @property
    def device(self) -> torch.device:
        """Where this rank's tensors live."""

    @property
    def world(self) -> int:
        """Number of ranks, W >= 1."""

    @property
    def rank(self) -> int:
        """This rank's number, 0 <= rank < W; rank 0 is the one that tracks and saves."""

    def prepare(self, name: str, module: nn.Module, optimiser: torch.optim.Optimizer) -> Moves:
        """Told once of every network that trains, before the first step; returns what steps it from then on."""

    def backward(self, loss: Tensor) -> None:
        """Add the gradient of the scalar `loss` to the `.grad` of its leaves, on this rank alone."""

    def sync(self, gradients: list[Tensor], names: Sequence[str] = ()) -> bool:
        """Replace each gradient by its mean over ranks, in place and in its dtype, by one all-reduce.

        gradients: those that are present; every rank passes the same number with the same shapes.
        names: the prepared networks that they are of.
        Returns True iff every element was finite on every rank; all ranks get the same answer, and
        where it is False the step must not be applied.
        """

    def gather(self, x: Tensor) -> Tensor:
        """Every rank's rows in the global order: [b, ...] -> [W*b, ...], row t from rank t % W.

        b is the same on all ranks. Differentiable once, for losses that all ranks compute whole and
        alike: the backward hands each rank its own rows times W, which the mean in `sync` takes away.
        """

    def barrier(self) -> None:
        """Wait until every rank is here."""

    def close(self) -> None:
        """Leave the group. The engine is of no use afterwards."""


class PlainEngine:
    """One process: nothing to average, nothing to gather."""

    world = 1
    rank = 0

    def __init__(self, device: torch.device | str) -> None:
        self.device = torch.device(device)

    def prepare(self, name: str, module: nn.Module, optimiser: torch.optim.Optimizer) -> Moves:
        """See Engine.prepare."""
        return optimiser

    def backward(self, loss: Tensor) -> None:
        """See Engine.backward."""
        torch.autograd.backward(loss)

    def sync(self, gradients: list[Tensor], names: Sequence[str] = ()) -> bool:
        """See Engine.sync; the mean over one rank is left as it is."""
        if not gradients:
            return True
        largest = torch.nn.utils.get_total_norm(gradients, float("inf"))  # NaN and Inf both survive a maximum
        return bool(torch.isfinite(largest))

    def gather(self, x: Tensor) -> Tensor:
        """See Engine.gather; one rank holds all rows already."""
        return x

    def barrier(self) -> None:
        """Nobody to wait for."""

    def close(self) -> None:
        """Nothing to leave."""


def pick_device(device: str) -> torch.device:
    """The device named by `device`: "auto" (a GPU if there is one), "cpu", "cuda" or "cuda:N"."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        picked = torch.device(device)
    except RuntimeError:
        raise MachineError(f"device {device!r} is not known; use auto, cpu, cuda or cuda:N") from None
    if picked.type == "cuda" and not torch.cuda.is_available():
        raise MachineError(f"device {device!r} was asked for, but torch sees no GPU here; use auto or cpu")
    return picked


def open_engine(
    device: str, patience: timedelta = PATIENCE, engine: str = "accelerate", zero: int = 0
) -> Engine:
    """The engine for this process: under torchrun (WORLD_SIZE > 1) one rank of many, else plain.

    device: see `pick_device`; under torchrun "cuda" becomes the GPU of the local rank.
    patience: how long a collective may wait for the other ranks before it raises.
    engine: who holds many ranks together, "accelerate" or "deepspeed"; zero: DeepSpeed's stage, 0 or 1.
    """
    picked = pick_device(device)
    world = os.environ.get("WORLD_SIZE")
    if world is None and "ACCELERATE_USE_CPU" in os.environ and "MASTER_ADDR" in os.environ:
        raise MachineError(
            "accelerate launch was asked for several processes, but without GPUs it starts a single one; start "
            "the same command with torchrun --standalone --nproc_per_node=N -m pipeline.VERB"
        )
    if int(world or "1") == 1:
        return PlainEngine(picked)
    # The first optimiser imports this. After the group is up the import would keep it alive beyond `close`, and a
    # process whose threads still talk to the others when Python ends may abort.
    from torch import _dynamo  # noqa: F401

    if engine == "deepspeed":
        from cluster.deepspeed_engine import DeepSpeedEngine  # costs 4 s, only where it is asked for

        return DeepSpeedEngine(picked, patience, zero)
    from cluster.accelerate_engine import AccelerateEngine  # costs 1.6 s, only where it is needed

    return AccelerateEngine(picked, patience)
