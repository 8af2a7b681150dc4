"""A set that does not fit in memory, as the same endless counted stream.

The order is a pure function of (seed, counter). Epoch e visits the shards in a seeded order; their samples,
one after another, are cut into blocks of `buffer`, and each block is shuffled by itself. The first block of
an epoch has a seeded length, so that blocks hold other neighbours each time. So a counter tells its place,
and a resumed or sliced stream is the same stream: samples before it are passed over undecoded.
"""

import copy
import hashlib
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.data.manifest import sha256_of
from pipeline.data.order import number, permutation
from pipeline.data.pictures import OtherSizeError
from pipeline.data.samples import Broken, Sample, decoded, reason_of, stop_if_broken
from pipeline.data.shards import samples
from pipeline.errors import INPUT, GraftError

_ROOM = 512 << 20  # bytes; shards beyond them are read again in every epoch
_BLOCKS = 4  # undecoded blocks kept: a batch across two of them, in two epochs
_AHEAD = 4  # batches decoded before they are asked for
_AGAIN = 4  # batches kept after: a step's regulariser asks for the pictures of the step once more


class Streamed:
    """Tar shards behind take(counters). One background thread reads and decodes; close() ends it."""

    def __init__(
        self,
        shards: Sequence[Path],
        size: int,
        seed: int,
        buffer: int = 4096,
        fit: str = "refuse",
        room: int = _ROOM,
    ) -> None:
        """buffer: samples shuffled together, held undecoded. Reads every shard once, to count it.

        room: bytes of undecoded pictures that stay in memory from then on: to find a small one in a tar takes half as
        long as to decode it.

        Raises GraftError (exit code 3): a shard missing or torn, no samples, or more than 1 % of them broken.
        """
        if buffer < 1:
            raise GraftError(f"buffer={buffer}: must be at least 1")
        self.shards, self.size, self.seed, self.fit = list(shards), size, seed, fit
        self.broken: dict[str, Broken] = {}
        self._kept: dict[int, list[Sample]] = {}
        self._room = room
        self._counts = np.array([self._counted(number) for number in range(len(shards))], dtype=np.int64)
        self.count = int(self._counts.sum())
        self._buffer = min(buffer, max(self.count, 1))
        self._check_broken()
        if self.count == 0:
            raise GraftError(f"{self._where}: no pictures in it", INPUT)
        self._ahead = _AHEAD
        self._start()

    def _counted(self, number: int) -> int:
        """The whole samples of a shard; kept where all pictures of it still fit, else read again in every epoch."""
        count, left, kept = 0, self._room, list[Sample]()
        for one in samples(self.shards[number]):
            if isinstance(one, Broken):
                self.broken[one.called] = one
                continue
            count, left = count + 1, left - len(one.picture)
            if left >= 0:
                kept.append(replace(one, fields=None, label=None))
            else:
                kept.clear()
        if left >= 0:
            self._kept[number], self._room = kept, left
        return count

    def _start(self) -> None:
        self._blocks: OrderedDict[tuple[int, int], list[Sample]] = OrderedDict()
        self._cursors: OrderedDict[int, tuple[int, Iterator[Sample]]] = OrderedDict()
        self._ready: OrderedDict[tuple[int, ...], Future[Tensor]] = OrderedDict()
        self._shown: OrderedDict[tuple[int, ...], Future[Tensor]] = OrderedDict()
        self._before: int | None = None
        self._first_length = lru_cache(maxsize=_BLOCKS)(self._first_length_of)
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="graft-pictures")

    @property
    def sha256(self) -> str:
        """Hex digest over the names and contents of the shards, in order."""
        lines = "".join(f"{sha256_of(shard)}  {shard.name}\n" for shard in self.shards)
        return hashlib.sha256(lines.encode()).hexdigest()

    @property
    def notes(self) -> list[str]:
        """The broken samples met so far, by name."""
        return [f"skipped, broken: {one.called}: {one.reason}" for one in self.broken.values()]

    def take(self, counters: Tensor) -> Tensor:
        """Samples of the endless stream: int64 [b] -> uint8 [b, 3, size, size].

        A broken picture gives its place to the next whole one of its block. Raises GraftError (exit code 3).
        """
        wanted = np.asarray(counters.tolist(), dtype=np.int64)
        asked = self._ask(wanted)
        key = tuple(wanted.tolist())
        self._ready.pop(key, None)
        self._shown[key] = asked
        _trim(self._shown, _AGAIN)
        self._look_ahead(wanted)
        return asked.result()

    def reordered(self, seed: int) -> "Streamed":
        """The same shards in another order, uncounted. For counters with gaps: nothing is decoded ahead."""
        other = copy.copy(self)
        other.seed, other.broken, other._ahead = seed, dict(self.broken), 0
        other._start()
        return other

    def close(self) -> None:
        """Ends the background thread."""
        self._worker.shutdown(wait=True, cancel_futures=True)

    def _ask(self, counters: NDArray[np.int64]) -> Future[Tensor]:
        key = tuple(counters.tolist())
        if key in self._shown:
            return self._shown[key]
        if key not in self._ready:
            self._ready[key] = self._worker.submit(self._decode, key)
        return self._ready[key]

    def _look_ahead(self, counters: NDArray[np.int64]) -> None:
        """Has the next batches of this process decoded before they are asked for."""
        step = self._step(counters) if self._ahead else 0
        if step > 0:
            for ahead in range(1, self._ahead + 1):
                self._ask(counters + ahead * step)
        while len(self._ready) > 8 * _AHEAD:
            self._ready.popitem(last=False)[1].cancel()

    def _step(self, counters: NDArray[np.int64]) -> int:
        """How far on the next batch is; 0 where that cannot be told.

        Rows are dealt like cards over processes and parts, so the gap inside a batch tells how many share it. Of a
        single row it is the way from the one before.
        """
        if counters.size == 1:
            before, self._before = self._before, int(counters[0])
            return 0 if before is None else int(counters[0]) - before
        gaps = np.diff(counters)
        return int(counters.size * gaps[0]) if counters.size and (gaps == gaps[0]).all() else 0

    def _decode(self, counters: tuple[int, ...]) -> Tensor:
        """Runs in the background thread, which alone touches blocks, cursors and broken."""
        batch = torch.empty(len(counters), 3, self.size, self.size, dtype=torch.uint8)
        for place, counter in zip(batch, counters, strict=True):
            self._decode_into(place, *divmod(counter, self.count))
        return batch

    def _decode_into(self, place: Tensor, epoch: int, position: int) -> None:
        first = self._first_length(epoch)
        block = 0 if position < first else 1 + (position - first) // self._buffer
        start = 0 if block == 0 else first + (block - 1) * self._buffer
        held = self._block(epoch, block, start, first)
        for turn in range(len(held)):
            sample = held[(position - start + turn) % len(held)]
            try:
                decoded(sample, self.size, self.fit, place)
                return
            except OtherSizeError:
                raise
            except GraftError as error:
                self.broken[sample.called] = Broken(sample.called, reason_of(error, sample.called))
                self._check_broken()
        raise GraftError(f"{self._where}: {len(held)} samples in a row are broken", INPUT)

    def _first_length_of(self, epoch: int) -> int:
        if self._buffer >= self.count:
            return self.count
        return 1 + number(self.seed, epoch, 1) % self._buffer

    def _block(self, epoch: int, block: int, start: int, first: int) -> list[Sample]:
        """The samples of a block, shuffled."""
        key = (epoch, block)
        if key not in self._blocks:
            end = min(self.count, first if block == 0 else start + self._buffer)
            held = self._read(epoch, start, end)
            order = permutation(len(held), self.seed, epoch, 2, block)
            self._blocks[key] = [held[place] for place in order.tolist()]
            _trim(self._blocks, _BLOCKS)
        self._blocks.move_to_end(key)
        return self._blocks[key]

    def _read(self, epoch: int, start: int, end: int) -> list[Sample]:
        """Undecoded samples start .. end-1 of an epoch, going on where the last block ended if it can."""
        at, stream = self._cursors.pop(epoch, (self.count, iter(())))
        if at > start:
            at, stream = self._open_near(epoch, start)
        while at < start:
            next(stream)
            at += 1
        held = [next(stream) for _ in range(end - start)]
        self._cursors[epoch] = (end, stream)
        _trim(self._cursors, _BLOCKS)
        return held

    def _open_near(self, epoch: int, start: int) -> tuple[int, Iterator[Sample]]:
        """The beginning of the shard that holds sample `start` of an epoch, and the samples from there on."""
        order = permutation(len(self.shards), self.seed, epoch, 0)
        ends = np.cumsum(self._counts[order])
        place = int(np.searchsorted(ends, start, side="right"))
        at = int(ends[place - 1]) if place else 0
        return at, (one for shard in order[place:] for one in self._whole(int(shard)))

    def _whole(self, shard: int) -> Iterator[Sample]:
        """The samples of one shard; one that is read again must still hold as many as when it was counted."""
        if shard in self._kept:
            yield from self._kept[shard]
            return
        seen = 0
        for one in samples(self.shards[shard]):
            if isinstance(one, Sample):
                seen += 1
                yield one
        if seen != self._counts[shard]:
            raise GraftError(f"{self.shards[shard]}: has changed while it was read; start again", INPUT)

    def _check_broken(self) -> None:
        unusable = list(self.broken.values())
        stop_if_broken(unusable, max(self.count, len(unusable)), self._where)

    @property
    def _where(self) -> str:
        if len(self.shards) == 1:
            return str(self.shards[0])
        return str(self.shards[0].parent) if self.shards else "no shards"


def _trim(kept: OrderedDict, most: int) -> None:  # type: ignore[type-arg]
    """Forgets the oldest until `most` remain."""
    while len(kept) > most:
        kept.popitem(last=False)
