"""The rows of a method as units of work: each phase with the terms that are due, and how often that happens."""

from dataclasses import dataclass, replace

from pipeline.phase import Method
from pipeline.trainer import Trainer

# After so many steps every schedule of our methods (every 4, 6 and 16) begins again.
CYCLE = 48


@dataclass(frozen=True)
class Row:
    """A phase on a step where `label` says what is due; it happens on `count` of CYCLE steps, first on `step`."""

    phase: str
    label: str
    step: int
    count: int

    @property
    def share(self) -> float:
        """How often, per step."""
        return self.count / CYCLE


def rows_of(method: Method) -> list[Row]:
    """Every kind of phase that happens in a cycle, in the method's order."""
    found: dict[tuple[str, str], list[int]] = {}
    for phase in method.phases:
        for step in range(CYCLE):
            if phase.when(step):
                terms = "+".join(term.name for term in phase.terms if term.when(step))
                found.setdefault((phase.name, terms), []).append(step)
    return [Row(phase, f"{phase} ({terms})", steps[0], len(steps)) for (phase, terms), steps in found.items()]


def take(trainer: Trainer, row: Row, turn: int = 0) -> None:
    """Run this row alone, with the draws of its step in cycle number `turn`; the trainer's table is kept."""
    whole = trainer.method
    trainer.method = replace(whole, phases=tuple(phase for phase in whole.phases if phase.name == row.phase))
    trainer.step_number = row.step + CYCLE * turn
    try:
        trainer.step()
    finally:
        trainer.method = whole
