"""All randomness and data of a step: a pure function of (seed, step, phase, name, sample index).

Nothing is remembered between steps, so a resumed run needs no generator states, and N processes that slice the
same global batch compute what one would. `B` global batch, `b` this process's part of it.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from pipeline.errors import GraftError


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
    pictures: Pictures | None
    flip: bool
    gather: Callable[[Tensor], Tensor]

    def sized(self, count: int) -> "StepDraws":
        """The same rows out of another number of samples (a path-length batch)."""
        if count % self.stride:
            raise GraftError(f"{self.phase}: {count} samples cannot be shared by {self.stride} processes")
        return replace(self, count=count)

    def group(self, count: int) -> "StepDraws":
        """A group that is never divided: every process draws all of it, and computes the same term."""
        return replace(self, count=count, offset=0, stride=1)

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
        """This step's real pictures [b, 3, H, W] in [-1, 1], the same for every phase; flipped by half if asked."""
        if self.pictures is None:
            raise ValueError("this job has no pictures")
        counters = self._rows(torch.arange(self.step * self.count, (self.step + 1) * self.count))
        pictures = self.pictures.take(counters).to(self.device, torch.get_default_dtype()) / 127.5 - 1
        if not self.flip:
            return pictures
        generator = seeded(torch.device("cpu"), self.seed, self.step, "real", "flip")
        mirrored = self._rows(torch.rand(self.count, generator=generator) < 0.5).to(self.device)
        return torch.where(mirrored[:, None, None, None], pictures.flip(3), pictures)


class Draws:
    """Opens the draws of a step for this process."""

    def __init__(
        self,
        seed: int,
        batch: int,
        device: torch.device,
        pictures: Pictures | None = None,
        flip: bool = False,
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
        self._first = StepDraws(seed, 0, "", batch, 0, 1, device, pictures, flip, gather)

    def at(self, step: int, phase: str, part: int = 0, whole: bool = False) -> StepDraws:
        """Rows are dealt like cards, so that groups of a fixed size stay whole in one process."""
        parts = 1 if whole else self._parts
        offset, stride = part * self._world + self._rank, self._world * parts
        return replace(self._first, step=step, phase=phase, offset=offset, stride=stride)
