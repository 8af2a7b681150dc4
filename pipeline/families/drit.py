"""DRIT: pictures of two domains in, a translator between them out.

`n` source pictures, `S` side. A is the domain of label 0, B that of label 1.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from models.conditional import initialised
from models.conditional.drit import ContentDiscriminator, ContentEncoder, ImageDiscriminator
from pipeline.building import fresh
from pipeline.data.domains import Domains, open_domains
from pipeline.data.shipped import credits_of
from pipeline.drit_model import DRIT, Layout
from pipeline.errors import CONFIG, GraftError
from pipeline.families.family import Family, Opened, Watched
from pipeline.families.labelled import held_of, keeps_some_apart
from pipeline.families.stargan2 import moments_of, some_of
from pipeline.inputs import eyes
from pipeline.job import Pretrain
from pipeline.judging.diversity import collapse_probe
from pipeline.judging.evaluator import Judgement
from pipeline.judging.translation import judge_translation
from pipeline.methods.drit_settings import Network
from pipeline.methods.drit_terms import JUDGES
from pipeline.nearest import did_you_mean
from pipeline.nets import Nets
from pipeline.phase import Method
from pipeline.pictures import fixed_latents

SHOWN = 6  # source pictures of each domain in a grid
LATENTS = 2


def layout_of(job: Pretrain) -> Layout:
    """The sizes that a config asks for; GraftError says what is wrong with them."""
    network: Network = job.network_settings()
    try:
        return Layout(network.size, network.latent_dim, network.width, job.method_settings().generator)
    except ValueError as error:
        raise GraftError(f"network: {error}", CONFIG) from error


def check(job: Pretrain) -> None:
    """GraftError for what DRIT cannot be built, fed or judged with."""
    layout_of(job)
    settings = job.method_settings()
    if job.batch % 2:
        raise GraftError(
            f"a batch of {job.batch} has no halves, and drit translates one and shows the other to two of its "
            "discriminators; make it even",
            CONFIG,
        )
    if settings.weights.distance > 0 and job.batch < 4:
        raise GraftError(
            f"weights.distance compares sources, and half a batch of {job.batch} is one picture; make it 4 or more",
            CONFIG,
        )
    if settings.domains and len(set(settings.domains)) != 2:
        raise GraftError(
            f"settings.domains names {', '.join(settings.domains)}; drit is between two domains", CONFIG
        )
    if job.translate.within:
        raise GraftError(
            "translate.within asks for pictures drawn anew in their own domain; drit judges from each to the other",
            CONFIG,
        )


def two_of(domains: Domains, wanted: Sequence[str], where: str) -> Domains:
    """The two domains that are asked for; all there are where none is. GraftError where that is not two."""
    if not wanted:
        if len(domains.names) != 2:
            raise GraftError(
                f"{where}: its domains are {', '.join(domains.names)}, and drit is between two; "
                "name two of them as settings.domains"
            )
        return domains
    for name in wanted:
        if name not in domains.names:
            raise GraftError(f"{where}: no domain '{name}' in it{did_you_mean(name, domains.names)}")
    if len(domains.names) == 2:
        return domains
    return Domains({name: domains.held(domains.names.index(name)) for name in wanted}, domains.seed)


def open_sets(job: Pretrain) -> Opened:
    """Training pictures of both domains, and held-out ones with the same labels where there are any."""
    size, fit, wanted = layout_of(job).size, job.data.fit, job.method_settings().domains
    every = open_domains(job.train, size, fit, job.seed)
    train, heldout = two_of(every, wanted, job.train), None
    if job.heldout is not None or keeps_some_apart(job.train):
        where = job.heldout or job.train
        split = "heldout" if keeps_some_apart(where) else "train"
        heldout = two_of(open_domains(where, size, fit, job.seed, split), train.names, where)
    about = {"domains": list(train.names), "credits": credits_for(job.train, every.names, train.names)}
    return Opened(train, heldout, train.count, about)


def credits_for(where: str, names: Sequence[str], chosen: Sequence[str]) -> str:
    """Whom the pictures of the chosen domains of a shipped set are by; "" for pictures from elsewhere."""
    found = credits_of(where).split("; ")
    if len(found) != len(names):
        return credits_of(where)
    return "; ".join(credit for credit, name in zip(found, names, strict=True) if name in chosen)


def fresh_nets(job: Pretrain, method: Method, opened: Opened, device: torch.device) -> Nets:
    """Both encoders, G and five discriminators, convolutions at N(0, 0.02)."""
    layout, size, width = layout_of(job), layout_of(job).size, layout_of(job).width
    makers: dict[str, Callable[[], nn.Module]] = {
        "E_c": layout.content_encoder,
        "E_a": layout.attribute_encoder,
        "G": layout.made_generator,
        "D_content": lambda: ContentDiscriminator(size, width),
    }
    makers |= {name: lambda: ImageDiscriminator(size, width) for name in JUDGES}
    modules = {
        name: fresh(partial(initialised_as_released, make), job.seed, name) for name, make in makers.items()
    }
    memory = {}
    if job.method_settings().weights.distance > 0:
        memory["distance_moments"] = moments_of(opened.data, job.seed)
    return Nets(modules, method, memory, device)


def initialised_as_released(make: Callable[[], nn.Module]) -> nn.Module:
    """A network with the release's first values."""
    return initialised(make(), "drit")


def as_it_is(job: Pretrain, nets: Nets, opened: Opened, about: dict[str, Any] | None = None) -> DRIT:
    """The networks of this step as a translator: they have no averages."""
    content, attributes = nets.of(ContentEncoder, "E_c"), nets.modules["E_a"]
    return DRIT(layout_of(job), opened.data.names, content, attributes, nets.modules["G"], about or {})


def watch(job: Pretrain, nets: Nets, opened: Opened, device: torch.device) -> Callable[[], Watched]:
    """For each target, sources of the other domain, two latents, and one row of references."""
    shown: Domains = opened.heldout or opened.data
    sources = some_of(shown, SHOWN, "shown").to(device)
    guides = some_of(shown, SHOWN, "shown references").to(device)
    eye, _ = eyes(job.judge_weights, device)

    def look() -> Watched:
        model = as_it_is(job, nets, opened)
        z = fixed_latents(LATENTS, model.latent_dim).to(device)
        rows: list[Tensor] = []
        labels: list[str] = []
        spread = []
        for target, name in reversed(list(enumerate(model.names))):
            encoded = model.encode(sources[1 - target])
            pair = [model.decode(encoded, model.latent_codes(code.expand(SHOWN, -1), target)) for code in z]
            spread.append(torch.stack(pair, 1))
            guided = model.decode(encoded, model.reference_codes(guides[target], target))
            rows += [sources[1 - target], *pair, guides[target], guided]
            labels += [model.names[1 - target], *(f"{name}, z {k + 1}" for k in range(LATENTS))]
            labels += [f"{name}, references", f"{name}, guided"]
        return Watched(rows, labels, collapse_probe(torch.cat(spread), eye))

    return look


def scores(job: Pretrain, nets: Nets, opened: Opened, device: torch.device) -> Judgement | None:
    """Distance to the target's held-out pictures and diversity, by latents and by references."""
    if opened.heldout is None:
        return None
    eye, _ = eyes(job.judge_weights, device)
    return judge_translation(as_it_is(job, nets, opened), held_of(opened.heldout), job.translate, eye, device)


def model(job: Pretrain, nets: Nets, opened: Opened, about: dict[str, Any]) -> DRIT:
    """The networks of the last step, with the last grid."""
    found = as_it_is(job, nets, opened, about)
    watched = watch(job, nets, opened, found.device)()
    found.shown = (watched.rows, watched.labels)
    return found


FAMILY = Family(check, open_sets, fresh_nets, watch, scores, model)
