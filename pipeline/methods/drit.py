"""DRIT (Lee et al. 2018): contents that two domains share, attributes that each has; pictures from any two of them.

Four rows, in the published order. The discriminators of pictures, then that of contents, which trains at every step,
the others at every `d_iter`-th (the first of each so many here, the last as released). Then E_c, E_a and G by what they
encode; then E_c and G by random codes, through E_a as it stands, with all that keeps pictures diverse: MSGAN's term,
which DRIT's second release has on (profile `released`), or the contrast of DivCo (Liu et al. 2021), which is on by
default. That last row draws its own pictures: DRIT's release goes through graphs of networks that have stepped.
Profile `divco_released` reduces and judges as DivCo's release. The first half of a batch is encoded and translated; of
the second D_A2 and D_B2 take their real pictures, and nobody else sees them.
Reproduce: `python -m pipeline.pretrain configs/pretrain_drit_avatars.yaml`.

`h` encoded pictures of each domain in this process, half of its share; `S` side, `Z` latent dimension, `C` channels of
a content, `N` negatives. Domains are 0 (A) and 1 (B); pairs of anything are in this order.
"""

from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any, cast

import torch
from torch import Tensor, nn

from losses.diversity import gaps, pair_gaps
from losses.translation import kl_to_normal, mean_square
from models.conditional.drit import ConcatGenerator, ContentEncoder, FeaturewiseGenerator
from pipeline.draws import StepDraws
from pipeline.methods.diversity import contrasts, frozen_call, neighbours, pooled
from pipeline.methods.drit_settings import Settings
from pipeline.methods.drit_terms import (
    DOMAINS,
    JUDGES,
    content_terms,
    encoded_terms,
    image_terms,
    random_terms,
)
from pipeline.nets import Nets
from pipeline.phase import Method, Phase, When, pulling

Pair = tuple[Tensor, Tensor]
# Tensors by name, and lists of logit maps: one a scale, as losses.translation reads them.
Found = dict[str, Any]


@dataclass(frozen=True)
class Attributes:
    """A code [h, Z], drawn with its mean and log-variance, or the mean itself where nothing is drawn (None)."""

    code: Tensor
    mean: Tensor
    log_variance: Tensor | None


@dataclass(frozen=True)
class Encoded:
    """What the rows of one step have in common while E_c, E_a and G stand still: made once, with its graph.

    fakes: of each domain [h, 3, S, S], from the other's contents and its own attributes.
    """

    contents: Pair
    attributes: tuple[Attributes, Attributes]
    fakes: Pair


def length_of_codes(generator: nn.Module) -> int:
    """Z, of either kind of generator."""
    return cast(ConcatGenerator | FeaturewiseGenerator, generator).latent_dim


def half(draws: StepDraws) -> StepDraws:
    """Draws for the pictures that are encoded: of half the batch, this process's part."""
    return draws.sized(draws.count // 2)


def reals(draws: StepDraws) -> tuple[Pair, Pair]:
    """Pictures [h, 3, S, S] of both domains that are encoded, and those for D_A2 and D_B2."""

    def take() -> tuple[Pair, Pair]:
        a, b = (draws.of_domain(domain, name) for domain, name in enumerate(DOMAINS))
        count = len(a) // 2
        return (a[:count], b[:count]), (a[count:], b[count:])

    return draws.shared("reals", take)


def content_of(
    nets: Nets, draws: StepDraws, settings: Settings, pictures: Tensor, domain: int, name: str
) -> Tensor:
    """Content [h, C, S/4, S/4] of pictures of a domain, with the noise of that name."""
    encoder, noise = nets.of(ContentEncoder, "E_c"), None
    if settings.content_noise > 0:
        drawn = half(draws).normal(f"{name} content {DOMAINS[domain]}", *encoder.content_shape)
        noise = settings.content_noise * drawn
    content: Tensor = encoder(pictures, domain, noise)
    return content


def attributes_of(nets: Nets, draws: StepDraws, pictures: Tensor, domain: int, name: str) -> Attributes:
    """Attributes of pictures of a domain, drawn with the noise of that name."""
    read = nets.modules["E_a"](pictures, domain)
    if isinstance(read, Tensor):
        return Attributes(read, read, None)
    mean, log_variance = read
    noise = half(draws).normal(f"{name} attributes {DOMAINS[domain]}", mean.shape[1])
    return Attributes(mean + (log_variance / 2).exp() * noise, mean, log_variance)


def contents(nets: Nets, draws: StepDraws, settings: Settings) -> Pair:
    """Contents of this step's pictures, for D_content and, until E_c has moved, for everybody."""

    def make() -> Pair:
        (a, b), _ = reals(draws)
        own = draws.common()
        return content_of(nets, own, settings, a, 0, "own"), content_of(nets, own, settings, b, 1, "own")

    return draws.shared("contents", make, again=True)


def encoded(nets: Nets, draws: StepDraws, settings: Settings) -> Encoded:
    """The first translation of this step, for the discriminators and, until G has moved, for it."""

    def make() -> Encoded:
        (a, b), _ = reals(draws)
        generator, own, held = nets.modules["G"], draws.common(), contents(nets, draws, settings)
        read = attributes_of(nets, own, a, 0, "own"), attributes_of(nets, own, b, 1, "own")
        return Encoded(held, read, (generator(held[1], read[0].code, 0), generator(held[0], read[1].code, 1)))

    return draws.shared("encoded", make, again=True)


def judged(judge: nn.Module, *groups: Tensor) -> list[list[Tensor]]:
    """Logit maps of groups of pictures [h, 3, S, S], a list for each group, in one pass."""
    scales: list[Tensor] = judge(torch.cat(groups))
    return [list(maps) for maps in zip(*(scale.chunk(len(groups)) for scale in scales), strict=True)]


def critic_images(nets: Nets, draws: StepDraws, settings: Settings) -> Found:
    """D_A and D_B against pictures of read attributes, D_A2 and D_B2 against those of random codes."""
    firsts, seconds = reals(draws)
    made, generator, own = encoded(nets, draws, settings), nets.modules["G"], half(draws)
    codes = [
        own.normal(name, length_of_codes(generator)) for name in ("z", "z2")[: 1 + settings.seconds_in_d]
    ]
    found: Found = {}
    for domain, name in enumerate(DOMAINS):
        with torch.no_grad():
            random = generator(made.contents[1 - domain], torch.cat(codes), domain).chunk(len(codes))
        real, fake = judged(nets.modules[f"D_{name}"], firsts[domain], made.fakes[domain].detach())
        other, *fakes = judged(nets.modules[f"D_{name}2"], seconds[domain], *random)
        found |= {f"real_{name}": real, f"fake_{name}": fake}
        # Every random picture is set against the real ones anew, as released.
        found |= {f"real_{name}2": other * len(codes), f"fake_{name}2": list(chain(*fakes))}
    return found


def critic_content(nets: Nets, draws: StepDraws, settings: Settings) -> Found:
    """D_content on both domains' contents; B's are the real ones."""
    shared = draws.step % settings.d_iter == 0
    with torch.set_grad_enabled(shared):
        a, b = contents(nets, draws, settings)
    real, fake = nets.modules["D_content"](torch.cat([b, a]).detach()).chunk(2)
    return {"real": real, "fake": fake}


def artist_encoded(nets: Nets, draws: StepDraws, settings: Settings) -> Found:
    """E_c, E_a and G: translated with read attributes, and back; each picture from its own content and attributes."""
    made, generator, (firsts, _) = encoded(nets, draws, settings), nets.modules["G"], reals(draws)
    again = [content_of(nets, draws, settings, made.fakes[d], d, "back") for d in (0, 1)]
    read = [attributes_of(nets, draws, made.fakes[d], d, "back").code for d in (0, 1)]
    found: Found = {}
    for domain, name in enumerate(DOMAINS):
        own, content = made.attributes[domain], made.contents[domain]
        found |= {f"fake_{name}": nets.modules[f"D_{name}"](made.fakes[domain]), f"x_{name}": firsts[domain]}
        found |= {f"content_{name}": content, f"told_{name}": nets.modules["D_content"](content)}
        found[f"self_{name}"] = generator(content, own.code, domain)
        # The content of a picture went into its translation, which is of the other domain.
        found[f"back_{name}"] = generator(again[1 - domain], read[domain], domain)
        found[f"kl_{name}"] = attribute_cost(own, draws)
    return found


def attribute_cost(read: Attributes, draws: StepDraws) -> Tensor:
    """What codes pay for not being normal. The divergence is a sum over the batch: the mean over shares of it is that
    sum, however many they are."""
    if read.log_variance is None:
        return mean_square(read.mean)
    return kl_to_normal(read.mean, read.log_variance) * draws.stride


def artist_random(nets: Nets, draws: StepDraws, settings: Settings) -> Found:
    """E_c and G: pictures of random codes, judged, read back through E_a as it stands, and kept apart."""
    (firsts, _), generator, own, weights = reals(draws), nets.modules["G"], half(draws), settings.weights
    z, z2 = (own.normal(name, length_of_codes(generator)) for name in ("z", "z2"))
    around = neighbours(z, own, settings) if settings.contrasts_at(draws.step) else []
    seeking = weights.mode_seeking > 0
    second = [z2] if seeking or settings.spreads_at(draws.step) else []
    codes = [z, *around, *second]
    found: Found = {"z": z}
    held = [content_of(nets, draws, settings, firsts[domain], domain, "random") for domain in (0, 1)]
    for target, name in enumerate(DOMAINS):
        pictures = generator(held[1 - target], torch.cat(codes), target).chunk(len(codes))
        seen = [pictures[0]]
        if settings.second_judged:
            seen += pictures[2:3] * bool(around) + pictures[-1:] * seeking
        found[f"fake_{name}2"] = list(chain(*judged(nets.modules[f"D_{name}2"], *seen)))
        found[f"picture_{name}"] = pictures[0]
        if second:
            found[f"other_{name}"] = pictures[-1]
        if seeking:
            found[f"picture_gaps_{name}"] = draws.together(gaps(pictures[0], pictures[-1]))
            found["code_gaps"] = draws.together(gaps(z, z2))
        if weights.distance > 0:
            found[f"source_gaps_{name}"] = pair_gaps(draws.together(firsts[1 - target]))
            found[f"image_gaps_{name}"] = pair_gaps(draws.together(pictures[0]))
            found["moments"] = nets.memory["distance_moments"]
        read_back(nets, settings, found, pictures[: 1 + len(around)], target, draws.stride)
    return found


def read_back(
    nets: Nets, settings: Settings, found: Found, pictures: tuple[Tensor, ...], target: int, stride: int
) -> None:
    """Adds to `found` what latent_regression and divco read of query, positive and negatives of a target domain.

    divco [h] adds up both directions.
    """
    contrasting, by_attributes = len(pictures) > 1, settings.divco_features == "attribute_encoder"
    features = torch.cat(pictures)
    if settings.weights.latent_regression > 0 or (contrasting and by_attributes):
        read = nets.modules["E_a"](features if by_attributes else pictures[0], target)
        mean = read if isinstance(read, Tensor) else read[0]
        found[f"read_{DOMAINS[target]}"] = mean[: len(pictures[0])]
        features = mean if by_attributes else features
    if contrasting:
        if not by_attributes:
            features = pooled(
                frozen_call(nets.of(ContentEncoder, "E_c"), nn.Module.__call__, features, target)
            )
        values = contrasts(features.view(len(pictures), len(pictures[0]), -1), settings, stride)
        found["divco"] = found["divco"] + values if "divco" in found else values


def method(settings: Settings) -> Method:
    """D_images, D_content, EG1, EG2."""
    artists, often = ("E_c", "E_a", "G"), When(every=settings.d_iter)
    images, told, first, second = (
        partial(forward, settings=settings)
        for forward in (critic_images, critic_content, artist_encoded, artist_random)
    )
    phases = pulling(
        Phase("D_images", JUDGES, images, image_terms(settings), often, lends=artists),
        Phase("D_content", ("D_content",), told, content_terms(settings), lends=("E_c",), clip=settings.clip),
        Phase("EG1", artists, first, encoded_terms(settings), often),
        Phase("EG2", ("E_c", "G"), second, random_terms(settings), often),
    )
    optimisers = dict.fromkeys((*artists, *JUDGES), settings.adam(settings.lr))
    return Method("drit", phases, optimisers | {"D_content": settings.adam(settings.lr_content)}, {})
