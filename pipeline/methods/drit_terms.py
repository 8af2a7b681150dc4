"""What pulls in DRIT's four rows. Every term adds up both domains, both directions, or all discriminators."""

from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from losses.adversarial import fake_logistic, real_logistic
from losses.diversity import latent_regression
from losses.translation import (
    fake_logistic_scales,
    fool_logistic_scales,
    mean_absolute,
    mean_square,
    real_logistic_scales,
    undecided,
)
from pipeline.methods.conditional import diversity_terms
from pipeline.methods.diversity import averaged, kept_distances
from pipeline.methods.drit_settings import Settings
from pipeline.phase import Term

DOMAINS = ("A", "B")
JUDGES = ("D_A", "D_A2", "D_B", "D_B2")


def added(*given: Any, loss: Any, inputs: int = 1) -> Tensor:
    """Sum of a loss over domains, directions or discriminators; of each it reads `inputs` values in turn."""
    losses = [loss(*given[at : at + inputs]) for at in range(0, len(given), inputs)]
    return torch.stack(losses).sum()


def of_both(*names: str) -> tuple[str, ...]:
    """Names of both domains' values: NAME_A of every name, then NAME_B."""
    return tuple(f"{name}_{domain}" for domain in DOMAINS for name in names)


def judges(of: str) -> tuple[str, ...]:
    """Names of the logits of the four discriminators of pictures."""
    return tuple(f"{of}_{judge.removeprefix('D_')}" for judge in JUDGES)


def image_terms(settings: Settings) -> tuple[Term, ...]:
    """What pulls on the discriminators of pictures."""
    weights = settings.weights
    return (
        Term("real", partial(added, loss=real_logistic_scales), judges("real"), weights.real),
        Term("fake", partial(added, loss=fake_logistic_scales), judges("fake"), weights.fake),
    )


def content_terms(settings: Settings) -> tuple[Term, ...]:
    """What pulls on D_content."""
    weights = settings.weights
    return (
        Term("real", real_logistic, ("real",), weights.real),
        Term("fake", fake_logistic, ("fake",), weights.fake),
    )


def encoded_terms(settings: Settings) -> tuple[Term, ...]:
    """What pulls on E_c, E_a and G."""
    weights, gap = settings.weights, partial(added, loss=mean_absolute, inputs=2)
    return (
        Term("fool", partial(added, loss=fool_logistic_scales), of_both("fake"), weights.fool),
        Term("content", partial(added, loss=undecided), of_both("told"), weights.content),
        Term("cycle", gap, of_both("back", "x"), weights.cycle),
        Term("self", gap, of_both("self", "x"), weights.self),
        Term("kl", partial(added, loss=averaged), of_both("kl"), weights.kl),
        Term("content_norm", partial(added, loss=mean_square), of_both("content"), weights.content_norm),
    )


def random_terms(settings: Settings) -> tuple[Term, ...]:
    """What pulls on E_c and G alone."""
    weights = settings.weights
    ds, seek, contrast = diversity_terms(settings)
    regression = partial(added, loss=latent_regression, inputs=2)
    distance = partial(added, loss=kept_distances, inputs=3)
    seen = ("picture_gaps_A", "code_gaps", "picture_gaps_B", "code_gaps")
    apart = ("source_gaps_A", "image_gaps_A", "moments", "source_gaps_B", "image_gaps_B", "moments")
    return (
        Term("fool", partial(added, loss=fool_logistic_scales), ("fake_A2", "fake_B2"), weights.fool),
        Term("latent_regression", regression, ("read_A", "z", "read_B", "z"), weights.latent_regression),
        replace(ds, loss=partial(added, loss=ds.loss, inputs=2), reads=of_both("picture", "other")),
        replace(seek, loss=partial(added, loss=seek.loss, inputs=2), reads=seen),
        contrast,
        Term("distance", distance, apart, weights.distance, across=True),
    )
