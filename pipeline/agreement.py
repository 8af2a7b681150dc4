"""All processes of a run must hold the same bits; where they do not, it ends before that is saved.

A rank that drifts (a bad memory cell, an operation that is not deterministic, a bug) gives no error by itself: every
process goes on with its own networks, and the averaged gradients fit none of them.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from cluster.engine import Engine
from pipeline.errors import ENVIRONMENT, GraftError

_BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


class Parted(GraftError):
    """Ranks hold different numbers."""


def agree(state: Mapping[str, Tensor], engine: Engine, step: int) -> None:
    """Compare a checksum of everything that a checkpoint holds. Every rank calls; all of them raise Parted, or none.

    state: as Nets.state() gives it; the first two parts of a name (net/G, ema/G, adam/G) are what an error names.
    """
    if engine.world == 1:
        return
    sums = checksums(state)
    mine = torch.tensor([list(sums.values())], device=engine.device)
    everybody = engine.gather(mine)
    parted = [name for name, column in zip(sums, everybody.T.tolist(), strict=True) if len(set(column)) > 1]
    if parted:
        raise Parted(_sentence(parted, everybody.tolist(), step), ENVIRONMENT)


def checksums(state: Mapping[str, Tensor]) -> dict[str, int]:
    """A number for each group of tensors that depends on every bit of theirs, and on where it stands."""
    sums: dict[str, int] = {}
    for key in sorted(state):
        group = "/".join(key.split("/")[:2])
        sums[group] = _folded(31 * sums.get(group, 7) + checksum(state[key]))
    return sums


def checksum(tensor: Tensor) -> int:
    """Sum over elements of their bits times an odd number for the place, modulo 2^64, with the tensor's size."""
    bits = tensor.detach().contiguous().view(_BITS[tensor.element_size()]).flatten().long()
    places = torch.arange(1, 2 * len(bits), 2, device=bits.device)
    return _folded(int((bits * places).sum()) + 1_000_003 * len(bits))


def _folded(number: int) -> int:
    """Into the range of int64."""
    return (number + 2**63) % 2**64 - 2**63


def _sentence(parted: Sequence[str], rows: Sequence[Sequence[int]], step: int) -> str:
    """Which groups, which ranks. With two ranks nobody can say which of them is wrong."""
    most = max(rows, key=rows.count)
    others = [rank for rank, row in enumerate(rows) if row != most]
    who = (
        f"rank {', '.join(map(str, others))} of {len(rows)} from the others"
        if rows.count(most) > len(rows) / 2
        else "ranks " + " and ".join(str(rank) for rank in range(len(rows)))
    )
    return (
        f"step {step}: {', '.join(parted)} differ in bits, {who}; nothing of this step was saved: the same command "
        "goes on from the last checkpoint, and if it happens again, look at that machine's memory"
    )
