"""BicycleGAN: pairs of pictures in, a translator with many outputs of each source out."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from models.conditional import initialised
from models.conditional.bicycle import Discriminator, Encoder, Generator
from pipeline.building import fresh
from pipeline.conditional_model import PairModel
from pipeline.data.pairing import find_pairs
from pipeline.data.pairs import Pairs, open_pairs
from pipeline.data.shipped import credits_of, place_of
from pipeline.families.family import Family, Opened, Watched
from pipeline.inputs import eyes
from pipeline.job import Pretrain
from pipeline.judging.diversity import collapse_probe
from pipeline.judging.evaluator import Judgement
from pipeline.judging.paired import judge_paired
from pipeline.methods.bicycle import Network
from pipeline.nets import Nets
from pipeline.phase import Method
from pipeline.pictures import fixed_latents

SHOWN = 8  # sources in a grid
RANDOM = 4  # codes below each


def makers_of(job: Pretrain) -> dict[str, Callable[[], nn.Module]]:
    """What makes each network, at torch's first values."""
    network: Network = job.network_settings()
    size, dim, width = network.size, network.latent_dim, network.width
    return {
        "G": lambda: Generator(size, dim, width),
        "E": lambda: Encoder(size, dim, width),
        "D1": lambda: Discriminator(size, width),
        "D2": lambda: Discriminator(size, width),
    }


def check(job: Pretrain) -> None:
    """ValueError for sizes that the networks have not; built without memory."""
    with torch.device("meta"):
        for make in makers_of(job).values():
            make()


def open_sets(job: Pretrain) -> Opened:
    """Pairs to train on, and held-out ones where there are any."""
    network: Network = job.network_settings()
    train = open_pairs(job.train, network.size, job.data.fit, job.seed)
    heldout = None
    if job.heldout is not None or keeps_some_apart(job.train):
        where = job.heldout or job.train
        split = "heldout" if keeps_some_apart(where) else "train"
        heldout = open_pairs(where, network.size, job.data.fit, job.seed, split)
    return Opened(train, heldout, train.count, {"credits": credits_of(job.train)})


def keeps_some_apart(where: str) -> bool:
    """Whether a set has held-out pairs of its own."""
    parts, _ = find_pairs(place_of(where))
    return bool(parts.get("heldout"))


def fresh_nets(job: Pretrain, method: Method, opened: Opened, device: torch.device) -> Nets:
    """G, E and both discriminators, with Xavier's weights of gain 0.02."""
    modules = {
        name: fresh(partial(initialised_as_released, make), job.seed, name)
        for name, make in makers_of(job).items()
    }
    return Nets(modules, method, {}, device)


def initialised_as_released(make: Callable[[], nn.Module]) -> nn.Module:
    """A network with the release's first values."""
    return initialised(make(), "bicycle")


def as_it_is(job: Pretrain, nets: Nets, about: dict[str, Any] | None = None) -> PairModel:
    """The networks of this step: they have no averages."""
    return PairModel(
        nets.of(Generator, "G"), nets.of(Encoder, "E"), job.network_settings().width, about or {}
    )


def watch(job: Pretrain, nets: Nets, opened: Opened, device: torch.device) -> Callable[[], Watched]:
    """Sources, true pictures, those of their own codes, and rows of one random code each."""
    pairs: Pairs = opened.heldout or opened.data
    sources, truth = (half[:SHOWN].to(device).float() / 127.5 - 1 for half in (pairs.a, pairs.b))
    eye, _ = eyes(job.judge_weights, device)

    def look() -> Watched:
        model = as_it_is(job, nets)
        z = fixed_latents(RANDOM, model.latent_dim).to(device)
        drawn = [model.draw(sources, code.expand(len(sources), -1)) for code in z]
        rows = [sources, truth, model.draw(sources, model.code(truth)), *drawn]
        labels = ["source", "truth", "encoded", *(f"z {k + 1}" for k in range(RANDOM))]
        return Watched(rows, labels, collapse_probe(torch.stack(drawn, 1), eye))

    return look


def scores(job: Pretrain, nets: Nets, opened: Opened, device: torch.device) -> Judgement | None:
    """Distance to held-out true pictures, diversity, the nearest output, and bins of the training pictures."""
    if opened.heldout is None:
        return None
    eye, _ = eyes(job.judge_weights, device)
    model = as_it_is(job, nets)
    pairs: Pairs = opened.heldout
    training: Tensor = opened.data.b
    return judge_paired(model.draw, pairs.a, pairs.b, job.pairing, eye, model.latent_dim, training, device)


def model(job: Pretrain, nets: Nets, opened: Opened, about: dict[str, Any]) -> PairModel:
    """The networks of the last step, with the last grid."""
    found = as_it_is(job, nets, about)
    watched = watch(job, nets, opened, next(found.generator.parameters()).device)()
    found.shown = (watched.rows, watched.labels)
    return found


FAMILY = Family(check, open_sets, fresh_nets, watch, scores, model)
