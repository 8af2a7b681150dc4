"""What survives a translation: the target's domain, the source's factors, the reference's.

n source pictures, K outputs of a source, m pictures of the target. A share is over outputs, its interval over
distinct sources: outputs of one source are not independent.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from models.judges.classifier import Classifier
from pipeline.errors import CONFIG, INPUT, GraftError
from pipeline.judging.codes import Pair, plans
from pipeline.judging.factor_labels import UNKNOWN, Factor
from pipeline.judging.factors import accuracy, predicted
from pipeline.judging.score import Score
from pipeline.judging.settings import Translating
from pipeline.judging.statistics import share_interval
from pipeline.judging.translation import MODES, Translator, domains_of, pairs_of, translations

DOMAIN = "domain"
# Wanted of an output: its source's factor, its reference's, the target's domain.
KEPT, TAKEN, REACHED = "kept", "taken", "reached"


@dataclass(frozen=True)
class Guessed:
    """classes: factor -> predicted [n, K]; references [n, K], None in mode `latent`."""

    classes: Mapping[str, Tensor]
    references: Tensor | None


@dataclass(frozen=True)
class Share:
    """How often outputs are as wanted, among `fakes` from `sources`; chance: if they were independent."""

    value: float
    chance: float
    fakes: int
    sources: int


def survival(
    translator: Translator,
    heldout: Mapping[str, Tensor],
    fields: Mapping[str, Factor],
    classifiers: Mapping[str, Classifier],
    settings: Translating,
    device: torch.device | str = "cpu",
    domains: Classifier | None = None,
) -> list[Score]:
    """Shares of outputs whose predicted factor is the source's, or the reference's; each output drawn once.

    Names: `FIELD_kept_MODE` (the source's), `FIELD_taken_reference` (the reference's), `domain_reached_MODE`
    (the target; with `domains`, whose classes are the translator's names in their order); `_within` for
    domains with themselves. A field is measured for pairs of known labels on both sides, the target's for the
    classifier's accuracy there; the other pairs are in `left_out`. heldout: domain -> [n, 3, H, W], uint8 or
    in [-1, 1]; fields: labels of these pictures; classifiers: by field, on `device`; a field without one is
    not measured. `settings` says which codes and references; outputs are looked at as saved.
    """
    if DOMAIN in fields:
        raise GraftError(f"a factor cannot be called {DOMAIN}: that is what is asked of domains", CONFIG)
    names = domains_of(translator, heldout)
    factors = {name: factor for name, factor in fields.items() if name in classifiers}
    asked = {name: classifiers[name] for name in factors}
    if domains is not None:
        place = {name: list(translator.names).index(name) for name in names}
        labels = {name: torch.full((len(heldout[name]),), place[name]) for name in names}
        factors = {DOMAIN: Factor(tuple(translator.names), labels), **factors}
        asked[DOMAIN] = domains
    real = {name: _accuracies(asked[name], heldout, factor, settings) for name, factor in factors.items()}
    pairs = pairs_of(names, settings.within)
    guessed = _guessed(translator, heldout, pairs, asked, settings, device)
    groups = {"": [pair for pair in pairs if pair[0] != pair[1]]}
    groups["_within"] = [pair for pair in pairs if pair not in groups[""]]
    scores = []
    for suffix, mode in ((suffix, mode) for suffix in groups if groups[suffix] for mode in MODES):
        found = {pair: guessed[mode, pair] for pair in groups[suffix] if (mode, pair) in guessed}
        for name, factor in factors.items():
            for kind in (REACHED,) if name == DOMAIN else (KEPT, TAKEN) if mode == "reference" else (KEPT,):
                shares = {pair: _share(kind, name, factor, pair, guess) for pair, guess in found.items()}
                label = f"{name}_{kind}_{mode}{suffix}"
                scores.append(_score(label, kind, shares, groups[suffix], real[name], settings))
    return scores


def _accuracies(
    classifier: Classifier, heldout: Mapping[str, Tensor], factor: Factor, settings: Translating
) -> dict[str, Score]:
    """Of every domain whose labels are known. Raises GraftError where they are too few or too many."""
    found = {}
    for domain, pictures in heldout.items():
        if factor.known(domain):
            labels = factor.labels[domain]
            if len(labels) != len(pictures):
                raise GraftError(
                    f"{domain}: {len(labels)} labels for {len(pictures)} held-out pictures", INPUT
                )
            found[domain] = accuracy(classifier, pictures, labels, settings.level)
    return found


def agreement(predicted: Tensor, wanted: Tensor, sources: int) -> Share | None:
    """Of outputs [n, K] predicted so and wanted so; those wanted to be -1 do not count; None without others.

    Chance is what the same predictions would reach if dealt to the sources at random.
    """
    known = wanted != UNKNOWN
    if not bool(known.any()):
        return None
    got, want = predicted[known], wanted[known]
    classes = int(max(got.max(), want.max())) + 1
    of_got = got.bincount(minlength=classes).double() / len(got)
    of_want = want.bincount(minlength=classes).double() / len(want)
    return Share(float((got == want).double().mean()), float(of_got @ of_want), len(got), sources)


def _share(kind: str, name: str, factor: Factor, pair: Pair, guess: Guessed) -> Share | None:
    source, target = pair
    predicted_as = guess.classes[name]
    if not factor.known(target):
        return None
    if kind == REACHED:
        wanted = factor.labels[target][0].expand_as(predicted_as)
    elif kind == KEPT:
        if not factor.known(source):
            return None
        wanted = factor.labels[source][:, None].expand_as(predicted_as)
    else:
        assert guess.references is not None
        wanted = factor.labels[target][guess.references]
    known = wanted != UNKNOWN
    independent = int(known.any(1).sum())
    if kind == TAKEN and guess.references is not None:
        # A reference guides many sources: whichever are fewer are the independent ones.
        independent = min(independent, len(torch.unique(guess.references[known])))
    return agreement(predicted_as, wanted, independent)


def _guessed(
    translator: Translator,
    heldout: Mapping[str, Tensor],
    pairs: Sequence[Pair],
    asked: Mapping[str, Classifier],
    settings: Translating,
    device: torch.device | str,
) -> dict[tuple[str, Pair], Guessed]:
    """Every classifier's answer to every output."""
    counts = {name: len(heldout[name]) for name in {name for pair in pairs for name in pair}}
    planned = plans(settings.protocol, counts, pairs, settings.outputs, settings.seed)
    answers: dict[tuple[str, Pair], dict[str, list[Tensor]]] = {}
    for drawn in translations(translator, heldout, planned, settings, device):
        flat = drawn.pictures.flatten(0, 1)
        mine = answers.setdefault((drawn.mode, drawn.pair), {name: [] for name in asked})
        for name, classifier in asked.items():
            mine[name].append(predicted(classifier, flat).view(len(drawn.rows), -1))
    return {
        (mode, pair): Guessed(
            {name: torch.cat(parts) for name, parts in found.items()},
            planned[pair].references if mode == "reference" else None,
        )
        for (mode, pair), found in answers.items()
    }


def _score(
    name: str,
    kind: str,
    shares: Mapping[Pair, Share | None],
    pairs: Sequence[Pair],
    real: Mapping[str, Score],
    settings: Translating,
) -> Score:
    """The mean share of the pairs that have one, beside chance and the classifier's own accuracy."""
    protocol = {
        "codes": settings.protocol,
        "outputs": settings.outputs,
        "seed": settings.seed,
        "mean_over_pairs": "every pair weighs the same",
        "interval": "Wilson's, over distinct sources (of a reference's factor: or references, if fewer)",
        "accuracy": "of the same classifier on the target's held-out pictures",
        "level": settings.level,
    }
    found = {pair: share for pair in pairs if (share := shares.get(pair)) is not None}
    detail: dict[str, Any] = {
        "parts": {
            f"{source} to {target}": _part(share, real[target], settings.level)
            for (source, target), share in found.items()
        },
        "left_out": [f"{source} to {target}" for source, target in pairs if (source, target) not in found],
    }
    if not found:
        detail["reason"] = "no pair of domains has known labels on both sides and outputs"
        return Score(name, None, None, None, 0, "higher", "factor_classifier", protocol, detail)

    def mean(values: Sequence[float]) -> float:
        return sum(values) / len(values)

    value = mean([share.value for share in found.values()])
    # Of the pairs of one source domain (or one target, where references are asked) only the largest counts.
    axis = 1 if kind == TAKEN else 0
    most: dict[str, int] = {}
    for pair, share in found.items():
        most[pair[axis]] = max(most.get(pair[axis], 0), share.sources)
    detail["sources"] = sum(most.values())
    detail["chance"] = mean([share.chance for share in found.values()])
    detail["accuracy"] = mean([float(real[target].value or 0) for _, target in found])
    low, high = share_interval(value, detail["sources"], settings.level)
    fakes = sum(share.fakes for share in found.values())
    return Score(name, value, low, high, fakes, "higher", "factor_classifier", protocol, detail)


def _part(share: Share, real: Score, level: float) -> dict[str, Any]:
    low, high = share_interval(share.value, share.sources, level)
    return {
        "value": share.value,
        "low": low,
        "high": high,
        "chance": share.chance,
        "accuracy": real.value,
        "accuracy_interval": [real.low, real.high],
        "fakes": share.fakes,
        "sources": share.sources,
    }
