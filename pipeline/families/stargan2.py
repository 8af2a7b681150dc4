"""StarGAN v2: pictures of several domains in, a translator between them out.

`N` source pictures, `D` domains, `S` side.
"""

import itertools
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from losses.diversity import distance_moments
from models.files import read_tensors
from models.files.pickled import read_pickled, state_dict_in
from models.stargan2 import (
    FAN,
    Discriminator,
    Generator,
    Layout,
    MappingNetwork,
    StyleEncoder,
    fan_of,
    he_initialised,
)
from pipeline.building import fresh
from pipeline.data.domains import Domains
from pipeline.errors import CONFIG, GraftError
from pipeline.families.family import Family, Opened, Watched
from pipeline.families.labelled import held_of, open_labelled
from pipeline.inputs import eyes
from pipeline.job import Pretrain
from pipeline.judging.diversity import collapse_probe
from pipeline.judging.evaluator import Judgement
from pipeline.judging.translation import judge_translation
from pipeline.methods.stargan2_settings import Network
from pipeline.nets import Nets
from pipeline.phase import Method
from pipeline.pictures import fixed_latents
from pipeline.translation import Translation

SHOWN = 3  # source pictures of each domain in a grid
LATENTS = 2
PAIRS = 4096  # pairs of training pictures behind the moments of their distances


def layout_of(job: Pretrain, domains: int = 2) -> Layout:
    """The sizes that a config asks for; GraftError says what is wrong with them."""
    network: Network = job.network_settings()
    if network.high_pass > 0 and job.method_settings().fan is None:
        raise GraftError(
            "network: high_pass needs the masks of a face alignment network; name its file as settings.fan, or set "
            "high_pass to 0 (for anything but aligned faces)",
            CONFIG,
        )
    try:
        return Layout(domains=domains, **network.model_dump())
    except ValueError as error:
        raise GraftError(f"network: {error}", CONFIG) from error


def open_sets(job: Pretrain) -> Opened:
    """Training pictures of every domain, and held-out ones with the same labels where there are any."""
    return open_labelled(job, layout_of(job).size, "domains")


def face_network(where: str) -> FAN:
    """The face alignment network from its file: as first published, or its part of a checkpoint."""
    path = Path(where)
    if path.suffix == ".safetensors":
        return fan_of(read_tensors(path))
    found = read_pickled(path)
    own = found.get("fan", found)
    return fan_of(state_dict_in(own) if isinstance(own, dict) else {})


def fresh_nets(job: Pretrain, method: Method, opened: Opened, device: torch.device) -> Nets:
    """G, F, E and D by He's rule, and the FAN where the high-pass skips need its masks."""
    domains: Domains = opened.data
    layout, settings = layout_of(job, len(domains.names)), job.method_settings()
    makers: dict[str, Callable[[], nn.Module]] = {
        "G": lambda: Generator(layout),
        "F": lambda: MappingNetwork(layout),
        "E": lambda: StyleEncoder(layout),
        "D": lambda: Discriminator(layout),
    }
    modules = {name: fresh(partial(he_made, make), job.seed, name) for name, make in makers.items()}
    if layout.high_pass > 0:
        modules["fan"] = face_network(settings.fan)
    memory = {}
    if settings.weights.distance > 0:
        memory["distance_moments"] = moments_of(domains, job.seed)
    nets = Nets(modules, method, memory, device)
    if settings.ema_start == "released":
        for (
            name
        ) in nets.twins:  # the release copies its averages before He's rule, and so starts them elsewhere
            nets.twins[name].load_state_dict(fresh(makers[name], job.seed, name).state_dict())
    return nets


def he_made(make: Callable[[], nn.Module]) -> nn.Module:
    """A network by He's rule."""
    return he_initialised(make())


def moments_of(domains: Domains, seed: int) -> Tensor:
    """Mean and deviation [2] of the distances between training pictures of any domains."""
    rng = torch.Generator().manual_seed(seed)
    labels = torch.randint(len(domains.names), (min(900, domains.count),), generator=rng)
    pictures = domains.take(labels, torch.arange(len(labels)), "moments").float() / 127.5 - 1
    pairs = list(itertools.combinations(range(len(pictures)), 2))
    picked = torch.randperm(len(pairs), generator=rng)[:PAIRS].tolist()
    found = distance_moments(pictures, [pairs[index] for index in picked])
    return torch.tensor([found.mean, found.deviation])


def averaged(job: Pretrain, nets: Nets, opened: Opened, about: dict[str, Any] | None = None) -> Translation:
    """The averaged networks as a translator."""
    generator = nets.averaged(Generator, "G")
    fan = nets.of(FAN, "fan") if "fan" in nets.modules else None
    mapping, encoder = nets.averaged(MappingNetwork, "F"), nets.averaged(StyleEncoder, "E")
    return Translation(generator.layout, opened.data.names, generator, mapping, encoder, fan, about or {})


def some_of(domains: Domains, count: int, stream: str) -> Tensor:
    """The same few pictures of every domain for ever: [D, count, 3, S, S] in [-1, 1]."""
    labels = torch.arange(len(domains.names)).repeat_interleave(count)
    counters = torch.arange(count).repeat(len(domains.names))
    pictures = domains.take(labels, counters, stream).float() / 127.5 - 1
    return pictures.view(len(domains.names), count, *pictures.shape[1:])


def watch(job: Pretrain, nets: Nets, opened: Opened, device: torch.device) -> Callable[[], Watched]:
    """Sources of every domain; below, for each target, two latents and one row of references."""
    shown: Domains = opened.heldout or opened.data
    sources = some_of(shown, SHOWN, "shown").flatten(0, 1).to(device)
    guides = some_of(shown, len(sources), "shown references").to(device)
    eye, _ = eyes(job.judge_weights, device)

    def look() -> Watched:
        model = averaged(job, nets, opened)
        z = fixed_latents(LATENTS, model.latent_dim).to(device)
        rows, labels, spread = [sources], ["source"], []
        encoded = model.encode(sources)
        for target, name in enumerate(model.names):
            pair = [
                model.decode(encoded, model.latent_codes(z[k : k + 1].expand(len(sources), -1), target))
                for k in range(LATENTS)
            ]
            spread.append(torch.stack(pair, 1))
            guided = model.decode(encoded, model.reference_codes(guides[target], target))
            rows += [*pair, guides[target], guided]
            labels += [
                *(f"{name}, z {k + 1}" for k in range(LATENTS)),
                f"{name}, references",
                f"{name}, guided",
            ]
        return Watched([row.clamp(-1, 1) for row in rows], labels, collapse_probe(torch.cat(spread), eye))

    return look


def scores(job: Pretrain, nets: Nets, opened: Opened, device: torch.device) -> Judgement | None:
    """Distance to the target's held-out pictures and diversity, by latents and by references."""
    if opened.heldout is None:
        return None
    eye, _ = eyes(job.judge_weights, device)
    return judge_translation(averaged(job, nets, opened), held_of(opened.heldout), job.translate, eye, device)


def model(job: Pretrain, nets: Nets, opened: Opened, about: dict[str, Any]) -> Translation:
    """The averaged networks, with the last grid."""
    found = averaged(job, nets, opened, about)
    watched = watch(job, nets, opened, found.device)()
    found.shown = (watched.rows, watched.labels)
    return found


FAMILY = Family(layout_of, open_sets, fresh_nets, watch, scores, model)
