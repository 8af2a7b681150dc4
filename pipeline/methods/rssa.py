"""RSSA: relaxed spatial structural alignment (Xiao et al., CVPR 2022).

Keep how positions of a picture relate to each other (self-correlation) and how a position relates to those of
neighbouring pictures (disturbance correlation), and draw the latents towards the span of the inverted few-shot pictures
(latent compression; the projector is part of the model).

Published weights: paper 1 and 1 at every step; release 0.8, and 0.4 every 6th step, on sides 64, 128, 256 of a 256 px
model. `default` follows the release, with sides and alphas relative to the picture, and mends two things: the
disturbed latents are neighbours (the release mixes them, then feeds independent ones), and they are compressed like all
others. `released` keeps both as they are. The distance term of CDC is not part of it.
Reproduce: `python -m pipeline.adapt configs/adapt_lorelei.yaml method=rssa`.

`N` pictures of a consistency group, `L` style layers, `D` style dimension, `S` side of a feature map.
"""

from functools import partial
from typing import Literal

import torch
from torch import Tensor

from losses.adversarial import fool_logistic
from losses.disturbance import disturbance, disturbance_windows
from losses.self_correlation import self_correlation
from models.projector import Projector
from models.stylegan2 import Generator
from pipeline.draws import StepDraws
from pipeline.methods.cdc import PatchSettings, critic_rows, image_artist, patch_artist
from pipeline.methods.settings import StepWeights, value
from pipeline.methods.stylegan2 import itself, path_row
from pipeline.nets import Nets
from pipeline.phase import Method, Phase, Tensors, Term, When, pulling

PARTS = ("source", "heads", "projector")


class Weights(StepWeights):
    """Weights of RSSA."""

    self: float = value(0.8, "self-correlation consistency (alpha)", "RSSA release 0.8, paper 1", low=0)
    cross: float = value(
        0.4, "disturbance correlation consistency (beta)", "RSSA release 0.4, paper 1", low=0
    )


class Settings(PatchSettings):
    """RSSA."""

    weights: Weights = Weights()
    self_group: int = value(4, "pictures of the self-correlation", "RSSA release: 4", low=1)
    self_from: float = value(
        0.25,
        "self-correlation reads feature maps of at least this share of the side",
        "RSSA release: 64 of 256",
    )
    similarity: Literal["pooled", "cosine", "unpooled"] = value(
        "pooled", "pooled: normalise, then average 2 x 2; cosine: the paper's, after pooling", "RSSA release"
    )
    cross_every: int = value(
        6, "disturbance correlation on every k-th step", "RSSA release 6, paper 1", low=1
    )
    cross_group: int = value(4, "neighbours compared with each other", "RSSA release: 4", low=2)
    cross_mix: float = value(
        0.15, "share of an own latent in a neighbour; 1: independent", "RSSA release", low=0, high=1
    )
    cross_compressed: bool = value(
        True, "disturbed latents are compressed too", "RSSA figure 2 (release: not)"
    )
    cross_upto: float = value(
        0.5, "disturbance reads feature maps up to the first of this share of the side", "RSSA"
    )
    compression: tuple[float, ...] = value(
        (0.85, 0.65, 0.45, 0.05, 0.05, 0.0),
        "alpha of the layers at side, side/2, side/4, ...; the last one for all smaller sides",
        "RSSA release, faces",
    )
    inversion_steps: int = value(
        1000, "steps of the inversion of the few-shot pictures", "Graft (release: 4002)", low=1
    )
    inversion_lr: float = value(
        0.1, "learning rate of the inversion, halved four times", "RSSA release", low=0
    )


PROFILES: dict[str, dict[str, object]] = {
    "default": {},
    "paper": {
        "weights": {"self": 1.0, "cross": 1.0},
        "cross_every": 1,
        "similarity": "cosine",
        "ema_ramp": 0.0,
        "path_from_source": False,
    },
    "released": {
        "anchor_spread": 0.1,
        "patch_taps": 1,
        "patch_activate": True,
        "anchors": 10,
        "cross_mix": 1.0,
        "cross_compressed": False,
        "inversion_steps": 4002,
        "ema_ramp": 0.0,
        "path_from_source": False,
    },
}


def alphas(settings: Settings, style_sides: list[int], size: int, pictures: int) -> Tensor:
    """Compression [L] by the side at which a style acts; x 0.4 for a single picture, whose span is a line."""
    table = settings.compression
    octaves = [(size // side).bit_length() - 1 for side in style_sides]
    values = torch.tensor([table[min(octave, len(table) - 1)] for octave in octaves])
    return values * (0.4 if pictures == 1 else 1.0)


def same_styles(nets: Nets, name: str, z: Tensor, compress: bool = True) -> Tensor:
    """Styles [N, L, D] of z through the mapping of `name`."""
    generator = nets.of(Generator, name)
    styles = generator.styles(generator.mapping(z))
    return nets.of(Projector, "projector")(styles) if compress else styles


def own_structure(nets: Nets, draws: StepDraws, settings: Settings) -> Tensor:
    """Self-correlation consistency of this process's part of one group, with the stored noise in both generators."""
    adapted, source = nets.of(Generator, "G"), nets.of(Generator, "source")
    z = draws.dealt(settings.self_group).normal("self", adapted.shape.style_dim)
    least = adapted.shape.size * settings.self_from
    with torch.no_grad():
        before = source.features(same_styles(nets, "source", z), source.shape.layers - 2)
    after = adapted.features(same_styles(nets, "G", z), adapted.shape.layers - 2)
    read = [i for i, side in enumerate(adapted.shape.noise_sides) if side >= least]
    return self_correlation([after[i] for i in read], [before[i] for i in read], settings.similarity)


def disturbed_structure(nets: Nets, draws: StepDraws, settings: Settings) -> Tensor:
    """Disturbance correlation consistency of a latent's neighbours, with the stored noise in both generators."""
    adapted, source = nets.of(Generator, "G"), nets.of(Generator, "source")
    shape, mix = adapted.shape, settings.cross_mix
    dealt = draws.dealt(settings.cross_group, compared=True)
    own = dealt.normal("cross", shape.style_dim)
    z = mix * own + (1 - mix) * draws.group(1).normal("centre", shape.style_dim)
    last = shape.noise_sides.index(round(shape.size * settings.cross_upto))
    with torch.no_grad():
        before = source.features(same_styles(nets, "source", z, settings.cross_compressed), last)
    after = adapted.features(same_styles(nets, "G", z, settings.cross_compressed), last)
    windows = [disturbance_windows(side, shape.size) for side in shape.noise_sides[: last + 1]]
    return disturbance([dealt.together(f) for f in after], [dealt.together(f) for f in before], windows)


def with_structure(nets: Nets, draws: StepDraws, settings: Settings, image: bool) -> Tensors:
    """A generator row of RSSA: its adversarial part and the consistencies that are due."""
    tensors = (image_artist if image else patch_artist)(nets, draws, settings)
    if settings.weights.self:
        tensors["self"] = own_structure(nets, draws, settings)
    if settings.weights.cross and draws.step % settings.cross_every == 0:
        tensors["cross"] = disturbed_structure(nets, draws, settings)
    return tensors


def method(settings: Settings) -> Method:
    """CDC's rows with self-correlation and disturbance correlation in the place of distance."""
    weights = settings.weights
    terms = (
        Term("fool", fool_logistic, ("fake",), weights.fool),
        Term("self", itself, ("self",), weights.self),
        Term("cross", itself, ("cross",), weights.cross, When(every=settings.cross_every)),
    )
    image, patch = When(every=settings.image_every), When(skip=settings.image_every)
    phases = pulling(
        *critic_rows(settings),
        Phase("G_image", ("G",), partial(with_structure, settings=settings, image=True), terms, image),
        Phase("G_patch", ("G",), partial(with_structure, settings=settings, image=False), terms, patch),
        path_row(settings),
    )
    critic = settings.adam(settings.r1_every)
    return Method(
        "rssa",
        phases,
        {"G": settings.adam(settings.path_every), "D": critic, "heads": critic},
        {"G": settings.average()},
    )
