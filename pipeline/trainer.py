"""The one training loop. It knows nothing of any method."""

import torch
from torch import Tensor

from cluster.engine import Engine
from pipeline.draws import Draws
from pipeline.nets import Nets
from pipeline.phase import Method, Phase, Tensors
from pipeline.precision import computing, widened

PATIENCE = 3


class Diverged(ArithmeticError):
    """A phase had a loss or gradient that is not finite three times in a row."""


class Trainer:
    """Method + Nets + Draws + Engine, with `step()`."""

    def __init__(
        self,
        method: Method,
        nets: Nets,
        draws: Draws,
        engine: Engine,
        parts: int = 1,
        precision: str = "fp32",
    ) -> None:
        self.method, self.nets, self.draws, self.engine, self.parts = method, nets, draws, engine, parts
        self.precision = precision
        for name, optimiser in nets.optimisers.items():
            assert isinstance(optimiser, torch.optim.Optimizer)  # each is prepared once
            nets.optimisers[name] = engine.prepare(name, nets.modules[name], optimiser)
        self.step_number = 0
        self.refused: dict[str, int] = {}
        self.terms: dict[str, Tensor] = {}

    def step(self) -> None:
        """One row of the table after the other, then the averages."""
        running = self.nets.running()  # of the whole step: a row may run a network for a later one
        for phase in self.method.phases:
            if not phase.when(self.step_number):
                continue
            self.nets.only(phase.trains, phase.lends)
            memory = dict(self.nets.memory)
            parts = 1 if phase.whole else self.parts
            for part in range(parts):
                draws = self.draws.at(self.step_number, phase.name, part, phase.whole)
                with computing(self.precision, self.engine.device):
                    tensors = phase.forward(self.nets, draws)
                total = self._weigh(phase, tensors, part / parts)
                self.engine.backward(total * (phase.gain / parts))
            if self.engine.sync(self.nets.gradients(phase.trains), phase.trains):
                if phase.clip:
                    self.nets.clip(phase.trains, phase.clip)
                self.nets.move(phase.trains, self.step_number)
                self.refused.pop(phase.name, None)
            else:
                self.nets.memory = memory
                self.nets.take_back(running)
                self._refuse(phase)
        self.nets.follow(self.step_number)
        self.step_number += 1

    def _weigh(self, phase: Phase, tensors: Tensors, seen: float) -> Tensor:
        """Sum of weight x term; each raw term is noted under PHASE/TERM, averaged over the parts."""
        total = torch.zeros((), device=self.engine.device)
        for term in phase.terms:
            if not term.when(self.step_number):
                continue
            raw = term.loss(*(widened(tensors[name]) for name in term.reads))
            key = f"{phase.name}/{term.name}"
            share = 1 / (1 if phase.whole else self.parts)
            self.terms[key] = raw.detach() * share + (self.terms[key] if seen else 0)
            total = total + term.weight_at(self.step_number) * raw
        return total

    def _refuse(self, phase: Phase) -> None:
        """A step that is not finite is not applied; the third in a row of one phase ends the run.

        Counted by phase: while the generator's steps fail, the discriminator's may well go on.
        """
        self.refused[phase.name] = self.refused.get(phase.name, 0) + 1
        if self.refused[phase.name] >= PATIENCE:
            raise Diverged(
                f"{phase.name} at step {self.step_number}: a gradient was not finite {PATIENCE} times in a row"
            )

    def readings(self) -> dict[str, float]:
        """Every raw term as last seen by its phase, on all processes."""
        if not self.terms:
            return {}
        names = sorted(self.terms)
        values = torch.stack([self.terms[name].double() for name in names])
        values = self.engine.gather(values[None]).mean(dim=0)
        return dict(zip(names, values.tolist(), strict=True))

    def state(self) -> dict[str, object]:
        """What a checkpoint holds beside the tensors. Every process must ask."""
        return {"step": self.step_number, "refused": dict(self.refused), "terms": self.readings()}

    def load(self, state: dict[str, object]) -> None:
        """The inverse of `state`."""
        refused, terms = state["refused"], state["terms"]
        assert isinstance(terms, dict)
        self.step_number = int(str(state["step"]))
        self.refused = dict(refused) if isinstance(refused, dict) else {}
        self.terms = {
            name: torch.tensor(value, dtype=torch.float64, device=self.engine.device)
            for name, value in terms.items()
        }
