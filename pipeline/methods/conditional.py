"""What DCGAN and BicycleGAN have in common: the diversity terms that both can run, and how ds falls."""

import math
from functools import partial
from typing import Any

from losses.diversity import diversity_sensitive, mode_seeking
from pipeline.methods.diversity import DiversitySettings, DiversityWeights, contrast_term
from pipeline.methods.settings import Frozen, value
from pipeline.phase import Ramp, Term, Weight, When


def diversity_weight(name: str, default: float = 0.0) -> Any:
    """The weight of a diversity term, documented as DiversityWeights has it. A base lists those it can run."""
    found = DiversityWeights.model_fields[name]
    extra = found.json_schema_extra if isinstance(found.json_schema_extra, dict) else {}
    return value(default, found.description or "", str(extra["source"]), low=0)


class Weights(Frozen):
    """Weights of the diversity terms that need no more than two codes of one condition."""

    ds: float = diversity_weight("ds")
    mode_seeking: float = diversity_weight("mode_seeking")
    divco: float = diversity_weight("divco")


class Settings(DiversitySettings):
    """What is drawn beside the pictures of a plain step."""

    weights: Weights = Weights()
    steps: int = value(
        100_000, "length of the run, for what falls in it", "filled in by the run", "steps", low=1
    )
    divco_temperature: float = value(1.0, "temperature of the contrast", "DivCo's release", low=0.01)
    divco_negatives: int = value(10, "negative latents of each query", "DivCo's release", low=1)
    ds_over: float = value(
        1.0, "share of the run in which ds falls to 0; 0: it stays", "StarGAN v2", low=0, high=1
    )

    @property
    def ds_steps(self) -> int:
        """Steps after which ds weighs nothing; 0: it never falls."""
        return math.ceil(self.ds_over * self.steps)

    def contrasts_at(self, step: int) -> bool:
        """Whether the contrast pulls at this step."""
        return self.weights.divco > 0 and step % self.divco_every == 0

    def spreads_at(self, step: int) -> bool:
        """Whether ds pulls at this step."""
        return self.weights.ds > 0 and (not self.ds_steps or step < self.ds_steps)


def diversity_terms(settings: Settings) -> tuple[Term, ...]:
    """ds reads picture and other, mode_seeking picture_gaps and code_gaps, divco what contrasts returned."""
    weights = settings.weights
    ds: Weight = weights.ds
    when = When()
    if settings.ds_steps and weights.ds > 0:
        ds, when = Ramp(weights.ds, 0.0, settings.ds_steps), When(stop=settings.ds_steps)
    seek = partial(mode_seeking, eps=settings.mode_seeking_eps)
    return (
        Term("ds", diversity_sensitive, ("picture", "other"), ds, when),
        Term("mode_seeking", seek, ("picture_gaps", "code_gaps"), weights.mode_seeking, across=True),
        contrast_term(weights.divco, settings),
    )
