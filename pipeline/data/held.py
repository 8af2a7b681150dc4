"""Picture sets as an endless stream of counted samples: held whole in memory, or streamed from shards.

N pictures, b batch, H W pixels (H = W = size), C = 3 (RGB uint8).
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.data.listing import Listing, entries, list_files
from pipeline.data.manifest import shards_of
from pipeline.data.order import permutation
from pipeline.data.pictures import OtherSizeError
from pipeline.data.samples import Broken, Sample, decoded, fields_of, reason_of, stop_if_broken
from pipeline.data.shards import samples
from pipeline.data.shipped import plain_place_of
from pipeline.data.streamed import Streamed
from pipeline.data.tars import is_tar
from pipeline.errors import INPUT, GraftError

HOLD_LIMIT_BYTES = 2 << 30


class Held:
    """A set in memory. Counter i is sample permutation(seed, i // N)[i % N]: no state, nothing to resume."""

    def __init__(
        self,
        pictures: Tensor,
        fields: Sequence[dict[str, Any]] | None,
        seed: int,
        names: Sequence[str] = (),
        notes: Sequence[str] = (),
    ) -> None:
        """pictures: uint8 [N, 3, H, W], N >= 1; fields: the json of each; notes: what was converted."""
        if pictures.ndim != 4 or pictures.shape[0] == 0 or pictures.dtype != torch.uint8:
            raise ValueError(f"uint8 [N, 3, H, W] expected, not {pictures.dtype} {list(pictures.shape)}")
        self.pictures, self.seed = pictures, seed
        self.fields = list(fields) if fields is not None else [{} for _ in pictures]
        self.names, self.notes = list(names), list(notes)
        self._order = lru_cache(maxsize=8)(self._order_of)

    @property
    def count(self) -> int:
        """N."""
        return self.pictures.shape[0]

    @property
    def size(self) -> int:
        """The side in pixels."""
        return self.pictures.shape[-1]

    @property
    def labels(self) -> list[int | None]:
        """The whole number "label" of each sample's json or cls; None where there is none."""
        return [label if isinstance(label := one.get("label"), int) else None for one in self.fields]

    @property
    def sha256(self) -> str:
        """Hex digest of the shape and the pixels in order; the seed is no part of it."""
        shape = "x".join(str(side) for side in self.pictures.shape)
        pixels = self.pictures.cpu().contiguous().numpy().tobytes()
        return hashlib.sha256(shape.encode() + pixels).hexdigest()

    def indices(self, counters: Tensor) -> Tensor:
        """Which picture each counter is: int64 [b] -> int64 [b] in 0 .. N-1."""
        found = [int(self._order(int(i) // self.count)[int(i) % self.count]) for i in counters.tolist()]
        return torch.tensor(found, dtype=torch.int64)

    def take(self, counters: Tensor) -> Tensor:
        """Samples of the endless stream: int64 [b] -> uint8 [b, 3, H, W]."""
        return self.pictures[self.indices(counters).to(self.pictures.device)]

    def all(self) -> Tensor:
        """uint8 [N, 3, H, W] in the order of the set."""
        return self.pictures

    def to(self, device: str | torch.device) -> "Held":
        """The same set with its pictures on a device."""
        return Held(self.pictures.to(device), self.fields, self.seed, self.names, self.notes)

    def _order_of(self, epoch: int) -> NDArray[np.int64]:
        return permutation(self.count, self.seed, epoch)


class Decoding:
    """Samples decoded one after another: the whole ones, and by name the broken ones."""

    def __init__(self, size: int, fit: str) -> None:
        self.size, self.fit = size, fit
        self.pictures: list[Tensor] = []
        self.fields: list[dict[str, Any]] = []
        self.names: list[str] = []
        self.broken: list[Broken] = []
        self.conversions: Counter[str] = Counter()

    def add(self, sample: Sample | Broken) -> None:
        """One more. Raises OtherSizeError, which is no broken picture but a choice to be made."""
        if isinstance(sample, Broken):
            self.broken.append(sample)
            return
        try:
            fields = fields_of(sample)
            picture, notes = decoded(sample, self.size, self.fit)
        except OtherSizeError:
            raise
        except GraftError as error:
            self.broken.append(Broken(sample.called, reason_of(error, sample.called)))
            return
        self.pictures.append(picture)
        self.fields.append(fields)
        self.names.append(f"{sample.key}.{sample.extension}")
        self.conversions.update(note.split(" from ")[0] for note in notes)

    def held(self, seed: int, where: str) -> Held:
        """The set of the whole ones. Raises GraftError (exit code 3) where there are none."""
        if not self.pictures:
            raise GraftError(f"{where}: no pictures in it", INPUT)
        notes = conversion_notes(self.conversions) + broken_notes(self.broken)
        return Held(torch.stack(self.pictures), self.fields, seed, self.names, notes)


def hold(found: Iterable[Sample | Broken], size: int, fit: str, seed: int, where: str) -> Held:
    """Decodes samples into memory; broken ones are skipped and named, more than 1 % stop (exit code 3)."""
    decoding = Decoding(size, fit)
    for sample in found:
        decoding.add(sample)
    stop_if_broken(decoding.broken, len(decoding.pictures) + len(decoding.broken), where)
    return decoding.held(seed, where)


def open_set(
    where: str | Path,
    size: int,
    fit: str = "refuse",
    hold_limit_bytes: int = HOLD_LIMIT_BYTES,
    seed: int = 0,
    buffer: int = 4096,
) -> Held | Streamed:
    """The training pictures of a shipped name, a folder (shards or pictures) or an archive.

    Held where N * 3 * size * size bytes are within the limit, else Streamed, which needs tar shards. Shards
    of the split "heldout" are left out; name such a shard itself to open it. Raises GraftError (exit code 3).
    """
    path = plain_place_of(where)
    most = hold_limit_bytes // (3 * size * size)
    shards = shards_of(path) if path.is_dir() else []
    if is_tar(path) and path.stat().st_size > hold_limit_bytes:
        shards = [(path, None)]
    listing: Listing | None = None
    if not shards:
        listing = list_files(path)
        pictures = entries([listing])
        if len(pictures) <= most:
            held = hold((picture.sample() for picture in pictures), size, fit, seed, str(where))
            return Held(held.pictures, held.fields, seed, held.names, held.notes + stray_notes(listing.stray))
        if not is_tar(path):
            raise GraftError(
                f"{where}: {len(pictures):,} pictures of {size}x{size} do not fit into "
                f"{hold_limit_bytes:,} bytes; pack them first: graft data pack {where} OUT",
                INPUT,
            )
        shards = [(path, len(pictures))]
    if all(count is not None for _, count in shards) and sum(count or 0 for _, count in shards) <= most:
        return hold((one for shard, _ in shards for one in samples(shard)), size, fit, seed, str(where))
    streamed = Streamed([shard for shard, _ in shards], size, seed, buffer, fit)
    if streamed.count > most:
        return streamed
    streamed.close()
    return hold((one for shard, _ in shards for one in samples(shard)), size, fit, seed, str(where))


def conversion_notes(conversions: Counter[str]) -> list[str]:
    """One note for each way in which pictures were changed to be read."""
    return [f"{count} pictures: {note}" for note, count in sorted(conversions.items())]


def broken_notes(broken: Sequence[Broken]) -> list[str]:
    """One note for each sample that was passed over."""
    return [f"skipped, broken: {one.called}: {one.reason}" for one in broken]


def stray_notes(stray: Sequence[str]) -> list[str]:
    """One note that names the files that were ignored, or none."""
    if not stray:
        return []
    more = f" and {len(stray) - 5} more" if len(stray) > 5 else ""
    return [f"ignored, not pictures: {', '.join(stray[:5])}{more}"]
