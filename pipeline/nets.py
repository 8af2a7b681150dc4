"""The job's networks by name, with optimisers, EMA twins, frozen parts and small memories."""

import copy
from collections.abc import Iterable, Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn

from cluster.engine import Moves
from pipeline.phase import Method

M = TypeVar("M", bound=nn.Module)


class Nets:
    """Networks under the names that the method's table uses. Whatever has no optimiser never moves."""

    def __init__(
        self,
        modules: Mapping[str, nn.Module],
        method: Method,
        memory: Mapping[str, Tensor],
        device: torch.device,
    ) -> None:
        self.modules = {name: module.to(device) for name, module in modules.items()}
        self.memory = {name: value.to(device) for name, value in memory.items()}
        self.twins = {name: copy.deepcopy(self.modules[name]) for name in method.averages}
        self._method = method
        self._norms = [
            part
            for name in method.optimisers
            for part in self.modules[name].modules()
            if getattr(part, "track_running_stats", False)
        ]
        for module in (*self.modules.values(), *self.twins.values()):
            module.requires_grad_(False)
        self.optimisers: dict[str, Moves] = {
            name: torch.optim.Adam(
                list(self.modules[name].parameters()),
                lr=adam.lr_at(0),
                betas=adam.betas,
                eps=adam.eps,
                weight_decay=adam.weight_decay,
                fused=True,
            )
            for name, adam in method.optimisers.items()
        }

    def of(self, kind: type[M], name: str) -> M:
        """The network `name`, known to be a `kind`."""
        module = self.modules[name]
        if not isinstance(module, kind):
            raise TypeError(f"{name} is a {type(module).__name__}, not a {kind.__name__}")
        return module

    def averaged(self, kind: type[M], name: str) -> M:
        """The EMA twin of `name`."""
        module = self.twins[name]
        if not isinstance(module, kind):
            raise TypeError(f"the average of {name} is a {type(module).__name__}, not a {kind.__name__}")
        return module

    def only(self, names: Iterable[str], lends: Iterable[str] = ()) -> None:
        """Gradients on for these networks alone, and cleared; on for those of `lends` too, as they are."""
        wanted, lent = set(names), set(lends)
        for name in self.optimisers:
            self.modules[name].requires_grad_(name in wanted or name in lent)
            if name in wanted:
                self.optimisers[name].zero_grad(set_to_none=True)

    def gradients(self, names: Iterable[str]) -> list[Tensor]:
        """The gradients that this backward made. Absent ones stay absent: Adam then leaves their moments alone."""
        parameters = (p for name in names for p in self.modules[name].parameters())
        return [p.grad for p in parameters if p.grad is not None]

    def clip(self, names: Iterable[str], most: float) -> None:
        """Scale the gradient of each network down to the norm `most` where it is above it."""
        for name in names:
            torch.nn.utils.clip_grad_norm_(self.modules[name].parameters(), most)

    def move(self, names: Iterable[str], step: int) -> None:
        """One optimiser step of each, at the learning rate of the step numbered `step`."""
        for name in names:
            optimiser = self.optimisers[name]
            for group in optimiser.param_groups:
                group["lr"] = self._method.optimisers[name].lr_at(step)
            optimiser.step()

    @torch.no_grad()
    def follow(self, step: int) -> None:
        """Every EMA twin takes one step towards its network. Parameters only: buffers belong to the model."""
        for name, average in self._method.averages.items():
            twins: list[Tensor] = list(self.twins[name].parameters())
            now: list[Tensor] = list(self.modules[name].parameters())
            torch._foreach_lerp_(twins, now, 1.0 - average.decay(step))

    def running(self) -> list[dict[str, Tensor]]:
        """Copies of what each norm keeps of the batches it has seen; empty where no network has such norms."""
        return [{key: kept.clone() for key, kept in norm.named_buffers()} for norm in self._norms]

    def take_back(self, running: list[dict[str, Tensor]]) -> None:
        """The inverse of `running`, as often as needed. Not in place: graphs yet to be pulled on hold the old ones."""
        for norm, buffers in zip(self._norms, running, strict=True):
            for key, kept in buffers.items():
                setattr(norm, key, kept.clone())

    def state(self) -> dict[str, Tensor]:
        """Everything that a checkpoint holds, flat: networks, twins, moments, memories."""
        tensors: dict[str, Tensor] = {f"memory/{name}": value for name, value in self.memory.items()}
        for kind, modules in (("net", self.modules), ("ema", self.twins)):
            for name, module in modules.items():
                tensors |= {f"{kind}/{name}/{key}": value for key, value in module.state_dict().items()}
        for name, optimiser in self.optimisers.items():
            for i, moments in optimiser.state_dict()["state"].items():
                tensors |= {f"adam/{name}/{i}/{key}": value for key, value in moments.items()}
        return {key: value.detach().contiguous() for key, value in tensors.items()}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """The inverse of `state`."""
        for name in self.memory:
            self.memory[name] = tensors[f"memory/{name}"].to(self.memory[name].device)
        for kind, modules in (("net", self.modules), ("ema", self.twins)):
            for name, module in modules.items():
                module.load_state_dict(_under(tensors, f"{kind}/{name}/"))
        for name, optimiser in self.optimisers.items():
            moments: dict[int, dict[str, Tensor]] = {}
            for key, value in _under(tensors, f"adam/{name}/").items():
                index, field = key.split("/")
                moments.setdefault(int(index), {})[field] = value
            optimiser.load_state_dict({**optimiser.state_dict(), "state": moments})


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
