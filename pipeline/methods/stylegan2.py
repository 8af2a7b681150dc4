"""StyleGAN2 pretraining (Karras et al. 2020): the step on which every adaptation method here is built.

Logistic losses, R1 every 16th step, path length every 4th step on half a batch, style mixing, an averaged generator.
The regularisers take steps of their own, as published. Reproduce: `python -m pipeline.pretrain
configs/pretrain_personas.yaml`.

`B` batch, `L` style layers, `D` style dimension, `H W` pixels.
"""

from functools import partial

import torch
from torch import Tensor

from losses.adversarial import fake_logistic, fool_logistic, real_logistic
from losses.correlation import full_precision
from losses.penalties import path_length_penalty, path_lengths, r1
from models.projector import Projector
from models.stylegan2 import Discriminator, Generator
from pipeline.draws import StepDraws
from pipeline.methods.settings import StepSettings
from pipeline.nets import Nets
from pipeline.phase import Method, Phase, Tensors, Term, When, pulling


def compressed(nets: Nets, styles: Tensor) -> Tensor:
    """Styles [B, L, D] through the method's projector, if it has one."""
    return nets.of(Projector, "projector")(styles) if "projector" in nets.modules else styles


def mixed_styles(nets: Nets, draws: StepDraws, mixing: float) -> Tensor:
    """Styles [b, L, D] of fresh z; with chance `mixing` the upper layers belong to a second z.

    One crossover for the whole batch, 1 to L - 1, as published.
    """
    generator = nets.of(Generator, "G")
    shape = generator.shape
    first = compressed(nets, generator.styles(generator.mapping(draws.normal("z", shape.style_dim))))
    if draws.chance("mix") >= mixing:
        return first
    second = compressed(nets, generator.styles(generator.mapping(draws.normal("z2", shape.style_dim))))
    crossover = draws.whole_number("crossover", 1, shape.layers)
    return torch.cat([first[:, :crossover], second[:, crossover:]], dim=1)


def fresh_pictures(nets: Nets, draws: StepDraws, styles: Tensor) -> Tensor:
    """Pictures [b, 3, H, W] of styles with fresh noise maps."""
    generator = nets.of(Generator, "G")
    return generator.synthesis(styles, draws.noise("noise", generator.shape.noise_sides)).picture


def critic(nets: Nets, draws: StepDraws, settings: StepSettings) -> Tensors:
    """Logits of real and drawn pictures, in two passes: one is slower on a CPU, and the groups stay apart."""
    with torch.no_grad():
        drawn = fresh_pictures(nets, draws, mixed_styles(nets, draws, settings.mixing))
    discriminator = nets.of(Discriminator, "D")
    return {"real": discriminator(draws.real()), "fake": discriminator(drawn)}


def penalised(nets: Nets, draws: StepDraws) -> Tensors:
    """Squared gradient norm [b] of D at the real pictures."""
    pictures = draws.real().requires_grad_()
    with full_precision(pictures.device):
        return {"slope": r1(nets.of(Discriminator, "D")(pictures), pictures)}


def artist(nets: Nets, draws: StepDraws, settings: StepSettings) -> Tensors:
    """Logits of drawn pictures, for the generator."""
    drawn = fresh_pictures(nets, draws, mixed_styles(nets, draws, settings.mixing))
    return {"fake": nets.of(Discriminator, "D")(drawn)}


def stretched(nets: Nets, draws: StepDraws, settings: StepSettings) -> Tensors:
    """The path length penalty over the lengths of all processes; the running mean is a memory of the nets."""
    size = nets.of(Generator, "G").shape.size
    draws = draws.sized(max(1, draws.count // 2))
    noise = draws.normal("direction", 3, size, size)
    with full_precision(draws.device):
        styles = mixed_styles(nets, draws, settings.mixing)
        own = path_lengths(fresh_pictures(nets, draws, styles), styles, noise)
    lengths = draws.together(own)
    penalty, mean = path_length_penalty(lengths, nets.memory["path_mean"], settings.path_decay)
    nets.memory["path_mean"] = mean
    return {"penalty": penalty}


def mean(values: Tensor) -> Tensor:
    """Mean over samples."""
    return values.mean()


def itself(value: Tensor) -> Tensor:
    """A term that its forward has already reduced."""
    return value


def critic_terms(settings: StepSettings) -> tuple[Term, ...]:
    """Real and fake, for any discriminator row."""
    weights = settings.weights
    return (
        Term("real", real_logistic, ("real",), weights.real),
        Term("fake", fake_logistic, ("fake",), weights.fake),
    )


def r1_row(settings: StepSettings) -> Phase:
    """R1 on real pictures, with a step of its own."""
    term = Term("r1", mean, ("slope",), settings.weights.r1)
    every = settings.r1_every
    return Phase("R1", ("D",), penalised, (term,), When(every=every), gain=every)


def path_row(settings: StepSettings) -> Phase:
    """Path length, with a step of its own."""
    forward = partial(stretched, settings=settings)
    term = Term("path", itself, ("penalty",), settings.weights.path)
    every = settings.path_every
    return Phase("path", ("G",), forward, (term,), When(every=every), gain=every, whole=True)


def method(settings: StepSettings, name: str = "stylegan2") -> Method:
    """D, R1, G, path length."""
    fool = Term("fool", fool_logistic, ("fake",), settings.weights.fool)
    phases = pulling(
        Phase("D", ("D",), partial(critic, settings=settings), critic_terms(settings)),
        r1_row(settings),
        Phase("G", ("G",), partial(artist, settings=settings), (fool,)),
        path_row(settings),
    )
    return Method(
        name,
        phases,
        {"G": settings.adam(settings.path_every), "D": settings.adam(settings.r1_every)},
        {"G": settings.average()},
    )
