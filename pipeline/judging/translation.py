"""A translator between domains, judged: are its outputs of the target, and do they differ from each other?

n source pictures, b of them at once, m pictures of the target, K outputs of a source, Z latent dimension,
S style dimension, H W pixels. Two modes: `latent` (codes from noise), `reference` (codes from pictures).
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from models.judges import Eye
from pipeline.errors import INPUT, GraftError
from pipeline.judging.codes import Pair, Plan, noise, plans
from pipeline.judging.conditions import Looked, joined, look, real_features
from pipeline.judging.evaluator import Judgement, as_saved, hashed
from pipeline.judging.settings import Translating
from pipeline.judging.translation_scores import Measurement, translation_scores

MODES = ("latent", "reference")


class Translator(Protocol):
    """A network that redraws pictures as those of a domain; EMA weights, no gradients, on one device."""

    @property
    def names(self) -> Sequence[str]:
        """Its domains; a target is an index into them."""
        ...

    @property
    def latent_dim(self) -> int:
        """Z."""
        ...

    def encode(self, pictures: Tensor) -> Any:
        """[b, 3, H, W] in [-1, 1] -> whatever `decode` takes."""
        ...

    def latent_codes(self, z: Tensor, target: int) -> Tensor:
        """[b, Z] -> [b, S]."""
        ...

    def reference_codes(self, pictures: Tensor, target: int) -> Tensor:
        """[b, 3, H, W] in [-1, 1], of the target -> [b, S]."""
        ...

    def decode(self, encoded: Any, codes: Tensor) -> Tensor:
        """What `encode` gave of b pictures, and codes [b, S] -> [b, 3, H, W], about [-1, 1]."""
        ...


@dataclass(frozen=True)
class Drawn:
    """Outputs of the source pictures `rows`, raw [b, K, 3, H, W]; references [b, K] in mode `reference`."""

    mode: str
    pair: Pair
    rows: range
    pictures: Tensor
    references: Tensor | None


def pairs_of(names: Sequence[str], within: bool) -> list[Pair]:
    """Every ordered pair of different domains, then every domain with itself where asked, or alone."""
    cross = [(source, target) for source in names for target in names if source != target]
    return cross + [(name, name) for name in names] if within or len(names) == 1 else cross


def domains_of(translator: Translator, heldout: Mapping[str, Tensor]) -> list[str]:
    """The domains that can be judged, in the translator's order. Raises GraftError for an unknown one."""
    unknown = [name for name in heldout if name not in translator.names]
    if unknown:
        raise GraftError(
            f"the translator does not know {unknown[0]}; its domains are {', '.join(translator.names)}", INPUT
        )
    names = [name for name in translator.names if name in heldout and len(heldout[name])]
    if not names:
        raise GraftError("no domain has held-out pictures; nothing can be judged", INPUT)
    return names


@torch.no_grad()
def translations(
    translator: Translator,
    heldout: Mapping[str, Tensor],
    planned: Mapping[Pair, Plan],
    settings: Translating,
    device: torch.device | str,
) -> Iterator[Drawn]:
    """Every output of every planned pair in both modes.

    A source picture is encoded once for all its outputs, a reference once for each target it guides to.
    """
    styles: dict[str, Tensor] = {}
    for target in {target: None for (_, target), plan in planned.items() if plan.references is not None}:
        index = list(translator.names).index(target)
        parts = [as_saved(part.to(device)) for part in torch.split(heldout[target], settings.batch)]
        styles[target] = torch.cat([translator.reference_codes(part, index) for part in parts])
    for source in dict.fromkeys(source for source, _ in planned):
        pictures = heldout[source]
        for first in range(0, len(pictures), settings.batch):
            rows = range(len(pictures))[first : first + settings.batch]
            encoded = translator.encode(as_saved(pictures[rows.start : rows.stop].to(device)))
            for pair, plan in planned.items():
                if pair[0] != source:
                    continue
                codes = _latent(translator, pair, rows, settings, device)
                yield Drawn("latent", pair, rows, _decoded(translator, encoded, codes), None)
                if plan.references is not None:
                    picked = plan.references[rows.start : rows.stop]
                    codes = styles[pair[1]][picked.to(device)]
                    yield Drawn("reference", pair, rows, _decoded(translator, encoded, codes), picked)


def _latent(
    translator: Translator, pair: Pair, rows: range, settings: Translating, device: torch.device | str
) -> Tensor:
    """Codes [b, K, S] from noise."""
    source, target = pair
    z = noise(settings.seed, source, rows, target, settings.outputs, translator.latent_dim).to(device)
    codes = translator.latent_codes(z.flatten(0, 1), list(translator.names).index(target))
    return codes.view(len(rows), settings.outputs, -1)


def _decoded(translator: Translator, encoded: Any, codes: Tensor) -> Tensor:
    """Outputs [b, K, 3, H, W] of codes [b, K, S]."""
    return torch.stack([translator.decode(encoded, codes[:, k]) for k in range(codes.shape[1])], 1)


def judge_translation(
    translator: Translator,
    heldout: Mapping[str, Tensor],
    settings: Translating,
    eye: Eye,
    device: torch.device | str = "cpu",
) -> Judgement:
    """KID, Frechet distance where there are pictures enough, and diversity: of each mode, over pairs.

    heldout: domain -> [n, 3, H, W], uint8 or in [-1, 1]: sources, references, what outputs are set against.
    eye: already on `device`. With one domain it is translated within itself. Raises GraftError where a domain
    is unknown to the translator, or an output is not finite.
    """
    names = domains_of(translator, heldout)
    counts = {name: len(heldout[name]) for name in names}
    planned = plans(
        settings.protocol, counts, pairs_of(names, settings.within), settings.outputs, settings.seed
    )
    inputs = {
        "heldout": hashed({name: hashed(heldout[name]) for name in names}),
        "codes": hashed({"latent_dim": str(translator.latent_dim)}),
        "eye": f"{eye.name} {eye.sha256}",
        "protocol": json.dumps(settings.model_dump(exclude={"batch"}), sort_keys=True),
    }
    real = {name: real_features(heldout[name], settings.batch, eye, device) for name in names}
    parts: dict[tuple[str, Pair], list[Looked]] = {}
    for drawn in translations(translator, heldout, planned, settings, device):
        looked = look(drawn.pictures, eye, quantised=settings.protocol == "clean")
        parts.setdefault((drawn.mode, drawn.pair), []).append(looked)
    scores, arrays = translation_scores(
        Measurement({key: joined(found) for key, found in parts.items()}, planned, real), eye.name, settings
    )
    return Judgement(scores, arrays, inputs)
