"""How `evaluate` judges a model of each kind: by the protocol of its tables, against which pictures."""

from argparse import Namespace
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from pipeline.adapting import judged_beside_source
from pipeline.conditional_model import ClassModel, PairModel
from pipeline.data.domains import Domains, open_domains
from pipeline.data.pairs import open_pairs
from pipeline.drit_model import DRIT
from pipeline.errors import CONFIG, INPUT, GraftError
from pipeline.exporting import Exportable
from pipeline.families.bicycle import keeps_some_apart as keeps_pairs_apart
from pipeline.families.dcgan import binned_by, by_label
from pipeline.families.drit import two_of
from pipeline.families.labelled import held_of, keeps_some_apart
from pipeline.inputs import eyes, heldout_pictures, judging_inputs
from pipeline.job import Evaluation
from pipeline.judging.alone import judge_alone
from pipeline.judging.classes import judge_classes
from pipeline.judging.evaluator import Judgement
from pipeline.judging.kept import kept_scores
from pipeline.judging.paired import judge_paired
from pipeline.judging.translation import judge_translation
from pipeline.load import Model
from pipeline.opening import source_of
from pipeline.translation import Translation

Judged = tuple[str, Judgement]
Opened = TypeVar("Opened")


def judged(model: Exportable, asked: Evaluation, given: Namespace, device: torch.device) -> Judged:
    """What a model was judged against, in words, and the judgement. GraftError for kinds without a judge."""
    if model.kind not in JUDGING:
        raise GraftError(
            f"{given.model}: a {model.kind} model, which evaluate cannot judge; it judges {', '.join(JUDGING)}",
            INPUT,
        )
    return JUDGING[model.kind](model, asked, given, device)


def stylegan2(model: Model, asked: Evaluation, given: Namespace, device: torch.device) -> Judged:
    """An adapted model beside its source, as its cell was judged; a source by its distance to its domain."""
    if not asked.target:
        return "its domain", _alone(model, asked, device)
    source = source_of(model, given.source)
    inputs = judging_inputs(asked.model_copy(update={"source": str(source.folder)}), 0, device)
    found = judged_beside_source(model.to(device).draw, inputs, asked.judge, device)
    return f"{asked.target}, {asked.shots} shots", found


def stargan2(model: Translation, asked: Evaluation, given: Namespace, device: torch.device) -> Judged:
    """A translator: are outputs of the target, do they differ, what is kept of style and source?"""
    where = _not_adapted(model, asked, given, f"has one sub-folder for each of {', '.join(model.names)}")
    return _translator(model.to(device), _labelled(where, model.size, asked), where, asked, device)


def drit(model: DRIT, asked: Evaluation, given: Namespace, device: torch.device) -> Judged:
    """The same of a translator between two domains, which may be two of more in the set."""
    where = _not_adapted(model, asked, given, f"has sub-folders {' and '.join(model.names)}")
    if asked.translate.within:
        raise GraftError(
            f"translate.within asks for pictures drawn anew in their own domain, and {given.model} is a "
            f"{model.title}: it is judged from each to the other",
            CONFIG,
        )
    domains = two_of(_labelled(where, model.size, asked), model.names, where)
    return _translator(model.to(device), domains, where, asked, device, model.latent_dim)


def dcgan(model: ClassModel, asked: Evaluation, given: Namespace, device: torch.device) -> Judged:
    """A generator of classes: each class against its held-out pictures; bins of the pictures of its training."""
    where = _not_adapted(model, asked, given, f"has one sub-folder for each of {', '.join(model.names)}")
    heldout = _labelled(where, model.generator.size, asked)
    _same_classes(heldout, where, model)

    def training_of(train: str) -> dict[int, Tensor]:
        found = open_domains(train, heldout.size, asked.data.fit)
        _same_classes(found, train, model)
        return binned_by(found)

    training, said = _bins(model, training_of)
    eye, _ = eyes(asked.judge_weights, device)
    held = by_label(heldout)
    draw, dim = model.to(device).draw, model.latent_dim
    found = judge_classes(draw, held, training or {}, asked.by_class, eye, dim, device)
    return f"{where} ({heldout.count} pictures of {len(held)} classes{said})", found


def bicycle(model: PairModel, asked: Evaluation, given: Namespace, device: torch.device) -> Judged:
    """A translator of pairs: outputs of each A against B; bins of the B of its training."""
    where = _not_adapted(model, asked, given, "has pairs (KEY.a.png beside KEY.b.png)")
    split = "heldout" if _said(asked, lambda: keeps_pairs_apart(where)) else "train"
    pairs = _said(asked, lambda: open_pairs(where, model.size, asked.data.fit, split=split))
    training, said = _bins(model, lambda train: open_pairs(train, model.size, asked.data.fit).b)
    eye, _ = eyes(asked.judge_weights, device)
    draw, dim = model.to(device).draw, model.latent_dim
    found = judge_paired(draw, pairs.a, pairs.b, asked.pairing, eye, dim, training, device)
    return f"{where} ({pairs.count} pairs{said})", found


def _not_adapted(model: Exportable, asked: Evaluation, given: Namespace, folder: str) -> str:
    """What a model is judged against: --heldout, else what its card says. GraftError for options of adapted ones."""
    for option in ("target", "source", "shots"):
        if getattr(given, option) is not None:
            raise GraftError(
                f"--{option} is for adapted models, and {given.model} is a {model.title}", CONFIG
            )
    where = asked.heldout or str(model.about.get("train", ""))
    if not where:
        raise GraftError(
            f"{model.about.get('name', given.model)}: nothing to judge it against; pass --heldout with a folder "
            f"that {folder}"
        )
    return where


def _translator(
    model: Translation | DRIT,
    domains: Domains,
    where: str,
    asked: Evaluation,
    device: torch.device,
    style_dim: int | None = None,
) -> Judged:
    eye, _ = eyes(asked.judge_weights, device)
    heldout = held_of(domains)
    found = judge_translation(model, heldout, asked.translate, eye, device)
    more = kept_scores(model, heldout, asked.translate, eye, device, style_dim)
    counts = ", ".join(f"{len(pictures)} {name}" for name, pictures in heldout.items())
    return f"{where} ({counts})", replace(found, scores=[*found.scores, *more])


def _labelled(where: str, size: int, asked: Evaluation) -> Domains:
    """The held-out pictures of a set that has some; else all of it."""

    def opened() -> Domains:
        split = "heldout" if keeps_some_apart(where) else "train"
        return open_domains(where, size, asked.data.fit, split=split)

    return _said(asked, opened)


def _said(asked: Evaluation, open_set: Callable[[], Opened]) -> Opened:
    """What `open_set` gives; an error says that the card named the set, where nobody else did."""
    try:
        return open_set()
    except GraftError as error:
        if asked.heldout is not None:
            raise
        raise GraftError(f"what it was trained on: {error}; pass --heldout", error.exit_code) from error


def _same_classes(found: Domains, where: str, model: ClassModel) -> None:
    """GraftError where labels would not mean the same."""
    if list(found.names) != list(model.names):
        raise GraftError(
            f"{where}: its classes are {', '.join(found.names)}, those of the model {', '.join(model.names)}; "
            "give both the same classes",
            INPUT,
        )


def _bins(model: Exportable, open_training: Callable[[str], Opened]) -> tuple[Opened | None, str]:
    """The training pictures that its card names, for NDB and JSD; None, and why, where they are not there."""
    train = str(model.about.get("train", ""))
    if not train:
        return None, "; no NDB and JSD: its card names no training pictures"
    try:
        return open_training(train), ""
    except GraftError as error:
        return None, f"; no NDB and JSD: {error}"


def _alone(model: Model, asked: Evaluation, device: torch.device) -> Judgement:
    size, domain = model.shape.size, str(model.about.get("train", ""))
    heldout = heldout_pictures(asked.heldout, domain, size, asked.data.fit, asked.judge_few)
    if heldout is None:
        raise GraftError(
            f"{model.about.get('name', 'this model')}: nothing to judge it against; pass --heldout for a source "
            "model (--heldout personas), or --target for an adapted one"
        )
    eye, _ = eyes(asked.judge_weights, device)
    return judge_alone(model.to(device).draw, heldout, asked.judge, eye, model.shape.style_dim, device)


# By the kind of model.
JUDGING: dict[str, Callable[[Any, Evaluation, Namespace, torch.device], Judged]] = {
    "stylegan2": stylegan2,
    "stargan2": stargan2,
    "dcgan": dcgan,
    "bicycle": bicycle,
    "drit": drit,
}
