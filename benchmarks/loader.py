"""The loader against Pillow alone: `python -m benchmarks.loader [--pairs 15] [--steps 6] [--out FILE.jsonl]`.

The bound is Pillow on the very same bytes, in memory: opened, converted to RGB, as an array. The loader is what reads
sets that do not fit into memory: shards in, shuffled uint8 batches out, decoded by a thread of its own. CPU time of all
threads is counted, so the ratio is that of one core; 0.80 is promised. `mirrored` goes on to what pretraining takes:
floats in [-1, 1], half of them mirrored. `read again` is the loader where the undecoded pictures do not fit either, so
that each epoch reads the tars. Pictures: the shipped shards (64 px), and the same enlarged to 256 px and packed as PNG,
lossless WebP and JPEG.

Then the waiting: how much of a step of configs/pretrain_personas.yaml passes until its pictures are there, with the
set in memory (as it is trained) and streamed; at most 5 % may. Exit code 1 if either is missed.
"""

import io
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import wait
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchmarks import timing
from benchmarks.enlarged import enlarged, shipped_shards
from benchmarks.timing import interleaved, line, ratio, table
from cluster.engine import PlainEngine
from pipeline.data.manifest import shards_of
from pipeline.data.pack import Choices, pack
from pipeline.data.shards import samples
from pipeline.data.streamed import Streamed
from pipeline.draws import Change, Draws, Pictures
from pipeline.families import FAMILIES
from pipeline.job import Pretrain
from pipeline.pretraining import draws_of
from pipeline.read import read
from pipeline.trainer import Trainer

LEAST, MOST_WAITING = 0.80, 0.05
CONFIG = timing.ROOT / "configs/pretrain_personas.yaml"
BATCH = 16
KINDS: dict[str, dict[str, Any]] = {"png": {}, "webp": {"lossless": True}, "jpg": {"quality": 90}}
CPU = torch.device("cpu")


def packed(folder: Path, kind: str, count: int, size: int) -> list[Path]:
    """Shards of so many enlarged pictures, their files kept as they are."""
    pictures = enlarged(folder / kind, count, size, kind, **KINDS[kind])
    pack(pictures, folder / f"{kind}-shards", Choices(encode="keep", size=size))
    return [shard for shard, _ in shards_of(folder / f"{kind}-shards")]


def bound(shards: Sequence[Path], count: int) -> Callable[[int], object]:
    """Pillow alone on `count` of the pictures, each turn on the next ones."""
    held = [one.picture for shard in shards for one in samples(shard)]

    def decode(turn: int) -> None:
        for number in range(turn * count, (turn + 1) * count):
            np.asarray(Image.open(io.BytesIO(held[number % len(held)])).convert("RGB"))

    return decode


def loader(
    shards: Sequence[Path], size: int, count: int, mirrored: bool, **more: int
) -> Callable[[int], object]:
    """The same number of pictures in batches. A turn ends when as many lie decoded for the next as it has found."""
    stream = Streamed(
        shards, size, seed=0, buffer=count, **more
    )  # so that a turn reads as much as it decodes
    draws = Draws(0, BATCH, CPU, stream, Change(flip=True))

    def load(turn: int) -> None:
        for number in range(turn * count // BATCH, (turn + 1) * count // BATCH):
            if mirrored:
                draws.at(number, "D").real()
            else:
                stream.take(torch.arange(number * BATCH, (number + 1) * BATCH))
        wait(list(stream._ready.values()))

    load.close = stream.close  # type: ignore[attr-defined]
    return load


def rates(what: str, shards: Sequence[Path], size: int, count: int, pairs: int) -> list[dict[str, Any]]:
    """Pictures per second of CPU time in every form, and their ratio to the bound."""
    loaders = {
        "loader": loader(shards, size, count, False),
        "loader, mirrored": loader(shards, size, count, True),
        "loader, read again": loader(shards, size, count, False, room=0),
    }
    found = interleaved({"Pillow": bound(shards, count), **loaders}, pairs, clock=time.process_time)
    for each in loaders.values():
        each.close()  # type: ignore[attr-defined]
    lines = []
    for form, times in found.items():
        times_bound = ratio([one.cpu for one in found["Pillow"]], [one.cpu for one in times])
        one = line(form, times, what=what, pictures=count) | {
            "clock": "CPU time of all threads",
            "ratio": round(times_bound.median, 3),
            "interval": [round(times_bound.low, 3), round(times_bound.high, 3)],
        }
        lines.append(one | {"pictures_per_second": round(1e3 * count / one["median_ms"])})
    return lines


class Watched:
    """Pictures, and the seconds that were spent until they were there."""

    def __init__(self, data: Pictures) -> None:
        self.data, self.count, self.size = data, data.count, data.size
        self.seconds = 0.0

    def take(self, counters: Tensor) -> Tensor:
        """See Pictures.take."""
        began = time.perf_counter()
        found = self.data.take(counters)
        self.seconds += time.perf_counter() - began
        return found


def waiting(form: str, job: Pretrain, data: Pictures, steps: int) -> dict[str, Any]:
    """Share of real steps that passes in waiting for pictures; the first step does not count."""
    watched, family, engine = Watched(data), FAMILIES[job.method], PlainEngine(CPU)
    opened = replace(family.open(job), data=watched)
    method = job.entry.table(job.method_settings())
    trainer = Trainer(method, family.nets(job, method, opened, CPU), draws_of(job, opened, engine), engine)
    trainer.step()
    shares, walls = [], []
    for _ in range(steps):
        before, began = watched.seconds, time.perf_counter()
        trainer.step()
        walls.append(time.perf_counter() - began)
        shares.append((watched.seconds - before) / walls[-1])
    return {
        "what": "waiting for pictures, share of a step",
        "form": form,
        "clock": "wall",
        "median_ms_a_step": round(1e3 * statistics.median(walls), 1),
        "share": round(statistics.median(shares), 5),
        "largest": round(max(shares), 5),
        "n": steps,
    }


def waits(steps: int, overrides: Sequence[str] = ()) -> list[dict[str, Any]]:
    """The set as it is trained, held in memory, and streamed."""
    job = read(CONFIG, list(overrides), Pretrain)
    held = FAMILIES[job.method].open(job).data
    streamed = Streamed(shipped_shards(), held.size, job.seed, fit=job.data.fit)
    found = [waiting("held", job, held, steps), waiting("streamed", job, streamed, steps)]
    streamed.close()
    return found


def shown(lines: Sequence[dict[str, Any]]) -> str:
    """The rates as a table."""
    rows = [
        (
            f"{one['what']}, {one['form']}",
            str(one["pictures_per_second"]),
            f"{one['ratio']:.2f} ({one['interval'][0]:.2f}-{one['interval'][1]:.2f})",
            str(one["n"]),
        )
        for one in lines
    ]
    return table(("what", "pictures/s of CPU time", "of the bound", "n"), rows)


def kept(rated: Sequence[dict[str, Any]], waited: Sequence[dict[str, Any]]) -> bool:
    """Whether both promises are."""
    enough = all(one["ratio"] >= LEAST for one in rated if one["form"] == "loader")
    return enough and all(one["share"] <= MOST_WAITING for one in waited)


def main(argv: Sequence[str] | None = None) -> int:
    parser = timing.arguments("loader", (__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=6, help="training steps that are watched (default: 6)")
    given = parser.parse_args(argv)
    lines = rates("64 px, webp, as shipped", shipped_shards(), 64, 960, given.pairs)
    with tempfile.TemporaryDirectory(prefix="graft-loader-") as name:
        for kind in KINDS:
            shards = packed(Path(name), kind, 256, 256)
            lines += rates(f"256 px, {kind}", shards, 256, 128, given.pairs)
    print(shown(lines), flush=True)
    waited = waits(given.steps)
    for one in waited:
        print(f"{one['what']}, {one['form']}: {one['share']:.3%}, at most {one['largest']:.3%}", flush=True)
    timing.write([*lines, *waited], given.out)
    return 0 if kept(lines, waited) else 1


if __name__ == "__main__":
    raise SystemExit(main())
