"""Equal work or no number: losses and gradients of two trainers in float64, row by row."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor

from benchmarks.literal.step import CPU, Work, literal_trainer, our_trainer
from benchmarks.rows import rows_of, take
from cluster.engine import PlainEngine
from pipeline.trainer import Trainer

LIMIT = 1e-10


class Different(AssertionError):
    """Two forms do not compute the same."""


@dataclass
class Witness(PlainEngine):
    """Sees every gradient. Whoever uses it sets learning rates to 0, so that all rows see the same weights."""

    trainer: Trainer | None = None
    seen: dict[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__init__(CPU)

    def sync(self, gradients: list[Tensor], names: Sequence[str] = ()) -> bool:
        """Note the gradients by name."""
        assert self.trainer is not None
        self.seen = {
            f"{net}.{name}": parameter.grad.clone()
            for net, module in self.trainer.nets.modules.items()
            for name, parameter in module.named_parameters()
            if parameter.requires_grad and parameter.grad is not None
        }
        return True


@contextmanager
def float64() -> Iterator[None]:
    """New tensors are float64."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def gap(ours: Tensor, theirs: Tensor, largest: Tensor) -> float:
    """Relative L2; what is below a millionth of the largest gradient is held against that instead."""
    scale = torch.maximum(theirs.norm(), 1e-6 * largest)
    return float((ours - theirs).norm() / scale.clamp_min(1e-300))


def worst_gap(ours: Witness, theirs: Witness, label: str) -> float:
    """Over all loss terms and all gradients of one row. Absent gradients must be absent in both."""
    assert ours.trainer is not None
    assert theirs.trainer is not None
    if ours.seen.keys() != theirs.seen.keys():
        names = sorted(ours.seen.keys() ^ theirs.seen.keys())
        raise Different(f"{label}: only one form has a gradient of {', '.join(names)}")
    one = torch.ones(())
    gaps = [gap(value, theirs.trainer.terms[name], one) for name, value in ours.trainer.terms.items()]
    largest = torch.stack([value.norm() for value in theirs.seen.values()]).max()
    gaps += [gap(value, theirs.seen[name], largest) for name, value in ours.seen.items()]
    return max(gaps)


def watched(trainer: Trainer, witness: Witness) -> Witness:
    """The witness of this trainer, which then stands still."""
    for optimiser in trainer.nets.optimisers.values():
        for group in optimiser.param_groups:
            group["lr"] = 0.0
    witness.trainer = trainer
    return witness


def witnesses(work: Work, form: str) -> tuple[Witness, Witness]:
    """Our step and the literal one, from the same weights."""
    mine, plain = Witness(), Witness()
    return watched(our_trainer(work, mine), mine), watched(literal_trainer(work, form, plain), plain)


def checked(work: Work, form: str) -> float:
    """The worst relative difference of our step from the literal one, over all rows; Different above LIMIT."""
    with float64():
        mine, plain = witnesses(work, form)
        assert mine.trainer is not None
        worst = 0.0
        for row in rows_of(mine.trainer.method):
            for witness in (mine, plain):
                assert witness.trainer is not None
                witness.trainer.terms = {}
                take(witness.trainer, row)
            found = worst_gap(mine, plain, row.label)
            if not found <= LIMIT:
                raise Different(
                    f"{work.method} {form} {row.label}: differs by {found:.1e}, allowed {LIMIT:.0e}"
                )
            worst = max(worst, found)
    return worst
