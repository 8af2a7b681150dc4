"""A training step of ours and the same step in its released form, from the same weights and the same draws.

The released form runs under our table, phase by phase: same schedule, same draws, same weights of terms, so that
only the way of computing differs. `n` inverted pictures, `L` style layers, `D` style dimension.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.literal import consistency
from benchmarks.literal.discriminator import LiteralDiscriminator, LiteralHeads, ReleasedPatchDiscriminator
from benchmarks.literal.generator import LiteralGenerator
from cluster.engine import Engine, PlainEngine
from losses.disturbance import disturbance_windows
from models.patch_heads import PatchHeads
from models.projector import Projector
from models.stylegan2 import Discriminator, Generator, Shape
from pipeline.building import fresh
from pipeline.draws import Change, Draws, StepDraws, seeded
from pipeline.job import resolved
from pipeline.methods import METHODS, PRETRAINING, Entry, cdc, rssa
from pipeline.methods.settings import StepSettings
from pipeline.nets import Nets
from pipeline.phase import Method, Phase, Tensors
from pipeline.trainer import Trainer

SHOTS = 10
STEPS = 1000  # of a run, which no row of these tables looks at
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Work:
    """What a step is made of; `averages` says whether EMA twins exist."""

    method: str
    shape: Shape
    batch: int
    profile: str = "default"
    averages: bool = False
    seed: int = 0

    @property
    def entry(self) -> Entry:
        return METHODS[self.method] if self.method in METHODS else PRETRAINING[self.method]

    @property
    def settings(self) -> StepSettings:
        return resolved(self.entry, self.profile, {}, {}, SHOTS, STEPS)

    def table(self) -> Method:
        """The method, without averages unless asked for."""
        method = self.entry.table(self.settings)
        return method if self.averages else replace(method, averages={})

    def draws(self) -> Draws:
        """Random numbers of every step, over random pictures."""
        return Draws(self.seed, self.batch, CPU, RandomPictures(self.shape.size), Change(flip=True))


class RandomPictures:
    """SHOTS pictures of noise, in memory."""

    count = SHOTS

    def __init__(self, size: int) -> None:
        self.size = size
        shape = (SHOTS, 3, size, size)
        self._pictures = torch.randint(256, shape, generator=seeded(CPU, "pictures"), dtype=torch.uint8)

    def take(self, counters: Tensor) -> Tensor:
        """counters [b] -> uint8 [b, 3, H, W]."""
        return self._pictures[counters % SHOTS]


class LiteralNets(Nets):
    """Adam and the averages parameter by parameter."""

    def __init__(
        self,
        modules: Mapping[str, nn.Module],
        method: Method,
        memory: Mapping[str, Tensor],
        device: torch.device,
    ) -> None:
        super().__init__(modules, method, memory, device)
        self.optimisers = {
            name: torch.optim.Adam(
                list(self.modules[name].parameters()),
                lr=adam.lr,
                betas=adam.betas,
                eps=adam.eps,
                foreach=False,
                fused=False,
            )
            for name, adam in method.optimisers.items()
        }
        self._averages = method.averages

    @torch.no_grad()
    def follow(self, step: int) -> None:
        """Every EMA twin takes one step towards its network."""
        for name, average in self._averages.items():
            decay = average.decay(step)
            pairs = zip(self.twins[name].parameters(), self.modules[name].parameters(), strict=True)
            for twin, now in pairs:
                twin.mul_(decay).add_(now, alpha=1 - decay)


class TrustingEngine(PlainEngine):
    """No look at the gradients: the releases take none."""

    def sync(self, gradients: list[Tensor], names: Sequence[str] = ()) -> bool:
        """True."""
        return True


@torch.no_grad()
def moved(module: nn.Module, seed: int, name: str, share: float) -> None:
    """Every parameter by `share` of normal noise, relative to its size; zeros get the noise itself, times 0.1."""
    generator = seeded(CPU, seed, name)
    for parameter in module.parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        parameter.add_(noise * torch.where(parameter == 0, 0.1, share * parameter.abs()))


def codes_of(work: Work) -> Tensor:
    """Stand-ins for inverted pictures [n, L, D]."""
    return torch.randn(SHOTS, work.shape.layers, work.shape.style_dim, generator=seeded(CPU, "codes"))


def alphas_of(work: Work) -> Tensor:
    """Compression of each style [L]."""
    settings = work.settings
    assert isinstance(settings, rssa.Settings)
    return rssa.alphas(settings, work.shape.style_sides, work.shape.size, SHOTS)


def modules_of(work: Work) -> dict[str, nn.Module]:
    """Our networks: a random source, and what an adaptation has moved away from it by about a tenth."""
    settings, parts = work.settings, work.entry.parts
    source = fresh(lambda: Generator(work.shape), work.seed, "source")
    moved(source, work.seed, "source", 0.0)
    generator = Generator(work.shape)
    generator.load_state_dict(source.state_dict())
    moved(generator, work.seed, "G", 0.1)
    discriminator = fresh(lambda: Discriminator(work.shape, settings.stddev_group), work.seed, "D")
    moved(discriminator, work.seed, "D", 0.0)
    modules: dict[str, nn.Module] = {"G": generator, "D": discriminator}
    if "source" in parts:
        modules["source"] = source
    if "heads" in parts:
        assert isinstance(settings, cdc.PatchSettings)
        channels = [tap.channels for tap in discriminator.taps[: settings.patch_taps]]
        activate = settings.patch_activate
        modules["heads"] = fresh(lambda: PatchHeads(channels, activate), work.seed, "heads")
        moved(modules["heads"], work.seed, "heads", 0.0)
    if "projector" in parts:
        modules["projector"] = Projector.from_codes(codes_of(work), alphas_of(work))
    return modules


def literal_modules(work: Work, form: str) -> dict[str, nn.Module]:
    """The same networks in their released form."""
    modules: dict[str, nn.Module] = {}
    for name, ours in modules_of(work).items():
        if isinstance(ours, Projector):
            modules[name] = consistency.ReleasedProjector(codes_of(work), alphas_of(work))
            continue
        modules[name] = _twin(work, ours, form)
        modules[name].load_state_dict(ours.state_dict())
    return modules


def _twin(work: Work, ours: nn.Module, form: str) -> nn.Module:
    if isinstance(ours, Generator):
        return LiteralGenerator(work.shape, form)
    if isinstance(ours, PatchHeads):
        return LiteralHeads([w.shape[1] for w in ours.weights], ours.activate)
    kind = ReleasedPatchDiscriminator if "heads" in work.entry.parts else LiteralDiscriminator
    return kind(work.shape, work.settings.stddev_group, form)


def released_neighbours(nets: Nets, draws: StepDraws, settings: cdc.Settings, image: bool) -> Tensors:
    """CDC's generator row with whole passes of both generators, compared pair by pair."""
    tensors = (cdc.image_artist if image else cdc.patch_artist)(nets, draws, settings)
    adapted, source = nets.of(Generator, "G"), nets.of(Generator, "source")
    count, shape = settings.distance_group, adapted.shape
    group = draws.group(count)
    layers = [draws.whole_number(f"layer{row}", 1, shape.layers - 1) for row in range(count)]
    z = group.normal("group", shape.style_dim)
    noise = group.noise("group noise", shape.noise_sides)
    with torch.no_grad():
        other = noise if settings.shared_noise else group.noise("source noise", shape.noise_sides)
        before = source.synthesis(source.styles(source.mapping(z)), other).features
    after = adapted.synthesis(adapted.styles(adapted.mapping(z)), noise).features
    return tensors | {"distance": consistency.distance(after, before, layers)}


def _both(nets: Nets, z: Tensor, compress: bool) -> tuple[list[Tensor], list[Tensor]]:
    """All features of the adapted generator and of the source, with the stored noise."""
    passes = []
    for name in ("G", "source"):
        with torch.set_grad_enabled(name == "G"):
            styles = rssa.same_styles(nets, name, z, compress)
            passes.append(nets.of(Generator, name).synthesis(styles).features)
    return passes[0], passes[1]


def released_structure(nets: Nets, draws: StepDraws, settings: rssa.Settings, image: bool) -> Tensors:
    """RSSA's generator row with every correlation whole."""
    if settings.similarity != "pooled":
        raise ValueError("the released self-correlation is the pooled one")
    tensors = (cdc.image_artist if image else cdc.patch_artist)(nets, draws, settings)
    shape, mix = nets.of(Generator, "G").shape, settings.cross_mix
    z = draws.group(settings.self_group).normal("self", shape.style_dim)
    after, before = _both(nets, z, compress=True)
    read = [i for i, side in enumerate(shape.noise_sides) if side >= shape.size * settings.self_from]
    tensors["self"] = consistency.self_correlation([after[i] for i in read], [before[i] for i in read])
    if draws.step % settings.cross_every == 0:
        own = draws.group(settings.cross_group).normal("cross", shape.style_dim)
        z = mix * own + (1 - mix) * draws.group(1).normal("centre", shape.style_dim)
        after, before = _both(nets, z, settings.cross_compressed)
        count = shape.noise_sides.index(round(shape.size * settings.cross_upto)) + 1
        cuts = [disturbance_windows(side, shape.size) for side in shape.noise_sides[:count]]
        tensors["cross"] = consistency.disturbance(after[:count], before[:count], cuts)
    return tensors


RELEASED: dict[str, Callable[..., Tensors]] = {"cdc": released_neighbours, "rssa": released_structure}


def released_table(work: Work) -> Method:
    """Our table with the generator rows of CDC and RSSA in their released form."""
    method, settings = work.table(), work.settings

    def replaced(phase: Phase) -> Phase:
        if work.method not in RELEASED or phase.name not in ("G_image", "G_patch"):
            return phase
        options: dict[str, Any] = {"settings": settings, "image": phase.name == "G_image"}
        return replace(phase, forward=partial(RELEASED[work.method], **options))

    return replace(method, phases=tuple(map(replaced, method.phases)))


def our_trainer(work: Work, engine: Engine | None = None) -> Trainer:
    """The step as users run it."""
    method = work.table()
    nets = Nets(modules_of(work), method, {"path_mean": torch.zeros(())}, CPU)
    return Trainer(method, nets, work.draws(), engine or PlainEngine(CPU))


def literal_trainer(work: Work, form: str, engine: Engine | None = None) -> Trainer:
    """The same step as released; form P0 or P1."""
    method = released_table(work)
    nets = LiteralNets(literal_modules(work, form), method, {"path_mean": torch.zeros(())}, CPU)
    return Trainer(method, nets, work.draws(), engine or TrustingEngine(CPU))
