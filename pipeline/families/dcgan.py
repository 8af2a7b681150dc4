"""Class-conditional DCGAN: pictures of several classes in, a generator of each class out."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from models.conditional import initialised
from models.conditional.dcgan import Discriminator, FrozenProjection, Generator, widths_of
from pipeline.building import fresh
from pipeline.conditional_model import ClassModel
from pipeline.data.domains import Domains
from pipeline.errors import GraftError
from pipeline.families.family import Family, Opened, Watched
from pipeline.families.labelled import held_of, open_labelled
from pipeline.inputs import eyes
from pipeline.job import Pretrain
from pipeline.judging.classes import judge_classes
from pipeline.judging.diversity import collapse_probe
from pipeline.judging.evaluator import Judgement
from pipeline.methods.dcgan import Network
from pipeline.nets import Nets
from pipeline.phase import Method


def check(job: Pretrain) -> None:
    """ValueError for a side that DCGAN has not."""
    network: Network = job.network_settings()
    widths_of(network.size, network.width)


def open_classes(job: Pretrain) -> Opened:
    """Training pictures of every class, and held-out ones where there are any."""
    network: Network = job.network_settings()
    return open_labelled(job, network.size, "classes")


def fresh_nets(job: Pretrain, method: Method, opened: Opened, device: torch.device) -> Nets:
    """G and D, with weights from N(0, 0.02), and the random projection where the contrast looks through it."""
    network: Network = job.network_settings()
    size, width, classes = network.size, network.width, len(opened.data.names)
    makers: dict[str, Callable[[], nn.Module]] = {
        "G": lambda: initialised(Generator(size, classes, network.latent_dim, width), "dcgan"),
        "D": lambda: initialised(Discriminator(size, classes, width), "dcgan"),
    }
    settings = job.method_settings()
    if settings.weights.divco > 0 and settings.divco_features == "frozen_projection":
        makers["projection"] = lambda: FrozenProjection(widths_of(size, width)[-1])
    modules = {name: fresh(make, job.seed, name) for name, make in makers.items()}
    return Nets(modules, method, {}, device)


def as_it_is(job: Pretrain, nets: Nets, opened: Opened, about: dict[str, Any] | None = None) -> ClassModel:
    """A copy of the generator of this step, which normalises by its running statistics: it has no average."""
    generator = copy.deepcopy(nets.of(Generator, "G")).requires_grad_(False).eval()
    return ClassModel(generator, job.network_settings().width, opened.data.names, about or {})


def watch(job: Pretrain, nets: Nets, opened: Opened, device: torch.device) -> Callable[[], Watched]:
    """A row of each class, of the same latents."""
    eye, _ = eyes(job.judge_weights, device)

    def look() -> Watched:
        rows, labels = as_it_is(job, nets, opened).sheet()
        return Watched(rows, labels, collapse_probe(torch.stack(rows), eye))

    return look


def scores(job: Pretrain, nets: Nets, opened: Opened, device: torch.device) -> Judgement | None:
    """Distance to each class's held-out pictures, diversity, and bins of its training pictures."""
    if opened.heldout is None:
        return None
    eye, _ = eyes(job.judge_weights, device)
    model = as_it_is(job, nets, opened)
    heldout, training = by_label(opened.heldout), binned_by(opened.data)
    return judge_classes(model.draw, heldout, training, job.by_class, eye, model.latent_dim, device)


def by_label(classes: Domains) -> dict[int, Tensor]:
    """All pictures of every class, uint8 [n, 3, S, S], by its label."""
    return dict(enumerate(held_of(classes).values()))


def binned_by(classes: Domains) -> dict[int, Tensor]:
    """The training pictures that bins are fitted to; none where they are too many to hold."""
    try:
        return by_label(classes)
    except GraftError:
        return {}


def model(job: Pretrain, nets: Nets, opened: Opened, about: dict[str, Any]) -> ClassModel:
    """The generator of the last step."""
    return as_it_is(job, nets, opened, about)


FAMILY = Family(check, open_classes, fresh_nets, watch, scores, model)
