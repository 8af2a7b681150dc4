"""A class-conditional DCGAN (Radford et al. 2016) with two pictures of each label, as MSGAN and DivCo train it.

Two rows: the discriminator against both pictures, the real ones counted with each; then the generator against the
discriminator as it now is, with what keeps its two pictures apart. By default DivCo's contrast (Liu et al. 2021);
`diversity: none` is the plain DCGAN, `diversity: mode_seeking` that of MSGAN (Mao et al. 2019).
DivCo's paper has features of length 1; its radius, temperature and weight are those of the release, which could not be
compared with the text. Profile `released`: raw features through a random projection, summed over the batch.
Left out of it: there the contrast goes through the discriminator as it was before its step, which is an error since
torch 1.5; the discriminator's loss also reaches the generator, whose gradient is thrown away; and in its step
the discriminator sees real pictures twice and the contrasted ones in vain, which only moves its running statistics.
Batch norm couples a batch: every process computes the whole of it, so more processes give the same result, no sooner.
Reproduce: `python -m pipeline.pretrain configs/pretrain_dcgan_mnist.yaml train=FOLDER`.

`B` batch, `S` side, `Z` latent dimension, `N` negatives, `K` contrasted codes of a label: 1 (the query), or N + 2.
"""

from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from losses.adversarial import fake_logistic, fool_logistic, real_logistic
from losses.diversity import gaps
from models.conditional.dcgan import Discriminator, FrozenProjection, Generator
from pipeline.draws import StepDraws
from pipeline.methods import conditional
from pipeline.methods.conditional import diversity_terms
from pipeline.methods.diversity import contrasts, neighbours, pooled
from pipeline.methods.settings import Frozen, value
from pipeline.nets import Nets
from pipeline.phase import Adam, Method, Phase, Tensors, Term, pulling


class Network(Frozen):
    """Sizes of the two networks."""

    size: int = value(
        32, "side of the picture, a power of two", "DivCo's release", "pixels", low=16, high=1024
    )
    latent_dim: int = value(100, "length of a latent", "DCGAN", low=1)
    width: int = value(
        128, "channels at half the side, doubled at each further halving, up to 8 times", "DCGAN", low=1
    )


class Weights(conditional.Weights):
    """Weights of the terms (MSGAN's release: two losses of D, each with the real pictures; all 1)."""

    real: float = value(2.0, "cross-entropy of real pictures, in D", "MSGAN: 1 with each made batch", low=0)
    fake: float = value(1.0, "cross-entropy of the first made batch, in D", "MSGAN", low=0)
    fake_query: float = value(1.0, "cross-entropy of the second, the queries of the contrast", "MSGAN", low=0)
    fool: float = value(1.0, "non-saturating loss of the first made batch", "MSGAN", low=0)
    fool_query: float = value(1.0, "non-saturating loss of the second", "MSGAN", low=0)
    divco: float = conditional.diversity_weight("divco", 1.0)


class Settings(conditional.Settings):
    """DCGAN's optimiser, and how the contrast is made."""

    weights: Weights = Weights()
    lr: float = value(2e-4, "learning rate of both networks", "DCGAN", low=0, high=1)
    beta1: float = value(0.5, "first beta of Adam; the second is 0.999", "DCGAN", low=0, high=1)
    weight_decay: float = value(1e-4, "added to the gradient, as L2", "MSGAN's release", low=0)
    divco_radius: float = value(0.001, "half side of the cube of positive latents", "DivCo's release", low=0)
    divco_features: Literal["discriminator", "frozen_projection"] = value(
        "discriminator",
        "what the contrast compares: the means of D's last map, or that map through a random projection",
        "DivCo; its release: frozen_projection",
    )
    bn: Literal["joint", "split"] = value(
        "joint",
        "batch norm over all codes of a step together, or over each B of them",
        "DivCo's release: joint",
    )


PROFILES: dict[str, dict[str, object]] = {
    "default": {},
    "paper": {},
    "released": {
        "divco_normalise": False,
        "divco_reduction": "sum",
        "divco_features": "frozen_projection",
    },
}


@dataclass(frozen=True)
class Made:
    """The latents and pictures of a step, with their graph: a first one of each label, and the contrasted ones.

    z [B, Z] and codes [K, B, Z], the query first; first [B, 3, S, S] and contrasted [K B, 3, S, S], block after block.
    """

    z: Tensor
    codes: Tensor
    first: Tensor
    contrasted: Tensor

    @property
    def query(self) -> Tensor:
        """The second picture of each label: [B, 3, S, S]."""
        return self.contrasted[: len(self.z)]


def real(draws: StepDraws) -> tuple[Tensor, Tensor]:
    """Pictures [B, 3, S, S] and labels [B] of the whole batch, which the made pictures have too."""
    return draws.shared("real", lambda: draws.group(draws.count).labelled("x", False))


def latents(nets: Nets, draws: StepDraws, settings: Settings) -> tuple[Tensor, Tensor]:
    """z [B, Z] and codes [K, B, Z] of this step."""
    common, dim = draws.group(draws.count).common(), nets.of(Generator, "G").latent_dim
    query = common.normal("query", dim)
    around = neighbours(query, common, settings) if settings.contrasts_at(draws.step) else []
    return common.normal("z", dim), torch.stack([query, *around])


def made(nets: Nets, draws: StepDraws, settings: Settings) -> Made:
    """The pictures of this step, for D and, as G has not moved by then, for G."""

    def make() -> Made:
        generator, (_, y) = nets.of(Generator, "G"), real(draws)
        z, codes = latents(nets, draws, settings)
        together = torch.cat([z[None], codes])
        if settings.bn == "joint":
            pictures = generator(together.flatten(0, 1), y)
        else:
            pictures = torch.cat([generator(code, y) for code in together])
        return Made(z, codes, pictures[: len(z)], pictures[len(z) :])

    return draws.shared("made", make)


def critic(nets: Nets, draws: StepDraws, settings: Settings) -> Tensors:
    """D on the real pictures and on both made ones, each a batch of its own."""
    discriminator, (x, y), fakes = nets.of(Discriminator, "D"), real(draws), made(nets, draws, settings)
    return {
        "real": discriminator(x, y),
        "fake": discriminator(fakes.first.detach(), y),
        "fake_query": discriminator(fakes.query.detach(), y),
    }


def artist(nets: Nets, draws: StepDraws, settings: Settings) -> Tensors:
    """G, seen by D as it is after its step, which takes no gradient; the contrast reads the same pass."""
    discriminator, (_, y), fakes = nets.of(Discriminator, "D"), real(draws), made(nets, draws, settings)
    first = discriminator(fakes.first, y)
    if settings.bn == "joint":
        body = discriminator.body(fakes.contrasted, y)
    else:
        body = torch.cat([discriminator.body(block, y) for block in fakes.contrasted.chunk(len(fakes.codes))])
    found = {"fake": first, "fake_query": discriminator.head(body[: len(y)])}
    found |= {"picture": fakes.first, "other": fakes.query}
    if settings.weights.mode_seeking > 0:
        found["picture_gaps"] = gaps(fakes.first, fakes.query)
        found["code_gaps"] = gaps(fakes.z, fakes.codes[0])
    if settings.contrasts_at(draws.step):
        features = seen(nets, body, settings)
        found["divco"] = contrasts(features.view(len(fakes.codes), len(y), -1), settings)
    return found


def seen(nets: Nets, body: Tensor, settings: Settings) -> Tensor:
    """The features [K B, F] that the contrast compares, of D's last map."""
    if settings.divco_features == "discriminator":
        return pooled(body)
    features: Tensor = nets.of(FrozenProjection, "projection")(body)
    return features


def method(settings: Settings) -> Method:
    """D, G."""
    weights = settings.weights
    on_d = (
        Term("real", real_logistic, ("real",), weights.real),
        Term("fake", fake_logistic, ("fake",), weights.fake),
        Term("fake_query", fake_logistic, ("fake_query",), weights.fake_query),
    )
    on_g = (
        Term("fool", fool_logistic, ("fake",), weights.fool),
        Term("fool_query", fool_logistic, ("fake_query",), weights.fool_query),
        *diversity_terms(settings),
    )
    phases = pulling(
        Phase("D", ("D",), partial(critic, settings=settings), on_d, whole=True, lends=("G",)),
        Phase("G", ("G",), partial(artist, settings=settings), on_g, whole=True),
    )
    adam = Adam(settings.lr, (settings.beta1, 0.999), weight_decay=settings.weight_decay)
    return Method("dcgan", phases, {"G": adam, "D": adam}, {})
