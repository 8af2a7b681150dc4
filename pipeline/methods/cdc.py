"""CDC: cross-domain correspondence (Ojha et al., CVPR 2021; also known as IDC).

Pictures that lie near each other for the source should lie near each other for the adapted generator, and only a
small part of the latent space, around fixed anchors, has to look like the few pictures as a whole: elsewhere patches
are judged.

Published weight: 1000 on the elementwise mean of KL(source || adapted), one random layer a row (release); the paper
writes KL(adapted || source) summed over layers with 1e3 to 1e4. Differences from the release in `default`: anchors of
spread 0.05 (paper), patch heads at all four taps (paper; release: the first), no leaky ReLU on patch logits, one tap
for real and drawn alike, source and adapted see the same noise, both start from the averaged generator.
Reproduce: `python -m pipeline.adapt configs/adapt_lorelei.yaml method=cdc`.

`b` rows of this process, `D` style dimension, `N` pictures of a consistency group.
"""

from functools import partial
from typing import Literal

import torch
from torch import Tensor

from losses.adversarial import fool_logistic
from losses.distance import distance_consistency
from models.patch_heads import PatchHeads
from models.stylegan2 import Discriminator, Generator
from pipeline.draws import StepDraws
from pipeline.methods.settings import StepSettings, StepWeights, value
from pipeline.methods.stylegan2 import (
    compressed,
    critic_terms,
    fresh_pictures,
    itself,
    mixed_styles,
    path_row,
    r1_row,
)
from pipeline.nets import Nets
from pipeline.phase import Method, Phase, Tensors, Term, When, pulling

PARTS = ("source", "heads")


class PatchSettings(StepSettings):
    """What CDC and RSSA share: anchors and patch heads."""

    image_every: int = value(
        4, "whole pictures are judged on every k-th step, patches on the others", "CDC", low=2
    )
    anchors: int = value(0, "anchors in the latent space; 0: as many as there are pictures", "CDC", low=0)
    anchor_spread: float = value(0.05, "standard deviation around an anchor", "CDC (release: 0.1)", low=0)
    patch_taps: int = value(
        4, "taps of D that patch heads read (as many as there are)", "CDC (release: 1)", low=1
    )
    patch_activate: bool = value(False, "patch logits through sqrt(2) lrelu", "CDC release")
    pictures: int = value(10, "few-shot pictures; filled in from the job", "job", low=1)


class Weights(StepWeights):
    """Weights of CDC."""

    distance: float = value(
        1000.0, "cross-domain distance consistency, elementwise mean", "CDC release", low=0
    )


class Settings(PatchSettings):
    """CDC."""

    weights: Weights = Weights()
    distance_group: int = value(4, "pictures compared with each other", "CDC release: 4", low=2)
    distance_direction: Literal["forward", "reverse"] = value(
        "forward", "forward: KL(source || adapted); reverse: the paper's", "CDC release"
    )
    shared_noise: bool = value(True, "source and adapted see the same noise maps", "Graft (release: not)")


PROFILES: dict[str, dict[str, object]] = {
    "default": {},
    "paper": {"distance_direction": "reverse", "ema_ramp": 0.0, "path_from_source": False},
    "released": {
        "anchor_spread": 0.1,
        "patch_taps": 1,
        "patch_activate": True,
        "anchors": 10,
        "shared_noise": False,
        "ema_ramp": 0.0,
        "path_from_source": False,
    },
}


def anchored_styles(nets: Nets, draws: StepDraws, settings: PatchSettings) -> Tensor:
    """Styles [b, L, D] of latents near the anchors, which are drawn once for the run."""
    generator = nets.of(Generator, "G")
    dim = generator.shape.style_dim
    count = settings.anchors or settings.pictures
    anchors = draws.lasting("anchors", count, dim)
    z = anchors[draws.indices("anchor", count)] + settings.anchor_spread * draws.normal("near", dim)
    return compressed(nets, generator.styles(generator.mapping(z)))


def patch_logits(nets: Nets, draws: StepDraws, settings: PatchSettings, pictures: Tensor) -> Tensor:
    """Logit maps [b, 1, h, h] at this step's tap, one tap for the whole phase."""
    discriminator = nets.of(Discriminator, "D")
    tap = draws.whole_number("tap", 0, min(settings.patch_taps, len(discriminator.taps)))
    logits: Tensor = nets.of(PatchHeads, "heads")(discriminator.tap(pictures, tap), tap)
    return logits


def image_critic(nets: Nets, draws: StepDraws, settings: PatchSettings) -> Tensors:
    """Logits of whole pictures, drawn near the anchors."""
    with torch.no_grad():
        drawn = fresh_pictures(nets, draws, anchored_styles(nets, draws, settings))
    discriminator = nets.of(Discriminator, "D")
    return {"real": discriminator(draws.real()), "fake": discriminator(drawn)}


def patch_critic(nets: Nets, draws: StepDraws, settings: PatchSettings) -> Tensors:
    """Logits of patches of pictures drawn anywhere."""
    with torch.no_grad():
        drawn = fresh_pictures(nets, draws, mixed_styles(nets, draws, settings.mixing))
    return {
        "real": patch_logits(nets, draws, settings, draws.real()),
        "fake": patch_logits(nets, draws, settings, drawn),
    }


def image_artist(nets: Nets, draws: StepDraws, settings: PatchSettings) -> Tensors:
    """The generator's side of `image_critic`."""
    drawn = fresh_pictures(nets, draws, anchored_styles(nets, draws, settings))
    return {"fake": nets.of(Discriminator, "D")(drawn)}


def patch_artist(nets: Nets, draws: StepDraws, settings: PatchSettings) -> Tensors:
    """The generator's side of `patch_critic`."""
    drawn = fresh_pictures(nets, draws, mixed_styles(nets, draws, settings.mixing))
    return {"fake": patch_logits(nets, draws, settings, drawn)}


def neighbours(nets: Nets, draws: StepDraws, settings: Settings) -> Tensors:
    """Features of one group of latents in both generators, up to the deepest layer that any row drew.

    Every process draws its part of the group, and compares all members with each other.
    """
    adapted, source = nets.of(Generator, "G"), nets.of(Generator, "source")
    count, shape = settings.distance_group, adapted.shape
    group = draws.dealt(count, compared=True)
    layers = [draws.whole_number(f"layer{row}", 1, shape.layers - 1) for row in range(count)]
    z = group.normal("group", shape.style_dim)
    noise = group.noise("group noise", shape.noise_sides)
    with torch.no_grad():
        other = noise if settings.shared_noise else group.noise("source noise", shape.noise_sides)
        before = source.features(source.styles(source.mapping(z)), max(layers), other)
    after = adapted.features(adapted.styles(adapted.mapping(z)), max(layers), noise)
    ours, theirs = (
        [group.together(f) if i in layers else f for i, f in enumerate(features)]
        for features in (after, before)
    )
    loss = distance_consistency(ours, theirs, torch.tensor(layers), settings.distance_direction)
    return {"distance": loss}


def with_neighbours(nets: Nets, draws: StepDraws, settings: Settings, image: bool) -> Tensors:
    """A generator row of CDC: its adversarial part and the consistency."""
    tensors = (image_artist if image else patch_artist)(nets, draws, settings)
    return tensors | neighbours(nets, draws, settings) if settings.weights.distance else tensors


def critic_rows(settings: PatchSettings) -> tuple[Phase, Phase, Phase]:
    """D on whole pictures, D and heads on patches, R1 on whole pictures."""
    image, patch = When(every=settings.image_every), When(skip=settings.image_every)
    terms = critic_terms(settings)
    return (
        Phase("D_image", ("D",), partial(image_critic, settings=settings), terms, image),
        Phase("D_patch", ("D", "heads"), partial(patch_critic, settings=settings), terms, patch),
        r1_row(settings),
    )


def method(settings: Settings) -> Method:
    """One image row to three patch rows, consistency on all, R1 and path length as in StyleGAN2."""
    terms = (
        Term("fool", fool_logistic, ("fake",), settings.weights.fool),
        Term("distance", itself, ("distance",), settings.weights.distance),
    )
    image, patch = When(every=settings.image_every), When(skip=settings.image_every)
    phases = pulling(
        *critic_rows(settings),
        Phase("G_image", ("G",), partial(with_neighbours, settings=settings, image=True), terms, image),
        Phase("G_patch", ("G",), partial(with_neighbours, settings=settings, image=False), terms, patch),
        path_row(settings),
    )
    critic = settings.adam(settings.r1_every)
    return Method(
        "cdc",
        phases,
        {"G": settings.adam(settings.path_every), "D": critic, "heads": critic},
        {"G": settings.average()},
    )
