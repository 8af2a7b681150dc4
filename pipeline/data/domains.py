"""Pictures of several domains (or classes) as endless streams, addressed by label and counter.

D domains, N_d pictures of domain d, b batch, H W pixels (H = W = size), 3 for RGB uint8.
"""

import hashlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.data.held import HOLD_LIMIT_BYTES, Decoding, Held, broken_notes, stray_notes
from pipeline.data.layouts import SPLITS, Layout, find_layout, label_order, refuse_other_names
from pipeline.data.order import named, number, permutation
from pipeline.data.samples import Broken, stop_if_broken
from pipeline.data.shipped import place_of
from pipeline.data.streamed import Streamed
from pipeline.errors import INPUT, GraftError


class Domains:
    """Counter i of domain d in stream s is a pure function of (seed, s, d, i): nothing to resume.

    A label is the place of its name among the sorted names. Every stream goes through each domain in an order
    of its own, all of it once in N_d counters.
    """

    def __init__(self, sets: Mapping[str, Held | Streamed], seed: int, notes: Sequence[str] = ()) -> None:
        """sets: at least one, all of one size; notes: what is to be said beside the notes of each."""
        if not sets or len({one.size for one in sets.values()}) != 1:
            raise ValueError(f"at least one set expected, all of one size, not {dict(sets)}")
        self.names = tuple(label_order(sets))
        self.seed, self._said = seed, list(notes)
        self._sets = [sets[name] for name in self.names]
        self._streams: dict[tuple[str, int], Streamed] = {}
        self._order = lru_cache(maxsize=16 * len(self.names))(self._order_of)

    @property
    def counts(self) -> tuple[int, ...]:
        """N_d, in the order of the labels."""
        return tuple(one.count for one in self._sets)

    @property
    def count(self) -> int:
        """Pictures in all domains."""
        return sum(self.counts)

    @property
    def size(self) -> int:
        """The side in pixels."""
        return self._sets[0].size

    @property
    def sha256(self) -> str:
        """Hex digest over the names and the digests of the domains, in the order of the labels."""
        lines = "".join(f"{one.sha256}  {name}\n" for name, one in zip(self.names, self._sets, strict=True))
        return hashlib.sha256(lines.encode()).hexdigest()

    @property
    def notes(self) -> list[str]:
        """What was converted, skipped and ignored, each domain's with its name in front."""
        found = dict.fromkeys(self._said)
        for label, (name, own) in enumerate(zip(self.names, self._sets, strict=True)):
            opened = [own, *(one for (_, of), one in self._streams.items() if of == label)]
            found |= dict.fromkeys(f"{name}: {note}" for one in opened for note in one.notes)
        return list(found)

    def held(self, label: int) -> Held:
        """The pictures of one domain. Raises GraftError (exit code 3) where they are too many to hold."""
        own = self._sets[label]
        if isinstance(own, Streamed):
            raise GraftError(
                f"{self.names[label]}: {own.count:,} pictures are too many to hold in memory", INPUT
            )
        return own

    def indices(self, labels: Tensor, counters: Tensor, stream: str) -> Tensor:
        """Which picture of its domain each is: int64 [b] twice -> [b] in 0 .. N_d - 1; held ones only."""
        found = []
        for label, counter in zip(labels.tolist(), counters.tolist(), strict=True):
            epoch, place = divmod(counter, self.held(label).count)
            found.append(int(self._order(stream, label, epoch)[place]))
        return torch.tensor(found, dtype=torch.int64)

    def take(self, labels: Tensor, counters: Tensor, stream: str) -> Tensor:
        """int64 [b], int64 [b] -> uint8 [b, 3, H, W]. Streams of different names have independent orders."""
        labels, counters = labels.cpu(), counters.cpu()
        rows: dict[int, Tensor] = {}
        for label in sorted(set(labels.tolist())):
            of_label = torch.nonzero(labels == label)[:, 0]
            own = self._sets[label]
            if isinstance(own, Held):
                found = own.pictures[
                    self.indices(labels[of_label], counters[of_label], stream).to(own.pictures.device)
                ]
            else:
                found = self._stream(stream, label).take(counters[of_label])
            rows |= dict(zip(of_label.tolist(), found, strict=True))
        if not rows:
            return torch.empty(0, 3, self.size, self.size, dtype=torch.uint8)
        return torch.stack([rows[row] for row in range(len(labels))])

    def partner(self, labels: Tensor, counters: Tensor, stream: str, fixed: bool) -> Tensor:
        """A second picture of the domain of each that `take` gives: uint8 [b, 3, H, W].

        fixed: one permutation of each domain for the whole run, so that a picture has the same partner for
        ever, and may be its own (as released: one shuffle of the list at the start). Otherwise another
        independent stream, drawn anew in each epoch. Raises GraftError (exit code 3) for fixed partners of
        domains that are not held in memory.
        """
        if not fixed:
            return self.take(labels, counters, f"{stream}/partner")
        labels, counters = labels.cpu(), counters.cpu()
        streaming = [
            name for name, own in zip(self.names, self._sets, strict=True) if isinstance(own, Streamed)
        ]
        if streaming:
            raise GraftError(
                f"{streaming[0]}: partners for the whole run need their domain in memory, and this one is "
                "streamed; let the partners be drawn anew",
                INPUT,
            )
        first = self.indices(labels, counters, stream).tolist()
        found = []
        for label, index in zip(labels.tolist(), first, strict=True):
            found.append(self.held(label).pictures[int(self._order("partners of the run", label, 0)[index])])
        return torch.stack(found) if found else self.take(labels, counters, stream)

    def to(self, device: str | torch.device) -> "Domains":
        """The same domains, those that are held with their pictures on a device."""
        moved = [one.to(device) if isinstance(one, Held) else one for one in self._sets]
        return Domains(dict(zip(self.names, moved, strict=True)), self.seed, self._said)

    def close(self) -> None:
        """Ends the background threads of streamed domains."""
        for one in [*self._sets, *self._streams.values()]:
            if isinstance(one, Streamed):
                one.close()

    def _stream(self, stream: str, label: int) -> Streamed:
        own = self._sets[label]
        assert isinstance(own, Streamed)
        if (stream, label) not in self._streams:
            self._streams[stream, label] = own.reordered(number(self.seed, named(stream), label))
        return self._streams[stream, label]

    def _order_of(self, stream: str, label: int, epoch: int) -> NDArray[np.int64]:
        return permutation(self._sets[label].count, self.seed, named(stream), label, epoch)


def open_domains(
    where: str | Path,
    size: int,
    fit: str = "refuse",
    seed: int = 0,
    split: str = "train",
    hold_limit_bytes: int = HOLD_LIMIT_BYTES,
    buffer: int = 4096,
) -> Domains:
    """One split ("train" or "heldout") of a shipped name, a folder or an archive.

    Domains are the sub-folders (of the folder, or of train/ and of test/, val/ or heldout/ in it), or the
    tars NAME-train*.tar and NAME-test*.tar or NAME-heldout*.tar, or what the samples of shards name: the
    field `domain` or `class` of KEY.json, else the number in KEY.cls. Held in memory within the limit, else
    streamed, which needs tars of their own for each domain. Raises GraftError (exit code 3), also where the
    splits name different domains.
    """
    layout = find_layout(place_of(where), str(where))
    if not layout.parts.get(split):
        raise GraftError(_without_split(str(where), split), INPUT)
    most = hold_limit_bytes // (3 * size * size)
    streams = _streamed(layout, split, most, (size, seed, buffer, fit))
    found = Domains(streams, seed) if streams else _hold(layout, split, most, size, fit, seed)
    both = {one: set(found.names) if one == split else layout.names(one) for one in SPLITS}
    refuse_other_names(layout.where, layout.kind, both["train"], both["heldout"])
    return found


def _hold(layout: Layout, split: str, most: int, size: int, fit: str, seed: int) -> Domains:
    decodings = {name: Decoding(size, fit) for name in layout.said(split)}
    nameless: list[Broken] = []
    held = 0
    for name, sample in layout.labelled(split):
        if name is not None:
            decodings.setdefault(name, Decoding(size, fit)).add(sample)
        elif isinstance(sample, Broken):
            nameless.append(sample)
        held += not isinstance(sample, Broken)
        if held > most:
            raise GraftError(
                f"{layout.where}: more than {most:,} pictures of {size}x{size} are too many to hold; "
                f"give each domain shards of its own: graft data pack {layout.where} OUT --kind domains",
                INPUT,
            )
    broken = nameless + [one for decoding in decodings.values() for one in decoding.broken]
    stop_if_broken(broken, sum(len(one.pictures) for one in decodings.values()) + len(broken), layout.where)
    if not decodings:
        raise GraftError(f"{layout.where}: no pictures in it", INPUT)
    sets = {name: one.held(seed, f"{layout.where}: {name}") for name, one in decodings.items()}
    return Domains(sets, seed, broken_notes(nameless) + stray_notes(layout.stray))


def _streamed(
    layout: Layout, split: str, most: int, reading: tuple[int, int, int, str]
) -> dict[str, Streamed]:
    """The domains as streams where they are too many to hold and each has tars of its own; else {}."""
    parts = layout.parts[split]
    if any(part.tar is None or part.name is None for part in parts):
        return {}
    counts = [part.count for part in parts if part.count is not None]
    if len(counts) == len(parts) and sum(counts) <= most:
        return {}
    tars: dict[str, list[Path]] = {}
    for part in parts:
        if part.tar is not None and part.name is not None:
            tars.setdefault(part.name, []).append(part.tar)
    found = {name: Streamed(of_name, *reading) for name, of_name in tars.items()}
    if sum(one.count for one in found.values()) > most:
        return found
    for one in found.values():
        one.close()
    return {}


def _without_split(where: str, split: str) -> str:
    if split == "train":
        return f"{where}: no pictures for training in it, only held-out ones"
    return (
        f"{where}: no held-out pictures in it; name its tars NAME-test.tar, "
        "or lay its folders under train/ and heldout/"
    )
