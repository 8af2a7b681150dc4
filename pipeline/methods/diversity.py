"""Diversity terms for any conditional generator: one definition, whatever the networks.

A base method hands over functions that draw; these turn them into what the losses of losses.diversity read. Terms
whose weight is 0 cost nothing. `b` pictures of this process, `N` negatives, `Z` latent dimension, `F` features.

Definitions and published weights: StarGAN v2 (ds), MSGAN (mode_seeking), DivCo (divco), BicycleGAN and DRIT
(latent_regression), DistanceGAN (distance).
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call

from losses.diversity import Moments, contrast, distance_preservation
from losses.latents import apart, near
from pipeline.draws import StepDraws
from pipeline.methods.settings import Frozen, value
from pipeline.phase import Term, When

DIVERSITY: Mapping[str, float] = {
    "ds": 1.0,
    "mode_seeking": 1.0,
    "divco": 0.3,
    "latent_regression": 0.5,
    "distance": 0.1,
}


class DiversityWeights(Frozen):
    """Weights of the diversity terms; which of them are on by default is the base method's matter."""

    ds: float = value(
        0.0, "distance of two pictures of one condition, maximised", "StarGAN v2: 1 or 2", low=0
    )
    mode_seeking: float = value(0.0, "1 / (distance of pictures / distance of codes)", "MSGAN: 1", low=0)
    divco: float = value(
        0.0, "contrast of a latent's neighbours with other latents", "DivCo's release: 0.1 to 1", low=0
    )
    latent_regression: float = value(0.0, "code read back from the picture", "BicycleGAN: 0.5", low=0)
    distance: float = value(
        0.0, "distances between conditions kept between pictures", "DistanceGAN: 1", low=0
    )


class DiversitySettings(Frozen):
    """How the diversity terms are drawn and reduced."""

    mode_seeking_eps: float = value(1e-5, "added to the ratio of mode_seeking", "MSGAN's release", low=0)
    divco_radius: float = value(0.01, "half side of the cube of positive latents", "DivCo's release", low=0)
    divco_temperature: float = value(
        0.2, "temperature of the contrast", "Graft; DivCo's release: 1", low=0.01
    )
    divco_negatives: int = value(8, "negative latents of each query", "Graft; DivCo's release: 10", low=1)
    divco_normalise: bool = value(True, "features of length 1", "DivCo; off in its release")
    divco_reduction: Literal["mean", "sum"] = value("mean", "over the batch", "Graft; DivCo's release: sum")
    divco_every: int = value(1, "contrast on every k-th step", "Graft", "steps", low=1)


def neighbours(z: Tensor, draws: StepDraws, settings: DiversitySettings) -> list[Tensor]:
    """The positive and the N negatives of latents z [b, Z]: N + 1 tensors [b, Z], exact at any radius."""
    radius, dim = settings.divco_radius, z.shape[1]
    positive = near(z, draws.uniform("divco positive", dim), radius)
    negatives = [
        apart(z, draws.uniform(f"divco negative {k}", dim), radius) for k in range(settings.divco_negatives)
    ]
    return [positive, *negatives]


def contrasts(features: Tensor, settings: DiversitySettings, stride: int = 1) -> Tensor:
    """Per query the contrast of features [N + 2, b, F] (query, positive, negatives): [b].

    stride: of how many shares of the batch this is one; a sum must count every share, whose gradients are averaged.
    """
    each = contrast(features, settings.divco_temperature, settings.divco_normalise)
    return each * stride if settings.divco_reduction == "sum" else each


def contrast_term(weight: float, settings: DiversitySettings) -> Term:
    """The term `divco`, which reads the tensor of that name [b]."""
    reduce = summed if settings.divco_reduction == "sum" else averaged
    return Term("divco", reduce, ("divco",), weight, When(every=settings.divco_every))


def kept_distances(source_gaps: Tensor, image_gaps: Tensor, moments: Tensor) -> Tensor:
    """Distance preservation of gaps [P] where sources and pictures have the same moments [2]: those of all domains."""
    both = Moments(float(moments[0]), float(moments[1]))
    return distance_preservation(source_gaps, image_gaps, both, both)


def averaged(values: Tensor) -> Tensor:
    """Mean over samples."""
    return values.mean()


def summed(values: Tensor) -> Tensor:
    """Sum over samples, as DivCo's release reduces: its weight grows with the batch."""
    return values.sum()


class Called(nn.Module):
    """A method of a network as a network of its own, so that it can be called with other parameters."""

    def __init__(self, network: nn.Module, call: Callable[..., Any]) -> None:
        super().__init__()
        self.network, self.call = network, call

    def forward(self, *inputs: Any) -> Any:
        """What `call` makes of the network and the inputs."""
        return self.call(self.network, *inputs)


def frozen_call(network: nn.Module, call: Callable[..., Any], *inputs: Any) -> Any:
    """`call(network, *inputs)` with parameters that take no gradient, though others of the phase may train them.

    Gradients reach the inputs alone.
    """
    held: dict[str, Tensor] = {f"network.{key}": p.detach() for key, p in network.named_parameters()}
    return functional_call(Called(network, call), held, inputs)


def pooled(features: Tensor) -> Tensor:
    """Maps [B, C, h, w] averaged over positions, vectors [B, F] as they are."""
    return features.mean((2, 3)) if features.ndim == 4 else features


def repeated(values: Tensor, times: int) -> Tensor:
    """[b, ...] -> [times * b, ...]: row t * b + i is row i."""
    return torch.cat([values] * times)
