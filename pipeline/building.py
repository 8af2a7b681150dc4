"""From a job to its networks."""

import copy
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import nn

from models.patch_heads import PatchHeads
from models.projector import Projector
from models.stylegan2 import Shape
from pipeline.draws import seeded
from pipeline.errors import CONFIG, GraftError
from pipeline.job import Job, Pretrain
from pipeline.load import Model
from pipeline.methods import METHODS
from pipeline.methods.cdc import PatchSettings
from pipeline.methods.settings import Network, StepSettings
from pipeline.nets import Nets
from pipeline.phase import Method

N = TypeVar("N", bound=nn.Module)


def fresh(make: Callable[[], N], seed: int, name: str) -> N:
    """A network whose first parameters depend on (seed, name) alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seeded(torch.device("cpu"), seed, "parameters", name).initial_seed())
        return make()


def shape_of(job: Pretrain) -> Shape:
    """The StyleGAN2 pair that a config asks for; GraftError says what is wrong with it."""
    network: Network = job.network_settings()
    try:
        return Shape(network.size, dict(network.widths), network.style_dim, network.mapping_layers)
    except ValueError as error:
        raise GraftError(f"network: {error}", CONFIG) from error


def adaptation_nets(
    job: Job,
    settings: StepSettings,
    method: Method,
    source: Model,
    projector: Projector | None,
    device: torch.device,
) -> Nets:
    """The source's pair to start from, and the parts that the method names."""
    discriminator = copy.deepcopy(source.critic())
    discriminator.group = settings.stddev_group
    modules: dict[str, nn.Module] = {"G": copy.deepcopy(source.generator), "D": discriminator}
    parts = METHODS[job.method].parts
    if "source" in parts:
        modules["source"] = copy.deepcopy(source.generator)
    if "heads" in parts:
        assert isinstance(settings, PatchSettings)
        taps = discriminator.taps[: settings.patch_taps]
        channels = [tap.channels for tap in taps]
        activate = settings.patch_activate
        modules["heads"] = fresh(lambda: PatchHeads(channels, activate), job.seed, "heads")
    if projector is not None:
        modules["projector"] = copy.deepcopy(projector)
    mean = source.path_mean.clone() if settings.path_from_source else torch.zeros(())
    return Nets(modules, method, {"path_mean": mean}, device)
