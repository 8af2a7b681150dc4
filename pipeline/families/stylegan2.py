"""StyleGAN2 sources: pictures in, a generator with its discriminator out."""

from typing import Any

import torch
from torch import Tensor, nn

from models.stylegan2 import Discriminator, Generator
from pipeline.building import fresh, shape_of
from pipeline.data.held import open_set
from pipeline.data.shipped import credits_of
from pipeline.families.family import Family, Opened, Watched
from pipeline.inputs import eyes, heldout_pictures
from pipeline.job import Pretrain
from pipeline.judging.alone import judge_alone
from pipeline.judging.evaluator import Judgement
from pipeline.load import Model, mean_style
from pipeline.nets import Nets
from pipeline.phase import Method
from pipeline.pictures import averaged_pictures, fixed_latents

SHOWN = 64


def open_domain(job: Pretrain) -> Opened:
    """The pictures of a config. GraftError names what is wrong with them."""
    size, fit = shape_of(job).size, job.data.fit
    heldout = heldout_pictures(job.heldout, job.train, size, fit)
    train = open_set(job.train, size, fit, seed=job.seed)
    return Opened(train, heldout, train.count, {"credits": credits_of(job.train)})


def fresh_nets(job: Pretrain, method: Method, opened: Opened | None, device: torch.device) -> Nets:
    """A fresh pair."""
    shape, group = shape_of(job), job.method_settings().stddev_group
    modules: dict[str, nn.Module] = {
        "G": fresh(lambda: Generator(shape), job.seed, "G"),
        "D": fresh(lambda: Discriminator(shape, group), job.seed, "D"),
    }
    return Nets(modules, method, {"path_mean": torch.zeros(())}, device)


def watch(job: Pretrain, nets: Nets, opened: Opened, device: torch.device) -> Any:
    """Pictures of the same z, eight a row."""
    z = fixed_latents(SHOWN, shape_of(job).style_dim)
    return lambda: Watched(list(torch.split(averaged_pictures(nets, z, device), 8)))


def scores(job: Pretrain, nets: Nets, opened: Opened, device: torch.device) -> Judgement | None:
    """The distance of the averaged generator to the pictures that it never saw; None where there are none."""
    if opened.heldout is None:
        return None
    eye, _ = eyes(job.judge_weights, device)

    def draw(z: Tensor) -> Tensor:
        return averaged_pictures(nets, z, device)

    return judge_alone(draw, opened.heldout, job.judge, eye, shape_of(job).style_dim, device)


def model(job: Pretrain, nets: Nets, opened: Opened, about: dict[str, Any]) -> Model:
    """The averaged generator, and the discriminator, without which nothing can be adapted."""
    generator, critic = nets.averaged(Generator, "G"), nets.of(Discriminator, "D")
    path_mean, mean = nets.memory["path_mean"], mean_style(generator)
    about = {**about, "stddev_group": critic.group}
    return Model(generator.shape, generator, critic, None, path_mean, mean, about)


FAMILY = Family(shape_of, open_domain, fresh_nets, watch, scores, model)
