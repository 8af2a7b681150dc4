"""Everything a method needs, so small that a step takes milliseconds: 32 px, widths 8, styles of 16."""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from cluster.engine import Engine, PlainEngine
from models.projector import Projector
from models.stylegan2 import Discriminator, Generator, Shape
from pipeline.building import adaptation_nets
from pipeline.data.domains import Domains
from pipeline.data.held import Held
from pipeline.data.pairs import Pairs
from pipeline.draws import Change, Draws
from pipeline.families import FAMILIES, Opened
from pipeline.job import Job, Pretrain
from pipeline.load import Model, mean_style
from pipeline.methods import METHODS, PRETRAINING
from pipeline.methods.rssa import Settings as RSSASettings
from pipeline.methods.rssa import alphas
from pipeline.methods.settings import StepSettings
from pipeline.trainer import Trainer

WIDTHS = {4: 8, 8: 8, 16: 8, 32: 8}
SHAPE = Shape(32, WIDTHS, 16, 2)
CPU = torch.device("cpu")
NETWORKS: dict[str, dict[str, Any]] = {
    "stylegan2": {"size": 32, "widths": WIDTHS, "style_dim": 16, "mapping_layers": 2},
    "stargan2": {"size": 32, "base": 256, "widest": 12, "style_dim": 6, "latent_dim": 4, "hidden_dim": 10},
    "dcgan": {"size": 32, "latent_dim": 5, "width": 4},
    "bicycle": {"size": 32, "latent_dim": 4, "width": 4},
    "drit": {"size": 32, "latent_dim": 3, "width": 2},
}


def trained_a_little(module: nn.Module, seed: int) -> None:
    """Biases and noise strengths away from zero, where a network that has learnt has them."""
    rng = torch.Generator().manual_seed(seed)
    for name, parameter in module.named_parameters():
        if name.endswith(("bias", "noise.weight")):
            parameter.data.add_(torch.randn(parameter.shape, generator=rng) * 0.1)


def source(seed: int = 0) -> Model:
    """A pair in the middle of its training, as it would be loaded."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        generator, discriminator = Generator(SHAPE), Discriminator(SHAPE)
    for number, module in enumerate((generator, discriminator)):
        trained_a_little(module, seed + number)
        module.requires_grad_(False)
    return Model(
        SHAPE, generator, discriminator, None, torch.tensor(0.5), mean_style(generator, 64), {"name": "tiny"}
    )


def pictures(count: int = 10, seed: int = 3, size: int = 32) -> Tensor:
    """uint8 [count, 3, size, size]: coloured blocks, every one different."""
    rng = torch.Generator().manual_seed(seed)
    blocks = torch.randint(0, 256, (count, 3, 4, 4), generator=rng, dtype=torch.uint8)
    return blocks.repeat_interleave(size // 4, 2).repeat_interleave(size // 4, 3)


def job_of(name: str, **values: Any) -> Job | Pretrain:
    """A job of either table."""
    if name in METHODS:
        return Job(method=name, **{"batch": 4, **values})
    return Pretrain.model_validate(
        {"name": "tiny", "method": name, "network": NETWORKS[name], "batch": 4, "steps": 100} | values
    )


def data_of(name: str, seed: int = 0, domains: int = 3, size: int = 32) -> Opened:
    """What a method of PRETRAINING is trained on."""
    if name == "stylegan2":
        return Opened(Held(pictures(), None, seed), None, 10)
    if name == "bicycle":
        return Opened(Pairs(pictures(10, 20, size), pictures(10, 21, size), seed), None, 10)
    domains = 2 if name == "drit" else domains
    sets = {f"domain {d}": Held(pictures(6, 30 + d, size), None, seed) for d in range(domains)}
    return Opened(Domains(sets, seed), None, 6 * domains)


def projector(settings: StepSettings) -> Projector | None:
    if not isinstance(settings, RSSASettings):
        return None
    codes = torch.randn(10, SHAPE.layers, SHAPE.style_dim, generator=torch.Generator().manual_seed(4))
    return Projector.from_codes(codes, alphas(settings, SHAPE.style_sides, SHAPE.size, 10))


def trainer(
    name: str, engine: Engine | None = None, parts: int = 1, domains: int = 3, **values: Any
) -> Trainer:
    """The trainer of a method in METHODS or PRETRAINING; in torch's default type."""
    job = job_of(name, **values)
    settings = job.method_settings()
    engine = engine or PlainEngine(CPU)
    if isinstance(job, Job):
        method, data = METHODS[name].table(settings), Opened(Held(pictures(), None, job.seed), None, 10)
        start = copy.deepcopy(source())
        nets = adaptation_nets(job, settings, method, start, projector(settings), engine.device)
    else:
        method, data = (
            PRETRAINING[name].table(settings),
            data_of(name, job.seed, domains, job.network["size"]),
        )
        nets = FAMILIES[name].nets(job, method, data, engine.device)
    for module in (*nets.modules.values(), *nets.twins.values()):
        module.to(torch.get_default_dtype())
    nets.memory = {key: held.to(torch.get_default_dtype()) for key, held in nets.memory.items()}
    draws = Draws(
        job.seed,
        job.batch,
        engine.device,
        data.data,
        Change(job.data.flip, getattr(settings, "crop", 0.0)),
        engine.rank,
        engine.world,
        parts,
        engine.gather,
        getattr(settings, "group", getattr(settings, "stddev_group", 1)),
    )
    return Trainer(method, nets, draws, engine, parts)
