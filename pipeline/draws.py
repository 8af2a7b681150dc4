"""All randomness and data of a step: a pure function of (seed, step, phase, name, sample index).

Nothing is remembered between steps, so a resumed run needs no generator states, and N processes that slice the
same global batch compute what one would. `B` global batch, `b` this process's part of it.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar, cast

import torch
from torch import Tensor

from models.augment import crop_boxes, cropped
from pipeline.errors import GraftError

T = TypeVar("T")


class Pictures(Protocol):
    """An endless stream of pictures, addressed by counter."""

    @property
    def count(self) -> int:
        """Pictures in an epoch."""
        ...

    @property
    def size(self) -> int:
        """Side in pixels."""
        ...

    def take(self, counters: Tensor) -> Tensor:
        """counters [b] -> uint8 [b, 3, H, W]; the same counter gives the same picture in every process."""
        ...


class Labelled(Protocol):
    """Endless streams of pictures of several domains, addressed by label and counter."""

    @property
    def counts(self) -> Sequence[int]:
        """Pictures of each domain, in the order of the labels."""
        ...

    def take(self, labels: Tensor, counters: Tensor, stream: str) -> Tensor:
        """labels, counters [b] -> uint8 [b, 3, H, W]; every stream has an order of its own."""
        ...

    def partner(self, labels: Tensor, counters: Tensor, stream: str, fixed: bool) -> Tensor:
        """A second picture of the same domains: the same one for a picture in the whole run if `fixed`."""
        ...


class Paired(Protocol):
    """An endless stream of pairs of pictures that show the same thing twice."""

    def take(self, counters: Tensor) -> tuple[Tensor, Tensor]:
        """counters [b] -> uint8 [b, 3, H, W] twice."""
        ...


@dataclass(frozen=True)
class Change:
    """How pictures are changed on their way in: mirrored with chance 1/2, and cropped with chance `crop`.

    A crop has `scale` of the area and `ratio` of width to height, both uniform (the ratio in its logarithm), and is
    resized back bilinearly.
    """

    flip: bool = False
    crop: float = 0.0
    scale: tuple[float, float] = (0.8, 1.0)
    ratio: tuple[float, float] = (0.9, 1.1)


def seeded(device: torch.device, *key: object) -> torch.Generator:
    """A generator whose stream is named by `key`."""
    digest = hashlib.blake2b("/".join(map(str, key)).encode(), digest_size=8).digest()
    generator = torch.Generator(device=device)
    generator.manual_seed(int.from_bytes(digest, "little") >> 1)
    return generator


@dataclass(frozen=True)
class StepDraws:
    """The draws of one phase of one step, for the rows offset, offset + stride, ... of `count` samples."""

    seed: int
    step: int
    phase: str
    count: int
    offset: int
    stride: int
    device: torch.device
    data: Any
    change: Change
    gather: Callable[[Tensor], Tensor]
    kept: dict[str, Any]
    parts: int = 1

    def common(self) -> "StepDraws":
        """The draws that every phase of this step has in common, whichever asks first."""
        return replace(self, phase="step")

    def shared(self, name: str, make: Callable[[], T], again: bool = False) -> T:
        """What one phase of a step made and later ones read, kept to the end of the step.

        again: made anew for every phase where the batch comes in parts, so that not all parts' graphs are kept. Then
        `make` must give the same to each: from `common` draws, and networks that stand still until the last has asked.
        """
        if again and self.parts > 1:
            return make()
        if name not in self.kept:
            self.kept[name] = make()
        return cast(T, self.kept[name])

    def sized(self, count: int) -> "StepDraws":
        """The same rows out of another number of samples (a path-length batch)."""
        if count % self.stride:
            raise GraftError(f"{self.phase}: {count} samples cannot be shared by {self.stride} processes")
        return replace(self, count=count)

    def group(self, count: int) -> "StepDraws":
        """A group that is never divided: every process draws all of it, and computes the same term."""
        return replace(self, count=count, offset=0, stride=1)

    def dealt(self, count: int, compared: bool = False) -> "StepDraws":
        """This process's rows of a group, where they can be shared out evenly; else the whole group, as `group` has it.

        Either way the mean over processes is that of the group. compared: a term compares members with each other, so
        that rows must come `together`, which rows of other parts of a batch cannot.
        """
        even = count % self.stride == 0 and not (compared and self.parts > 1)
        return self.sized(count) if even else self.group(count)

    def together(self, values: Tensor) -> Tensor:
        """This process's rows [b, ...] -> those of all processes [B, ...] in the order of samples, differentiable."""
        return values if self.stride == 1 else self.gather(values)

    def _rows(self, values: Tensor) -> Tensor:
        return values if self.stride == 1 else values[self.offset :: self.stride]

    def _generator(self, name: str) -> torch.Generator:
        return seeded(self.device, self.seed, self.step, self.phase, name)

    def normal(self, name: str, *shape: int) -> Tensor:
        """[b, *shape] from N(0, 1)."""
        values = torch.randn(self.count, *shape, generator=self._generator(name), device=self.device)
        return self._rows(values)

    def uniform(self, name: str, *shape: int) -> Tensor:
        """[b, *shape] from [0, 1), in float64: what is far out in a tail needs the small numbers."""
        generator = self._generator(name)
        return self._rows(
            torch.rand(self.count, *shape, generator=generator, device=self.device, dtype=torch.float64)
        )

    def indices(self, name: str, stop: int) -> Tensor:
        """[b] whole numbers from 0 to stop - 1."""
        return self._rows(
            torch.randint(stop, (self.count,), generator=self._generator(name), device=self.device)
        )

    def noise(self, name: str, sides: Sequence[int]) -> list[Tensor]:
        """Fresh noise maps, one [b, 1, h, h] a side; drawn as one buffer."""
        flat = self.normal(name, sum(side * side for side in sides))
        maps = torch.split(flat, [side * side for side in sides], dim=1)
        return [m.reshape(-1, 1, side, side) for m, side in zip(maps, sides, strict=True)]

    def whole_number(self, name: str, low: int, high: int) -> int:
        """One number for the whole batch, low <= n < high."""
        generator = seeded(torch.device("cpu"), self.seed, self.step, self.phase, name)
        return int(torch.randint(low, high, (), generator=generator))

    def chance(self, name: str) -> float:
        """One number in [0, 1) for the whole batch."""
        return float(
            torch.rand((), generator=seeded(torch.device("cpu"), self.seed, self.step, self.phase, name))
        )

    def lasting(self, name: str, *shape: int) -> Tensor:
        """N(0, 1) drawn once for the run: the same at every step (anchors)."""
        return torch.randn(
            *shape, generator=seeded(self.device, self.seed, "lasting", name), device=self.device
        )

    def real(self) -> Tensor:
        """This step's real pictures [b, 3, H, W] in [-1, 1], the same for every phase; changed as the config asks."""
        if self.data is None:
            raise ValueError("this job has no pictures")
        return self._changed(cast(Pictures, self.data).take(self._counters()), "real")

    def labelled(self, stream: str, balanced: bool) -> tuple[Tensor, Tensor]:
        """Pictures [b, 3, H, W] in [-1, 1] and their labels [b], the same for every phase.

        balanced: every domain is as likely as the others; otherwise every picture is.
        """
        data = cast(Labelled, self.data)
        labels = self._labels(stream, balanced)
        return self._changed(data.take(labels, self._counters(), stream), stream), labels.to(self.device)

    def of_domain(self, label: int, stream: str) -> Tensor:
        """Pictures [b, 3, H, W] in [-1, 1] of one domain, all of it in turn, the same for every phase."""
        counters = self._counters()
        labels = torch.full_like(counters, label)
        return self._changed(cast(Labelled, self.data).take(labels, counters, stream), stream)

    def partners(self, stream: str, balanced: bool, fixed: bool) -> Tensor:
        """Another picture of the same domain for each of `labelled`, changed by itself: [b, 3, H, W] in [-1, 1]."""
        labels = self._labels(stream, balanced)
        found = cast(Labelled, self.data).partner(labels, self._counters(), stream, fixed)
        return self._changed(found, f"{stream} partner")

    def pairs(self) -> tuple[Tensor, Tensor]:
        """This step's pairs [b, 3, H, W] in [-1, 1] twice; both halves of a pair are changed alike."""
        first, second = cast(Paired, self.data).take(self._counters())
        return self._changed(first, "pairs"), self._changed(second, "pairs")

    def _counters(self) -> Tensor:
        return self._rows(torch.arange(self.step * self.count, (self.step + 1) * self.count))

    def _labels(self, stream: str, balanced: bool) -> Tensor:
        counts = torch.tensor(list(cast(Labelled, self.data).counts), dtype=torch.float64)
        weights = torch.ones_like(counts) if balanced else counts
        generator = seeded(torch.device("cpu"), self.seed, self.step, stream, "labels")
        return self._rows(torch.multinomial(weights, self.count, replacement=True, generator=generator))

    def _changed(self, pictures: Tensor, stream: str) -> Tensor:
        """uint8 to [-1, 1] on the device, cropped and mirrored, by draws that are named for the stream."""
        pictures = pictures.to(self.device)
        if not self.change.crop:  # mirrored as bytes, which are a quarter of the floats
            return (self._mirrored(pictures, stream) / 127.5).sub_(1)
        generator = seeded(torch.device("cpu"), self.seed, self.step, stream, "crop")
        numbers = torch.rand(self.count, 13, 3, generator=generator)
        boxes = crop_boxes(numbers, self.change.crop, self.change.scale, self.change.ratio)
        floats = cropped((pictures / 127.5).sub_(1), self._rows(boxes).to(self.device))
        return self._mirrored(floats, stream)

    def _mirrored(self, pictures: Tensor, stream: str) -> Tensor:
        if not self.change.flip:
            return pictures
        generator = seeded(torch.device("cpu"), self.seed, self.step, stream, "flip")
        mirrored = self._rows(torch.rand(self.count, generator=generator) < 0.5).to(self.device)
        return torch.where(mirrored[:, None, None, None], pictures.flip(3), pictures)


class Draws:
    """Opens the draws of a step for this process."""

    def __init__(
        self,
        seed: int,
        batch: int,
        device: torch.device,
        data: Pictures | Labelled | Paired | None = None,
        change: Change | None = None,
        rank: int = 0,
        world: int = 1,
        parts: int = 1,
        gather: Callable[[Tensor], Tensor] = lambda values: values,
        group: int = 1,
    ) -> None:
        """group: samples that a network compares with each other; a share of the batch holds whole groups."""
        shares, group = world * parts, min(group, batch)
        if batch % (shares * group):
            raise GraftError(
                f"a batch of {batch} cannot be shared by {world} processes x {parts} parts in groups of {group}; "
                f"use a multiple of {shares * group}"
            )
        self._rank, self._world, self._parts = rank, world, parts
        self._first = StepDraws(seed, 0, "", batch, 0, 1, device, data, change or Change(), gather, {})
        self._kept: tuple[int, dict[object, dict[str, Any]]] = (-1, {})

    def at(self, step: int, phase: str, part: int = 0, whole: bool = False) -> StepDraws:
        """Rows are dealt like cards, so that groups of a fixed size stay whole in one process."""
        if self._kept[0] != step:
            self._kept = (step, {})
        parts = 1 if whole else self._parts
        kept = self._kept[1].setdefault("whole" if whole else part, {})
        offset, stride = part * self._world + self._rank, self._world * parts
        return replace(
            self._first, step=step, phase=phase, offset=offset, stride=stride, kept=kept, parts=parts
        )
