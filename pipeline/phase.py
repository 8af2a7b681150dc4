"""A method as a table: which networks step, when, looking at what, pulled by which terms."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from pipeline.draws import StepDraws
    from pipeline.nets import Nets

Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class When:
    """Steps at which a phase runs: start <= step < stop, step % every == 0, and not step % skip == 0 (skip 0: none)."""

    every: int = 1
    start: int = 0
    stop: int | None = None
    skip: int = 0

    def __call__(self, step: int) -> bool:
        if step < self.start or (self.stop is not None and step >= self.stop):
            return False
        return step % self.every == 0 and not (self.skip and step % self.skip == 0)

    def __str__(self) -> str:
        words = f"every {self.every}"
        words += f" skip {self.skip}" if self.skip else ""
        words += f" from {self.start}" if self.start else ""
        return words + (f" until {self.stop}" if self.stop is not None else "")


@dataclass(frozen=True)
class Ramp:
    """A number that goes in a straight line from `first` to `last` over `steps` steps after `start`, and stays."""

    first: float
    last: float
    steps: int
    start: int = 0

    def __call__(self, step: int) -> float:
        share = (step - self.start) / self.steps
        return self.first + (self.last - self.first) * min(1.0, max(0.0, share))


Weight = float | Ramp


def at(weight: Weight, step: int) -> float:
    """The number in force at a step."""
    return weight(step) if isinstance(weight, Ramp) else weight


@dataclass(frozen=True)
class Term:
    """A pure loss, the names it reads from its phase's tensors, and a weight. The loss returns a scalar, unweighted.

    when: on which of the phase's steps it pulls; its forward need not give what it reads on the others.
    across: it compares all samples of the batch with each other, so a batch in parts would give another number.
    """

    name: str
    loss: Callable[..., Tensor]
    reads: tuple[str, ...]
    weight: Weight = 1.0
    when: When = When()
    across: bool = False

    def weight_at(self, step: int) -> float:
        return at(self.weight, step)


@dataclass(frozen=True)
class Phase:
    """Who trains, when, one forward, the terms pulled on what it returns.

    gain multiplies the weighed sum: a regulariser that runs every k-th step carries gain k.
    whole: the forward needs the whole batch of a process at once and is never cut into micro-batches.
    lends: networks whose graph a later phase of the same step pulls on; their gradients are on, and nothing steps.
    clip: most norm of each trained network's gradient, 0 for no such limit.
    """

    name: str
    trains: tuple[str, ...]
    forward: Callable[["Nets", "StepDraws"], Tensors]
    terms: tuple[Term, ...]
    when: When = When()
    gain: float = 1.0
    whole: bool = False
    lends: tuple[str, ...] = ()
    clip: float = 0.0


@dataclass(frozen=True)
class Adam:
    """Settings of one network's optimiser. weight_decay is coupled: it is added to the gradient, as L2."""

    lr: Weight
    betas: tuple[float, float]
    eps: float = 1e-8
    weight_decay: float = 0.0

    def lr_at(self, step: int) -> float:
        """The learning rate in force at a step."""
        return at(self.lr, step)


@dataclass(frozen=True)
class Average:
    """EMA of parameters: half-life in steps, at most `ramp` of the steps so far (0: no such limit)."""

    half_life: float
    ramp: float = 0.0

    def decay(self, step: int) -> float:
        """Weight of the old average when the step numbered `step` (from 0) has been done."""
        half_life = min(self.half_life, self.ramp * (step + 1)) if self.ramp else self.half_life
        return float(0.5 ** (1.0 / max(half_life, 1e-8)))


@dataclass(frozen=True)
class Method:
    """A name, phases in order, the optimiser of each network that trains, which of them have EMA twins."""

    name: str
    phases: tuple[Phase, ...]
    optimisers: Mapping[str, Adam]
    averages: Mapping[str, Average]

    def table(self) -> str:
        """One aligned line a phase: the method's documentation, its log keys and its search space."""
        rows = [
            (
                self.name if i == 0 else "",
                phase.name,
                "trains " + "+".join(phase.trains),
                str(phase.when),
                "   ".join(map(_words, phase.terms))
                + (f"   (all times {phase.gain:g})" if phase.gain != 1 else "")
                + (f"   (gradient clipped at {phase.clip:g})" if phase.clip else ""),
            )
            for i, phase in enumerate(self.phases)
        ]
        widths = [max(len(row[i]) for row in rows) for i in range(4)]
        return "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(row[:4], widths, strict=True)) + "  " + row[4]
            for row in rows
        )


def pulling(*phases: Phase) -> tuple[Phase, ...]:
    """The phases without their terms of weight 0, and without those that have no other."""
    kept = (replace(phase, terms=tuple(t for t in phase.terms if t.weight != 0)) for phase in phases)
    return tuple(phase for phase in kept if phase.terms)


def _words(term: Term) -> str:
    weight = term.weight
    number = f"{weight.first:g}~{weight.last:g}" if isinstance(weight, Ramp) else f"{weight:g}"
    return f"{number} {term.name}" + (f" ({term.when})" if term.when != When() else "")
