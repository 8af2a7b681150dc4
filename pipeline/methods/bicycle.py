"""BicycleGAN (Zhu et al. 2017): many pictures of one source, learned from pairs, with any diversity term.

Three rows, in the published order: G and E together, then the discriminator of encoded pictures and that of random
ones. The first half of a batch is encoded and translated; of the second only the wanted pictures are used, as what D2
takes for real. What reads codes back (latent_regression, divco) pulls on G alone: through E as it stands.
DivCo (Liu et al. 2021) is `diversity: divco`, with the code read by E, or by the way down of G (profile `paper`).
Its release computes the contrast here and never differentiates it, with latent_regression off: what was published with
it has neither. Profile `released` is therefore BicycleGAN's, and what DivCo's release would contrast with.
Reproduce: `python -m pipeline.pretrain configs/pretrain_bicycle_emoji.yaml train=FOLDER`.

`h` encoded pictures of this process, half of its share; `S` side, `Z` latent dimension, `N` negatives, `K` random codes
of a source: 1 (the query), or N + 2 where the contrast is on.
"""

import math
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

import torch
from torch import Tensor

from losses.diversity import gaps, latent_regression
from losses.translation import fake_square, fool_square, kl_to_normal, mean_absolute, real_square
from models.conditional.bicycle import Discriminator, Encoder, Generator, dropout_masks
from pipeline.draws import StepDraws
from pipeline.methods import conditional
from pipeline.methods.conditional import diversity_terms
from pipeline.methods.diversity import averaged, contrasts, frozen_call, neighbours, pooled
from pipeline.methods.settings import Frozen, value
from pipeline.nets import Nets
from pipeline.phase import Adam, Method, Phase, Ramp, Tensors, Term, Weight, pulling


class Network(Frozen):
    """Sizes of the four networks."""

    size: int = value(256, "side of the picture, a power of two", "BicycleGAN", "pixels", low=32, high=1024)
    latent_dim: int = value(8, "length of a latent", "BicycleGAN", low=1)
    width: int = value(64, "channels at half the side, an even number", "BicycleGAN", "channels", low=2)


class Weights(conditional.Weights):
    """Weights of the terms (Zhu et al. 2017, as released)."""

    fool: float = value(1.0, "least squares of encoded pictures, in G and E", "BicycleGAN", low=0)
    fool_random: float = value(1.0, "least squares of random pictures, in G", "BicycleGAN", low=0)
    pixels: float = value(10.0, "encoded picture against the true one", "BicycleGAN", low=0)
    kl: float = value(
        0.01, "divergence of E's codes from the normal, summed over the batch", "BicycleGAN", low=0
    )
    real: float = value(1.0, "least squares of real pictures, in D1 and D2", "BicycleGAN", low=0)
    fake: float = value(1.0, "least squares of made pictures, in D1 and D2", "BicycleGAN", low=0)
    latent_regression: float = conditional.diversity_weight("latent_regression", 0.5)


class Settings(conditional.Settings):
    """BicycleGAN's optimiser and dropout, and what the contrast compares."""

    group: ClassVar[int] = 2  # a share of the batch has two halves

    weights: Weights = Weights()
    lr: float = value(2e-4, "learning rate of all networks", "BicycleGAN", low=0, high=1)
    beta1: float = value(0.5, "first beta of Adam; the second is 0.999", "BicycleGAN", low=0, high=1)
    lr_fall: float = value(
        0.5, "last share of the run, in which the learning rate falls to 0", "BicycleGAN", low=0, high=1
    )
    dropout: float = value(
        0.5,
        "chance of each value of G's inner levels to be dropped in training",
        "BicycleGAN's scripts",
        low=0,
        high=0.9,
    )
    divco_features: Literal["encoder", "generator_encoder"] = value(
        "encoder",
        "what the contrast compares: E's mean, or G's bottleneck for a code of zeros",
        "DivCo's release; its paper: generator_encoder",
    )

    @property
    def rate(self) -> Weight:
        """The learning rate, which stays and then falls."""
        falling = math.ceil(self.lr_fall * self.steps)
        return Ramp(self.lr, 0.0, falling, self.steps - falling) if falling else self.lr


PROFILES: dict[str, dict[str, object]] = {
    "default": {},
    "paper": {"divco_features": "generator_encoder"},
    "released": {"divco_normalise": False, "divco_reduction": "sum"},
}


@dataclass(frozen=True)
class Made:
    """The codes and pictures of a step: with their graph until G and E step, numbers afterwards.

    mean, log_variance [h, Z] of E; codes [K, h, Z], the query first; encoded [h, 3, S, S], random [K h, 3, S, S].
    """

    mean: Tensor
    log_variance: Tensor
    codes: Tensor
    encoded: Tensor
    random: Tensor

    @property
    def query(self) -> Tensor:
        """The one random picture of each source that is judged: [h, 3, S, S]."""
        return self.random[: len(self.mean)]


def half(draws: StepDraws) -> StepDraws:
    """Draws for the rows that are encoded: of half the batch, this process's part."""
    return draws.common().sized(draws.count // 2)


def pairs(draws: StepDraws) -> tuple[Tensor, Tensor, Tensor]:
    """Sources and true pictures of the first half, and the second half's true ones: [h, 3, S, S] each."""

    def take() -> tuple[Tensor, Tensor, Tensor]:
        a, b = draws.pairs()
        count = len(a) // 2
        return a[:count], b[:count], b[count:]

    return draws.shared("pairs", take)


def dropped(generator: Generator, own: StepDraws, name: str, blocks: int, rate: float) -> list[Tensor] | None:
    """Dropout masks for `blocks` pictures of each source, one [blocks h, C, H, W] a level; None without dropout."""
    if rate == 0:
        return None
    drawn = [
        own.uniform(f"dropout {name} {i}", blocks, *shape) for i, shape in enumerate(generator.mask_shapes)
    ]
    return dropout_masks([u.transpose(0, 1).flatten(0, 1).to(torch.get_default_dtype()) for u in drawn], rate)


def made(nets: Nets, draws: StepDraws, settings: Settings) -> Made:
    """The pictures of this step: all by one pass of G, in which no picture knows of another."""

    def make() -> Made:
        generator, own, (a, b, _) = nets.of(Generator, "G"), half(draws), pairs(draws)
        mean, log_variance = nets.of(Encoder, "E")(b)
        code = mean + (log_variance / 2).exp() * own.normal("noise", generator.latent_dim)
        query = own.normal("query", generator.latent_dim)
        around = neighbours(query, own, settings) if settings.contrasts_at(draws.step) else []
        codes = torch.stack([query, *around])
        masks = dropped(generator, own, "made", 1 + len(codes), settings.dropout)
        pictures = generator(a, torch.cat([code[None], codes]).flatten(0, 1), masks)
        return Made(mean, log_variance, codes, pictures[: len(a)], pictures[len(a) :])

    return draws.shared("made", make)


def artist(nets: Nets, draws: StepDraws, settings: Settings) -> Tensors:
    """G and E: both kinds of pictures judged, the true picture got back; then what pulls on G alone."""
    fakes, (_, b, _) = made(nets, draws, settings), pairs(draws)
    found = named("encoded", nets.of(Discriminator, "D1")(fakes.encoded))
    found |= named("random", nets.of(Discriminator, "D2")(fakes.query))
    found |= {"back": fakes.encoded, "b": b}
    # A sum over the batch: the mean over shares of it is that sum, however many they are.
    found["kl"] = kl_to_normal(fakes.mean, fakes.log_variance)[None] * draws.stride
    found |= another(nets, draws, settings, fakes)
    return found | codes_read(nets, draws, settings, fakes)


def codes_read(nets: Nets, draws: StepDraws, settings: Settings, fakes: Made) -> Tensors:
    """What latent_regression and divco read, through networks that take no gradient from it."""
    found: Tensors = {}
    count, contrasting = len(fakes.mean), len(fakes.codes) > 1
    by_encoder = contrasting and settings.divco_features == "encoder"
    if by_encoder or settings.weights.latent_regression > 0:
        pictures = fakes.random if by_encoder else fakes.query
        read = frozen_call(nets.of(Encoder, "E"), lambda network, x: network(x)[0], pictures)
        found |= {"read": read[:count], "query": fakes.codes[0]}
    if contrasting:
        features = read if by_encoder else bottleneck(nets, fakes)
        found["divco"] = contrasts(features.view(len(fakes.codes), count, -1), settings, draws.stride)
    return found


def bottleneck(nets: Nets, fakes: Made) -> Tensor:
    """The random pictures on G's way down, [K h, F]; with codes of zeros, so that only the pictures tell them apart."""
    nothing = torch.zeros_like(fakes.codes).flatten(0, 1)
    return pooled(
        frozen_call(nets.of(Generator, "G"), lambda network, x: network.down(x, nothing)[-1], fakes.random)
    )


def another(nets: Nets, draws: StepDraws, settings: Settings, fakes: Made) -> Tensors:
    """What ds and mode_seeking read: a second random picture of each source, with a graph if it is to have one."""
    seeking = settings.weights.mode_seeking > 0
    if not seeking and not settings.spreads_at(draws.step):
        return {}
    generator, own, (a, _, _) = nets.of(Generator, "G"), half(draws), pairs(draws)
    code = own.normal("other", generator.latent_dim)
    with torch.set_grad_enabled(seeking):
        other = generator(a, code, dropped(generator, own, "other", 1, settings.dropout))
    found = {"picture": fakes.query, "other": other}
    if seeking:
        found["picture_gaps"] = draws.together(gaps(fakes.query, other))
        found["code_gaps"] = draws.together(gaps(fakes.codes[0], code))
    return found


def critic_encoded(nets: Nets, draws: StepDraws, settings: Settings) -> Tensors:
    """D1 on the true pictures and on those of their codes, made before G and E stepped."""
    discriminator, (_, b, _) = nets.of(Discriminator, "D1"), pairs(draws)
    fake = made(nets, draws, settings).encoded.detach()
    return named("real", discriminator(b)) | named("fake", discriminator(fake))


def critic_random(nets: Nets, draws: StepDraws, settings: Settings) -> Tensors:
    """D2 on other true pictures and on random ones."""
    discriminator, (_, _, other) = nets.of(Discriminator, "D2"), pairs(draws)
    fake = made(nets, draws, settings).query.detach()
    return named("real", discriminator(other)) | named("fake", discriminator(fake))


def names(of: str) -> tuple[str, ...]:
    """What the maps of logits of the two scales are called."""
    return f"{of}_fine", f"{of}_coarse"


def named(of: str, scales: list[Tensor]) -> Tensors:
    """Maps of logits by their names."""
    return dict(zip(names(of), scales, strict=True))


def fools(*scales: Tensor) -> Tensor:
    """Least squares of made pictures to those taken for real: mean over a scale, sum over scales."""
    return fool_square(scales)


def takes_for_real(*scales: Tensor) -> Tensor:
    """Least squares of real pictures, summed over scales."""
    return real_square(scales)


def takes_for_made(*scales: Tensor) -> Tensor:
    """Least squares of made pictures, summed over scales."""
    return fake_square(scales)


def method(settings: Settings) -> Method:
    """G, D1, D2."""
    weights = settings.weights
    terms = (
        Term("fool", fools, names("encoded"), weights.fool),
        Term("fool_random", fools, names("random"), weights.fool_random),
        Term("pixels", mean_absolute, ("back", "b"), weights.pixels),
        Term("kl", averaged, ("kl",), weights.kl),
        Term("latent_regression", latent_regression, ("read", "query"), weights.latent_regression),
        *diversity_terms(settings),
    )
    judging = (
        Term("real", takes_for_real, names("real"), weights.real),
        Term("fake", takes_for_made, names("fake"), weights.fake),
    )
    phases = pulling(
        Phase("G", ("G", "E"), partial(artist, settings=settings), terms),
        Phase("D1", ("D1",), partial(critic_encoded, settings=settings), judging),
        Phase("D2", ("D2",), partial(critic_random, settings=settings), judging),
    )
    adam = Adam(settings.rate, (settings.beta1, 0.999))
    return Method("bicycle", phases, dict.fromkeys(("G", "E", "D1", "D2"), adam), {})
