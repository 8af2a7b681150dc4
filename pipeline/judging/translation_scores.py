"""From outputs that were looked at to the scores of a translator, with the recipe that they carry.

n source pictures, K outputs of a source, F features, m held-out pictures of the target.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from pipeline.judging.codes import RELEASED_BATCH, Pair, Plan
from pipeline.judging.conditions import (
    OVER_CONDITIONS,
    PAIRS_OF_SOURCES,
    Looked,
    diversity_of,
    frechet_of,
    kid_of,
)
from pipeline.judging.diversity import DISTANCE
from pipeline.judging.evaluator import Named
from pipeline.judging.frechet import PICTURES_PER_DIMENSION
from pipeline.judging.measured import Measured, averaged
from pipeline.judging.score import Score
from pipeline.judging.settings import Translating
from pipeline.judging.statistics import Array, counts

CODES = "z by (seed, source, target, output)"
PLANS: dict[str, dict[str, Any]] = {
    "clean": {
        "order": "as given; nothing depends on it",
        "codes": CODES,
        "references": "a permutation by (seed, source, target), each once before any is used again",
    },
    "stargan2": {
        "order": "shuffled by (seed, source domain, target), cut into batches, the last one kept",
        "batch": RELEASED_BATCH,
        "codes": CODES,
        "references": "shuffled batches of as many, a last short one left out where there is a whole one; "
        "the next batch for each output, cut to the sources', running on from source domain to source domain",
    },
}
DIVERSITY_OF: dict[str, dict[str, Any]] = {
    "clean": {"pictures": "as saved: clamped, 8 bit", "mean": "every source weighs the same"},
    "stargan2": {
        "pictures": "raw outputs: neither clamped nor rounded",
        "mean": "every batch of sources weighs the same",
    },
}


@dataclass(frozen=True)
class Measurement:
    """looked: (mode, pair) -> all its outputs; planned: pair -> its plan; real: domain -> features [m, F]."""

    looked: Mapping[tuple[str, Pair], Looked]
    planned: Mapping[Pair, Plan]
    real: Mapping[str, Array]


def translation_scores(found: Measurement, network: str, settings: Translating) -> tuple[list[Score], Named]:
    """kid, frechet and diversity of each mode, over pairs of two domains and apart from them within domains.

    Names: kid_latent, kid_reference, kid_latent_within, ... Arrays, by source picture [n]:
    `kid_latent.SOURCE.TARGET` (jackknife), `diversity_latent.SOURCE.TARGET`.
    """
    groups = {
        "": [pair for pair in found.planned if pair[0] != pair[1]],
        "_within": [pair for pair in found.planned if pair[0] == pair[1]],
    }
    scores: list[Score] = []
    arrays: Named = {}
    for suffix, pairs in groups.items():
        for mode in ("latent", "reference") if pairs else ():
            parts, per_source = _measured(found, mode, pairs, settings)
            arrays |= per_source
            scores += _scores(mode + suffix, parts, network, settings, _notes(found, mode, pairs))
    return scores, arrays


def _measured(
    found: Measurement, mode: str, pairs: list[Pair], settings: Translating
) -> tuple[dict[str, dict[str, Measured]], Named]:
    """Metric -> pair's label -> what was measured; and the values by source picture."""
    parts: dict[str, dict[str, Measured]] = {"kid": {}, "frechet": {}, "diversity": {}}
    arrays: Named = {}
    for source, target in pairs:
        label = f"{source} to {target}"
        looked = found.looked.get((mode, (source, target)))
        if looked is None:
            absent = Measured(None, None, 0, 0, source, f"no other picture of {target} can guide")
            for metric in parts.values():
                metric[label] = absent
            continue
        # The same resamples of a domain's pictures in all its pairs: the mean over pairs is over these.
        place = list(found.real).index(source)
        c = counts(len(looked.features), settings.resamples, settings.seed + place)
        real = found.real[target]
        kid, each = kid_of(looked.features, real, source == target, c, source)
        parts["kid"][label] = kid
        parts["frechet"][label] = frechet_of(looked.features, real, source)
        parts["diversity"][label] = diversity_of(looked, found.planned[source, target].weights, c, source)
        if each is not None:
            arrays[f"kid_{mode}.{source}.{target}"] = torch.from_numpy(each).float()
        arrays[f"diversity_{mode}.{source}.{target}"] = looked.apart.float()
    return parts, arrays


def _notes(found: Measurement, mode: str, pairs: list[Pair]) -> list[str]:
    """What a reader must know of these pairs, in plain words."""
    notes = [note for pair in pairs for note in found.planned[pair].notes] if mode == "reference" else []
    if len(found.real) == 1:
        notes.append(f"{next(iter(found.real))} is the only domain: it is translated within itself")
    return list(dict.fromkeys(notes))


def _scores(
    name: str,
    parts: Mapping[str, Mapping[str, Measured]],
    network: str,
    settings: Translating,
    notes: list[str],
) -> list[Score]:
    protocol = {
        "name": settings.protocol,
        "outputs": settings.outputs,
        "seed": settings.seed,
        **PLANS[settings.protocol],
        "real": "held-out pictures of the target",
        "mean_over_pairs": "every pair weighs the same",
        "resamples": settings.resamples,
        "level": settings.level,
    }
    own: dict[str, dict[str, Any]] = {
        "kid": {
            "pictures": "as saved: clamped, 8 bit",
            "kernel": "(x.y / F + 1)^3, F the number of features",
            "estimate": PAIRS_OF_SOURCES,
            "interval": OVER_CONDITIONS,
        },
        "frechet": {
            "pictures": "all outputs as saved: clamped, 8 bit",
            "needs": f"{PICTURES_PER_DIMENSION} distinct sources and real pictures a feature",
            "interval": "none",
        },
        "diversity": {
            **DIVERSITY_OF[settings.protocol],
            "distance": DISTANCE,
            "pairs": settings.outputs * (settings.outputs - 1) // 2,
            "interval": OVER_CONDITIONS,
        },
    }
    if name.endswith("_within"):
        own["kid"]["left_out"] = "of the real pictures an output is set against, its own source"
    return [
        averaged(
            f"{metric}_{name}",
            parts[metric],
            "higher" if metric == "diversity" else "lower",
            network,
            {**protocol, **own[metric]},
            settings.level,
            notes,
        )
        for metric in own
    ]
