"""Many processes through DeepSpeed: one of its engines for each network that trains, at ZeRO stage 0 or 1.

Networks are called as they are, never through DeepSpeed's engine, whose hooks refuse a gradient of a gradient; the
backward is torch's own, with all terms in one scalar; then each engine averages the gradients of its network and
steps it. So nothing of DeepSpeed sees the graph, and micro-batches and several networks in one backward are exact.
Stage 1 deals the moments of Adam out over the ranks: each keeps and steps its part of the network, flat, and the
parts are gathered. A parameter without a gradient is a gradient of zeros there, which ages its moments, so a step
that has one is refused.
"""

import os
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from cluster.collectives import first_line, gathered, wait_for_all
from cluster.engine import PATIENCE, Moves
from cluster.errors import MachineError

MOMENTS = ("exp_avg", "exp_avg_sq")


class DeepSpeedEngine:
    """One rank of many; see cluster.engine.Engine for what each call promises."""

    def __init__(self, device: torch.device, patience: timedelta = PATIENCE, zero: int = 0) -> None:
        if zero not in (0, 1):
            raise MachineError(f"ZeRO stage {zero} is not run here; use 0 or 1")
        if device.type == "cuda":
            device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
            torch.cuda.set_device(device)
        self.device, self.zero = device, zero
        self.deepspeed = _deepspeed(device)
        self.deepspeed.init_distributed(
            dist_backend="nccl" if device.type == "cuda" else "gloo",
            auto_mpi_discovery=False,
            verbose=False,
            timeout=patience,
        )
        self.world: int = dist.get_world_size()
        self.rank: int = dist.get_rank()
        self.engines: dict[str, Any] = {}

    def prepare(self, name: str, module: nn.Module, optimiser: torch.optim.Optimizer) -> Moves:
        """See Engine.prepare. The network's parameters become rank 0's, bit for bit."""
        module.requires_grad_(True)  # DeepSpeed deals out what takes a gradient now
        engine, *_ = self.deepspeed.initialize(
            model=module,
            optimizer=optimiser,
            config={
                "train_micro_batch_size_per_gpu": 1,
                "gradient_accumulation_steps": 1,
                "steps_per_print": 10**9,
                "gradient_clipping": 0.0,  # by itself it clips every gradient to the norm 1
                "prescale_gradients": True,  # divided before the sum: a mean of finite gradients stays finite
                "zero_optimization": {
                    "stage": self.zero,
                    "overlap_comm": False,
                    "contiguous_gradients": False,  # either would hang hooks on the parameters
                },
            },
            dist_init_required=False,
        )
        module.requires_grad_(False)
        self.engines[name] = engine
        return _DealtOut(name, engine, optimiser) if self.zero else _Whole(engine, optimiser)

    def backward(self, loss: Tensor) -> None:
        """See Engine.backward."""
        torch.autograd.backward(loss)

    @torch.no_grad()
    def sync(self, gradients: list[Tensor], names: Sequence[str] = ()) -> bool:
        """See Engine.sync: whether all may step is agreed on first, by one all-reduce of two numbers.

        At stage 1 the averages are DeepSpeed's and `gradients` are consumed.
        """
        broken = any(not bool(torch.isfinite(gradient).all()) for gradient in gradients)
        told = torch.tensor([float(len(gradients)), float(broken)], device=self.device)
        modules = [self.engines[name].module for name in names]
        absent = [p for module in modules for p in module.parameters() if p.grad is None]
        try:
            dist.all_reduce(told)
            count, wrong = told.tolist()
            if count != self.world * len(gradients):
                raise MachineError(
                    f"rank {self.rank} has {len(gradients)} gradients, the {self.world} ranks together have "
                    f"{count:.0f}: every rank must train the same parameters in a step"
                )
            if self.zero and absent:
                raise MachineError(
                    f"{' and '.join(names)}: {len(absent)} parameters have no gradient in this row of the table, and "
                    "ZeRO 1 would age their moments; use zero: 0"
                )
            if wrong:
                return False
            for name in names:
                self.engines[name].allreduce_gradients()
        except MachineError:
            raise
        except RuntimeError as error:
            raise MachineError(
                f"rank {self.rank} of {self.world} could not average {len(gradients)} gradients with the others: a "
                f"rank is gone ({first_line(error)})"
            ) from error
        for parameter in absent:
            parameter.grad = None  # DeepSpeed filled in zeros
        return True

    def gather(self, x: Tensor) -> Tensor:
        """See Engine.gather."""
        return gathered(x)

    def barrier(self) -> None:
        """See Engine.barrier: an all-reduce of one number on this rank's own device."""
        wait_for_all(self.device)

    def close(self) -> None:
        """See Engine.close."""
        if dist.is_initialized():
            dist.destroy_process_group()


class _Whole:
    """Stage 0: the optimiser is torch's own, stepped by DeepSpeed."""

    def __init__(self, engine: Any, optimiser: torch.optim.Optimizer) -> None:
        self.engine, self.optimiser = engine, optimiser
        self.param_groups = optimiser.param_groups

    def zero_grad(self, set_to_none: bool = True) -> None:
        """See Moves.zero_grad; absent gradients stay absent."""
        self.engine.zero_grad()

    def step(self) -> None:
        """See Moves.step."""
        self.engine.step()

    def state_dict(self) -> dict[str, Any]:
        """See Moves.state_dict."""
        return self.optimiser.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """See Moves.load_state_dict. torch puts new groups in the place of the old."""
        self.optimiser.load_state_dict(state_dict)
        self.param_groups = self.optimiser.param_groups


class _DealtOut:
    """Stage 1: this rank's part of the moments; states go out whole and come in whole, whatever the ranks."""

    def __init__(self, name: str, engine: Any, optimiser: torch.optim.Optimizer) -> None:
        self.name, self.engine, self.optimiser = name, engine, optimiser
        self.parameters: list[nn.Parameter] = list(engine.module.parameters())
        self.param_groups = optimiser.param_groups  # of flat parts now

    def zero_grad(self, set_to_none: bool = True) -> None:
        """See Moves.zero_grad."""
        self.engine.zero_grad()

    def step(self) -> None:
        """See Moves.step; then every rank holds the whole network again."""
        self.engine.step()

    def state_dict(self) -> dict[str, Any]:
        """See Moves.state_dict: the parts of every moment are summed over the ranks."""
        from deepspeed.utils import safe_get_full_optimizer_state

        if not self.optimiser.state:
            return {"state": {}, "param_groups": []}
        (own,) = self.optimiser.state.values()
        state = {
            index: {"step": own["step"].clone()}
            | {key: safe_get_full_optimizer_state(parameter, key) for key in MOMENTS}
            for index, parameter in enumerate(self.parameters)
        }
        return {"state": state, "param_groups": []}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """See Moves.load_state_dict. Call it when the network holds its parameters: their master copies follow.

        MachineError for moments that are not all of one age, which a flat optimiser cannot hold.
        """
        from deepspeed.utils import safe_set_full_optimizer_state

        self.engine.optimizer.refresh_fp32_params()
        state: dict[int, dict[str, Tensor]] = state_dict["state"]
        if not state:
            return
        ages = {float(moments["step"]) for moments in state.values()}
        if len(ages) > 1 or len(state) != len(self.parameters):
            raise MachineError(
                f"{self.name}: the checkpoint has moments of different ages, and ZeRO 1 steps all of them as one; "
                "use zero: 0"
            )
        (flat,) = self.param_groups[0]["params"]
        first = next(iter(state.values()))
        self.optimiser.state[flat] = {"step": first["step"].clone()} | {
            key: torch.zeros_like(flat) for key in MOMENTS
        }
        self.engine.optimizer._lazy_init_hp_params_optimizer_state()
        for index, parameter in enumerate(self.parameters):
            for key in MOMENTS:
                safe_set_full_optimizer_state(parameter, state[index][key].to(parameter.device), key)


def _deepspeed(device: torch.device) -> Any:
    """The library, told of its device before it looks for one; nothing is compiled.

    On a CPU it would build an extension for shared memory first, 100 s; gloo does as well.
    """
    os.environ.setdefault("DS_ACCELERATOR", device.type)
    import deepspeed

    if device.type == "cpu":
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    return deepspeed
