"""What a translation keeps: the style it was asked for, and the picture it came from.

n source pictures, b of them at once, Z latent dimension, S style dimension, H W pixels.
Of each source and target: the output of the first random code that the other scores are measured with.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from models.judges import Eye
from pipeline.judging.codes import Pair, noise
from pipeline.judging.diversity import DISTANCE
from pipeline.judging.evaluator import as_saved
from pipeline.judging.measured import Measured, averaged
from pipeline.judging.perceptual import distances
from pipeline.judging.score import Score
from pipeline.judging.settings import Translating
from pipeline.judging.statistics import counts, plain
from pipeline.judging.translation import Translator, domains_of, pairs_of
from pipeline.judging.translation_scores import CODES

RECIPES: dict[str, dict[str, Any]] = {
    "style_recovery": {
        "value": "mean absolute difference of the style read from the saved output and the one asked"
    },
    "cycle": {
        "value": "mean absolute difference of the source and its output translated back, in [-1, 1]",
        "back": "in the style that is read from the source",
    },
    "source_distance": {"value": "perceptual distance of the output and its source", "distance": DISTANCE},
}


@torch.no_grad()
def kept_scores(
    translator: Translator,
    heldout: Mapping[str, Tensor],
    settings: Translating,
    eye: Eye,
    device: torch.device | str = "cpu",
    style_dim: int | None = None,
) -> list[Score]:
    """style_recovery, cycle, source_distance: means over pairs of domains, each lower where more is kept.

    style_dim: how many of a code's numbers, the first ones, are its style (None: all are).
    heldout, eye, device: as `judge_translation` takes them. `chance` in the detail of style_recovery is
    the distance to the style that another source was asked for: what pictures without any style would have.
    """
    names = domains_of(translator, heldout)
    parts: dict[str, dict[str, Measured]] = {name: {} for name in RECIPES}
    for source, target in pairs_of(names, settings.within):
        found = _kept(translator, heldout[source], (source, target), settings, eye, device, style_dim)
        n = len(heldout[source])
        c = counts(n, settings.resamples, settings.seed + names.index(source))
        chance = found.pop("chance")
        for name, values in found.items():
            each = plain(values)
            detail = {"chance": float(chance.mean())} if name == "style_recovery" and n > 1 else {}
            parts[name][f"{source} to {target}"] = Measured(
                float(each.mean()), c @ each / n, n, n, source, detail=detail
            )
    protocol = {
        "outputs": 1,
        "seed": settings.seed,
        "codes": CODES,
        "pictures": "as saved: clamped, 8 bit",
        "mean_over_pairs": "every pair weighs the same",
        "resamples": settings.resamples,
        "level": settings.level,
    }
    networks = {"style_recovery": "its own encoder", "cycle": "pixels", "source_distance": eye.name}
    return [
        averaged(name, parts[name], "lower", networks[name], {**protocol, **recipe}, settings.level)
        for name, recipe in RECIPES.items()
    ]


def _kept(
    translator: Translator,
    pictures: Tensor,
    pair: Pair,
    settings: Translating,
    eye: Eye,
    device: torch.device | str,
    style_dim: int | None,
) -> dict[str, Tensor]:
    """Values by source [n], on the CPU, of every recipe; and `chance`."""
    own, other = (list(translator.names).index(name) for name in pair)
    asked, read, apart, back = [], [], [], []
    for first in range(0, len(pictures), settings.batch):
        x = as_saved(pictures[first : first + settings.batch].to(device))
        rows = range(first, first + len(x))
        z = noise(settings.seed, pair[0], rows, pair[1], 1, translator.latent_dim)[:, 0].to(device)
        styles = translator.latent_codes(z, other)
        outputs = as_saved(translator.decode(translator.encode(x), styles))
        again = translator.decode(translator.encode(outputs), translator.reference_codes(x, own))
        asked.append(styles.cpu())
        read.append(translator.reference_codes(outputs, other).cpu())
        back.append((as_saved(again) - x).abs().mean((1, 2, 3)).cpu())
        apart.append(distances(eye.taps(x), eye.taps(outputs)).diagonal().cpu())
    wanted, found = torch.cat(asked)[:, :style_dim], torch.cat(read)[:, :style_dim]
    return {
        "style_recovery": (found - wanted).abs().mean(1),
        "cycle": torch.cat(back),
        "source_distance": torch.cat(apart),
        "chance": (found - wanted.roll(1, 0)).abs().mean(1),
    }
