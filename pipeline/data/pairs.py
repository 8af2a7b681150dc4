"""Pairs of pictures that show the same thing twice, as an endless stream of counters.

N pairs, b batch, H W pixels (H = W = size), 3 for RGB uint8; A is what is given, B what is wanted.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.data.held import HOLD_LIMIT_BYTES, broken_notes, conversion_notes, stray_notes
from pipeline.data.order import named, permutation
from pipeline.data.pairing import broken_pair, find_pairs, images_of
from pipeline.data.pictures import OtherSizeError, fit_picture, to_tensor
from pipeline.data.samples import Broken, Pair, Sample, fields_of, stop_if_broken
from pipeline.data.shipped import place_of
from pipeline.errors import INPUT, GraftError


class Pairs:
    """A set of pairs in memory. Counter i in stream s is a function of (seed, s, i): nothing to resume."""

    def __init__(
        self,
        a: Tensor,
        b: Tensor,
        seed: int,
        names: Sequence[str] = (),
        notes: Sequence[str] = (),
    ) -> None:
        """a, b: uint8 [N, 3, H, W] each, row by row the same thing, N >= 1; notes: what was converted."""
        if (
            a.shape != b.shape
            or a.ndim != 4
            or not len(a)
            or a.dtype != torch.uint8
            or b.dtype != torch.uint8
        ):
            raise ValueError(f"uint8 [N, 3, H, W] twice expected, not {list(a.shape)} and {list(b.shape)}")
        self.a, self.b, self.seed = a, b, seed
        self.names, self.notes = list(names), list(notes)
        self._order = lru_cache(maxsize=8)(self._order_of)

    @property
    def count(self) -> int:
        """N."""
        return self.a.shape[0]

    @property
    def size(self) -> int:
        """The side in pixels."""
        return self.a.shape[-1]

    @property
    def sha256(self) -> str:
        """Hex digest of the shape and the pixels, all of A and then all of B; the seed is no part of it."""
        digest = hashlib.sha256("x".join(str(side) for side in self.a.shape).encode())
        for half in (self.a, self.b):
            digest.update(half.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def indices(self, counters: Tensor, stream: str = "pairs") -> Tensor:
        """Which pair each counter is: int64 [b] -> int64 [b] in 0 .. N-1."""
        found = [int(self._order(stream, i // self.count)[i % self.count]) for i in counters.tolist()]
        return torch.tensor(found, dtype=torch.int64)

    def take(self, counters: Tensor, stream: str = "pairs") -> tuple[Tensor, Tensor]:
        """int64 [b] -> A and B, uint8 [b, 3, H, W] each. Streams of other names have independent orders."""
        found = self.indices(counters, stream).to(self.a.device)
        return self.a[found], self.b[found]

    def to(self, device: str | torch.device) -> "Pairs":
        """The same set with its pictures on a device."""
        return Pairs(self.a.to(device), self.b.to(device), self.seed, self.names, self.notes)

    def _order_of(self, stream: str, epoch: int) -> NDArray[np.int64]:
        return permutation(self.count, self.seed, named(stream), epoch)


class _Decoding:
    """Pairs decoded one after another: the whole ones, and by name the broken ones."""

    def __init__(self, size: int, fit: str) -> None:
        self.size, self.fit = size, fit
        self.a: list[Tensor] = []
        self.b: list[Tensor] = []
        self.names: list[str] = []
        self.broken: list[Broken] = []
        self.conversions: Counter[str] = Counter()

    def add(self, one: Pair | Sample | Broken) -> None:
        """One more; a broken half breaks its pair. Raises OtherSizeError, which is a choice to be made."""
        if isinstance(one, Broken):
            self.broken.append(one)
            return
        try:
            fields_of(one)
            images, notes = images_of(one)
            fitted = [fit_picture(image, called, self.size, self.fit) for _, called, image in images]
        except OtherSizeError:
            raise
        except GraftError as error:
            self.broken.append(broken_pair(one, error))
            return
        for half, (image, changes) in zip((self.a, self.b), fitted, strict=True):
            half.append(to_tensor(image))
            notes = notes + changes
        self.names.append(one.key)
        self.conversions.update(note.split(" from ")[0] for note in notes)


def open_pairs(
    where: str | Path,
    size: int,
    fit: str = "refuse",
    seed: int = 0,
    split: str = "train",
    hold_limit_bytes: int = HOLD_LIMIT_BYTES,
) -> Pairs:
    """One split ("train" or "heldout") of the pairs of a folder (shards or pictures) or an archive.

    Pairs are members KEY.a.webp and KEY.b.webp, or equal names under A/ and B/, or pictures twice as wide as
    high with A on the left; the held-out ones are in shards named heldout* or test*, or under test/, val/ or
    heldout/ beside train/. A broken half breaks its pair; broken pairs are skipped and named, more than 1 %
    stop. Raises GraftError (exit code 3), also where the pairs are too many for the limit.
    """
    parts, stray = find_pairs(place_of(where))
    if not parts.get(split):
        what = "pairs" if split == "train" else "held-out pairs"
        raise GraftError(f"{where}: no {what} in it", INPUT)
    most = hold_limit_bytes // (6 * size * size)
    decoding = _Decoding(size, fit)
    for read in parts[split]:
        for one in read():
            decoding.add(one)
            if len(decoding.a) > most:
                raise GraftError(
                    f"{where}: more than {most:,} pairs of {size}x{size} are too many to hold in memory; "
                    "take a smaller size, or a part of them",
                    INPUT,
                )
    stop_if_broken(decoding.broken, len(decoding.a) + len(decoding.broken), str(where))
    if not decoding.a:
        raise GraftError(f"{where}: no pairs in it", INPUT)
    notes = conversion_notes(decoding.conversions) + broken_notes(decoding.broken) + stray_notes(stray)
    return Pairs(torch.stack(decoding.a), torch.stack(decoding.b), seed, decoding.names, notes)
