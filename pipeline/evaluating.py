"""How `evaluate` judges a model of each kind: by the protocol of its tables, against which pictures."""

from argparse import Namespace
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from pipeline.adapting import judged_beside_source
from pipeline.data.domains import Domains, open_domains
from pipeline.errors import CONFIG, INPUT, GraftError
from pipeline.exporting import Exportable
from pipeline.families.stargan2 import held_of, keeps_some_apart
from pipeline.inputs import eyes, heldout_pictures, judging_inputs
from pipeline.job import Evaluation
from pipeline.judging.alone import judge_alone
from pipeline.judging.evaluator import Judgement
from pipeline.judging.kept import kept_scores
from pipeline.judging.translation import judge_translation
from pipeline.load import Model
from pipeline.opening import source_of
from pipeline.translation import Translation

Judged = tuple[str, Judgement]


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
    for option in ("target", "source", "shots"):
        if getattr(given, option) is not None:
            raise GraftError(
                f"--{option} is for adapted models, and {given.model} is a {model.title}", CONFIG
            )
    where = asked.heldout or str(model.about.get("train", ""))
    if not where:
        raise GraftError(
            f"{model.about.get('name', given.model)}: nothing to judge it against; pass --heldout with a folder "
            f"that has one sub-folder for each of {', '.join(model.names)}"
        )
    domains = _domains(where, model.layout.size, asked)
    eye, _ = eyes(asked.judge_weights, device)
    heldout = held_of(domains)
    found = judge_translation(model.to(device), heldout, asked.translate, eye, device)
    more = kept_scores(model, heldout, asked.translate, eye, device)
    counts = ", ".join(f"{len(pictures)} {name}" for name, pictures in heldout.items())
    return f"{where} ({counts})", replace(found, scores=[*found.scores, *more])


def _domains(where: str, size: int, asked: Evaluation) -> Domains:
    """The held-out pictures of a set that has some; else all of it."""
    try:
        split = "heldout" if keeps_some_apart(where) else "train"
        return open_domains(where, size, asked.data.fit, split=split)
    except GraftError as error:
        if asked.heldout is not None:
            raise
        raise GraftError(f"what it was trained on: {error}; pass --heldout", error.exit_code) from error


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
}
