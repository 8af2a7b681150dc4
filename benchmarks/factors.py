"""What of a face survives a translation: `python -m benchmarks.factors MODEL [--set avatar_styles] [--out FILE]`.

MODEL translates between the domains of a set whose json names factors (`common`: glasses, smile, skin, ...). A small
classifier of each factor, and one of the domains, learn from the training pictures of all domains; then every held-out
picture is translated, and the share of outputs is printed that keep their source's factor, take their reference's, or
are of the domain asked for, beside chance and beside the classifier's own accuracy on real held-out pictures.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from models.judges.classifier import Classifier
from pipeline.data.samples import fields_of
from pipeline.data.shipped import place_of
from pipeline.data.singles import singles
from pipeline.judging.factor_labels import UNKNOWN, Factor, factors_of
from pipeline.judging.factors import train_factor_classifier
from pipeline.judging.score import Score
from pipeline.judging.settings import Translating
from pipeline.judging.survival import survival
from pipeline.opening import open_any
from pipeline.store import write_json
from pipeline.translation import Translation

STEPS = 600  # of batch 32, of every classifier
LEFT_OUT = {"facial_hair": ("adventurer",)}  # where 8 pictures of 700 have it: nothing to learn from

Common = dict[str, object]


def of_set(
    where: str, names: Sequence[str], split: str, size: int
) -> tuple[dict[str, Tensor], dict[str, list[Common]]]:
    """Pictures uint8 [n, 3, S, S] of every domain, and what their json says in common."""
    pictures: dict[str, Tensor] = {}
    rows: dict[str, list[Common]] = {}
    for name in names:
        found = [single for path in place_of(where).glob(f"{name}-{split}*") for single in singles(path)]
        pictures[name] = torch.stack([single.picture(size, "resize")[0] for single in found])
        rows[name] = [known(fields_of(single.entry.described())["common"], name) for single in found]
    return pictures, rows


def known(common: Common, domain: str) -> Common:
    """The factors of one picture that mean something in its domain."""
    return {key: None if domain in LEFT_OUT.get(key, ()) else entry for key, entry in common.items()}


def classifier_of(pictures: Mapping[str, Tensor], factor: Factor, seed: int) -> Classifier | None:
    """Learned from all domains in which the factor is known; None where only one value was ever seen."""
    names = [name for name in pictures if factor.known(name)]
    x = torch.cat([pictures[name] for name in names])
    labels = torch.cat([factor.labels[name] for name in names])
    if len(labels[labels != UNKNOWN].unique()) < 2:
        return None
    return train_factor_classifier(x, labels, len(factor.values), seed, STEPS, "cpu")


def measured(model: Translation, where: str, outputs: int, seed: int) -> list[Score]:
    """Every share of `judging.survival`."""
    size, names = model.layout.size, list(model.names)
    train, rows = of_set(where, names, "train", size)
    heldout, held_rows = of_set(where, names, "test", size)
    known_there = factors_of(rows)
    classifiers = {}
    for field, factor in known_there.items():
        learned = classifier_of(train, factor, seed)
        if learned is not None:
            classifiers[field] = learned
    labels = {name: torch.full((len(train[name]),), k) for k, name in enumerate(names)}
    domains = classifier_of(train, Factor(tuple(names), labels), seed)
    fields = {name: factor for name, factor in factors_of(held_rows).items() if name in classifiers}
    settings = Translating(outputs=outputs)
    return survival(model, heldout, fields, classifiers, settings, "cpu", domains)


def line(score: Score) -> str:
    """One row of a Markdown table."""
    if score.value is None:
        return f"| {score.name} | | | | |"
    detail = score.detail
    interval = f"{score.value:.3f} [{score.low:.3f}, {score.high:.3f}]"
    return f"| {score.name} | {interval} | {detail['chance']:.3f} | {detail['accuracy']:.3f} | {score.n} |"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--set", default="avatar_styles")
    parser.add_argument("--outputs", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args(argv)
    model = open_any(given.model)
    if not isinstance(model, Translation):
        parser.error(f"{given.model}: not a translator")
    scores = measured(model, given.set, given.outputs, given.seed)
    print("| share | of outputs | by chance | classifier on real pictures | outputs |\n|---|---|---|---|---|")
    print("\n".join(line(score) for score in scores))
    if given.out is not None:
        about = {"model": given.model, "sha256": model.sha256, "set": given.set, "seed": given.seed}
        write_json(given.out, {**about, "scores": [vars(score) for score in scores]})
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
