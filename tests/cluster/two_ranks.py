"""What each of two ranks does in test_engine.py: started by torchrun, answers go to a folder as JSON."""

import json
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cluster.engine import Engine, open_engine
from cluster.errors import MachineError


def batch() -> tuple[Tensor, Tensor]:
    draws = torch.Generator().manual_seed(3)
    x = torch.randn(6, 4, dtype=torch.float64, generator=draws)
    weight = torch.randn(4, 3, dtype=torch.float64, generator=draws)
    return x, weight


def relational_loss(features: Tensor) -> Tensor:
    """Order matters in it: every row is compared with the next one."""
    order = torch.arange(1, len(features) + 1, dtype=features.dtype)
    return ((features * features.roll(1, 0)).sum(1) * order).tanh().sum()


def averages(engine: Engine) -> dict[str, Any]:
    own = [torch.full((2, 3), float(engine.rank), dtype=torch.float64), torch.arange(4.0) + engine.rank]
    third = torch.full((5,), 1.0 + engine.rank, dtype=torch.bfloat16)
    finite = engine.sync([own[0], own[1].t(), third])
    return {"finite": finite, "means": [own[0].tolist(), own[1].tolist(), third.tolist()]}


def flags(engine: Engine) -> dict[str, Any]:
    answers = []
    for rank, value in ((0, float("nan")), (1, float("inf")), (1, 3e38), (0, 1.0)):
        gradient = torch.zeros(3)
        if engine.rank == rank:
            gradient[1] = value
        answers.append(engine.sync([gradient]))
    return {"flags": answers}


def gathered_gradient(engine: Engine) -> dict[str, Any]:
    x, weight = batch()
    weight.requires_grad_()
    mine = x[engine.rank :: engine.world]
    everybody = engine.gather(mine @ weight)
    engine.backward(relational_loss(everybody))
    assert weight.grad is not None
    engine.sync([weight.grad])
    return {"gradient": weight.grad.tolist(), "rows": everybody.tolist()}


def penalty_gradient(engine: Engine) -> dict[str, Any]:
    x, weight = batch()
    weight.requires_grad_()
    mine = x[engine.rank :: engine.world].clone().requires_grad_()
    slope = torch.autograd.grad((mine @ weight).tanh().sum(), mine, create_graph=True)[0]
    engine.backward(slope.square().sum(1).mean())
    assert weight.grad is not None
    engine.sync([weight.grad])
    return {"penalty": weight.grad.tolist()}


def disagreement(engine: Engine) -> dict[str, Any]:
    gradients = [torch.zeros(4)] if engine.rank else [torch.zeros(2), torch.zeros(2)]
    try:
        engine.sync(gradients)
    except MachineError as error:
        return {"disagreement": str(error)}
    return {"disagreement": None}


def second_derivative(engine: Engine) -> dict[str, Any]:
    """A penalty on a gradient through the gather, which would be off by the number of ranks."""
    x = torch.ones(2, requires_grad=True)
    slope = torch.autograd.grad(engine.gather(x).square().sum(), x, create_graph=True)[0]
    try:
        engine.backward(slope.sum())
    except RuntimeError as error:
        return {"second": str(error)}
    return {"second": None}


def moved(engine: Engine) -> dict[str, Any]:
    """The first step of an optimiser, which imports what it needs."""
    weight = nn.Parameter(torch.ones(2))
    optimiser = engine.prepare("G", nn.ParameterList([weight]), torch.optim.Adam([weight], lr=0.5))
    weight.grad = torch.ones(2)
    optimiser.step()
    return {"moved": weight.tolist()}


def threads() -> list[str]:
    """Names of the threads of this process, Python's and others."""
    return sorted(path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm"))


def main(folder: Path) -> None:
    engine = open_engine("cpu", patience=timedelta(seconds=20))
    answer: dict[str, Any] = {"world": engine.world, "device": str(engine.device)}
    parts = (averages, flags, gathered_gradient, penalty_gradient, disagreement, second_derivative, moved)
    for part in parts:
        answer |= part(engine)
        engine.barrier()
    answer["open"] = threads()
    engine.close()
    answer["closed"] = threads()
    (folder / f"{engine.rank}.json").write_text(json.dumps(answer))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
