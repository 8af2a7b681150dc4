"""Which noise and which references each source picture is translated with, as each protocol has it.

n source pictures, m pictures of the target, K outputs of a source, Z latent dimension.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

RELEASED_BATCH = 32
Pair = tuple[str, str]


@dataclass(frozen=True)
class Plan:
    """How the pictures of one domain become those of another.

    weights [n]: of each source in the mean of diversity, sum 1.
    references [n, K]: which picture of the target guides an output; None where there is none to guide.
    """

    weights: Tensor
    references: Tensor | None
    notes: list[str] = field(default_factory=list)


def keyed(*parts: str | int) -> torch.Generator:
    """A generator seeded by the sha256 of these parts: what it draws knows nothing of the order of calls."""
    digest = hashlib.sha256(json.dumps(parts).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def noise(seed: int, source: str, rows: Sequence[int], target: str, outputs: int, dim: int) -> Tensor:
    """z of the source pictures `rows` for a target: [len(rows), K, Z], each its own draw."""
    drawn = [
        torch.randn(dim, generator=keyed("z", seed, source, row, target, k))
        for row in rows
        for k in range(outputs)
    ]
    return torch.stack(drawn).view(len(rows), outputs, dim)


def plans(
    protocol: Literal["clean", "stargan2"],
    counts: Mapping[str, int],
    pairs: Sequence[Pair],
    outputs: int,
    seed: int,
) -> dict[Pair, Plan]:
    """The plan of every pair (source, target). counts: domain -> how many pictures it has.

    Any number of pictures will do; what has to be repeated or left out for want of them stands in the notes.
    """
    targets = {target: [source for source, other in pairs if other == target] for _, target in pairs}
    found: dict[Pair, Plan] = {}
    for target, sources in targets.items():
        batches = _released_batches(seed, target, counts[target])
        for source in sources:
            if protocol == "clean":
                weights, references = _clean(seed, source, target, counts, outputs)
            else:
                weights, references = _released(seed, source, target, counts, outputs, batches)
            several = counts[target] - (source == target)
            notes = []
            if several < 1:
                notes.append(f"{target} has one picture: nothing else in it can guide that one")
            elif several < outputs:
                notes.append(f"{several} references in {target} for {outputs} outputs: they are used again")
            found[source, target] = Plan(weights, references if several else None, notes)
    return {pair: found[pair] for pair in pairs}


def _clean(
    seed: int, source: str, target: str, counts: Mapping[str, int], outputs: int
) -> tuple[Tensor, Tensor]:
    """Equal weights; of every source its own permutation of the references, without the picture itself."""
    n = counts[source]
    references = torch.empty(n, outputs, dtype=torch.int64)
    for index in range(n):
        order = torch.randperm(counts[target], generator=keyed("reference", seed, source, index, target))
        if source == target and len(order) > 1:
            order = order[order != index]
        references[index] = order[torch.arange(outputs) % len(order)]
    return torch.full((n,), 1 / n, dtype=torch.float64), references


def _released(
    seed: int,
    source: str,
    target: str,
    counts: Mapping[str, int],
    outputs: int,
    batches: Iterator[Tensor],
) -> tuple[Tensor, Tensor]:
    """StarGAN v2 as released (875b70a): shuffled sources in batches of 32, every batch weighs the same.

    Each output of a batch takes the next batch of references, cut to its length; `batches` runs on.
    """
    n = counts[source]
    shuffled = torch.randperm(n, generator=keyed("order", seed, source, target))
    parts = torch.split(shuffled, RELEASED_BATCH)
    weights = torch.empty(n, dtype=torch.float64)
    references = torch.empty(n, outputs, dtype=torch.int64)
    for part in parts:
        weights[part] = 1 / (len(parts) * len(part))
        for k in range(outputs):
            batch = next(batches)
            place = torch.arange(len(part))
            picked = batch[place % len(batch)]
            if source == target:
                # Not in the release, which never translates within a domain.
                picked = torch.where(picked == part, batch[(place + 1) % len(batch)], picked)
            references[part, k] = picked
    return weights, references


def _released_batches(seed: int, target: str, count: int) -> Iterator[Tensor]:
    """Shuffled references in whole batches of 32, shuffled anew when used up; the rest is left out.

    Fewer than 32 make one short batch, where the release stops with an error.
    """
    turn = 0
    while True:
        order = torch.randperm(count, generator=keyed("turn", seed, target, turn))
        whole = count - count % RELEASED_BATCH
        yield from torch.split(order[: whole or count], RELEASED_BATCH)
        turn += 1
