"""Interleaved timing, ratios with intervals, and the lines that are committed.

Ratios are of two forms in the same pair, so that what else the machine does falls on both. The main clock is the
CPU time of this thread, which a shared machine disturbs least; the wall clock stands beside it.
"""

import argparse
import datetime
import json
import os
import platform
import random
import socket
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Spell:
    """Milliseconds of one run: CPU time of this thread, and wall."""

    cpu: float
    wall: float

    def __add__(self, other: "Spell") -> "Spell":
        return Spell(self.cpu + other.cpu, self.wall + other.wall)

    def __mul__(self, share: float) -> "Spell":
        return Spell(self.cpu * share, self.wall * share)


def spell(run: Callable[[], object], clock: Callable[[], float] = time.thread_time) -> Spell:
    """One timed run. clock: seconds of CPU time; time.process_time where other threads work for it, too."""
    cpu, wall = clock(), time.perf_counter()
    run()
    return Spell((clock() - cpu) * 1e3, (time.perf_counter() - wall) * 1e3)


def interleaved(
    forms: Mapping[str, Callable[[int], object]],
    pairs: int,
    warm: int = 1,
    clock: Callable[[], float] = time.thread_time,
) -> dict[str, list[Spell]]:
    """A B A B ...: every form once per turn, `pairs` turns after `warm`; each is told the number of the turn."""
    found: dict[str, list[Spell]] = {name: [] for name in forms}
    for turn in range(-warm, pairs):
        for name, form in forms.items():
            one = spell(lambda form=form, turn=turn: form(turn + warm), clock)  # type: ignore[misc]
            if turn >= 0:
                found[name].append(one)
    return found


@dataclass(frozen=True)
class Ratio:
    """Median over pairs of theirs / ours, and its 95 % bootstrap interval."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f}-{self.high:.2f})"


def ratio(theirs: Sequence[float], ours: Sequence[float], draws: int = 2000) -> Ratio:
    """How many times our time theirs is."""
    ratios = [a / b for a, b in zip(theirs, ours, strict=True)]
    rng = random.Random(0)
    medians = sorted(statistics.median(rng.choices(ratios, k=len(ratios))) for _ in range(draws))
    return Ratio(statistics.median(ratios), medians[int(0.025 * draws)], medians[int(0.975 * draws) - 1])


def free_port() -> int:
    """A port on loopback that nobody listens at."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def cpu_model() -> str:
    """The processor's name."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    named = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{named[0] if named else platform.processor()}, {os.cpu_count()} cores"


def commit() -> str:
    """The short hash of the checkout, with + if tracked files of the four rooms have changed."""
    found = []
    for words in (["rev-parse", "--short", "HEAD"], ["status", "--porcelain", "-uno", "--", *ROOMS]):
        done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)
        found.append(done.stdout.strip())
    return found[0] + ("+" if found[1] else "")


ROOMS = ("models", "losses", "cluster", "pipeline")


@cache
def about() -> dict[str, Any]:
    """What every line says first; asked for when a benchmark starts, since a checkout may move while it runs."""
    return {
        "date": datetime.date.today().isoformat(),
        "commit": commit(),
        "device": cpu_model(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }


def line(
    form: str,
    times: Sequence[Spell],
    reference: Sequence[Spell] | None = None,
    mb: float | None = None,
    error: float | None = None,
    **more: Any,
) -> dict[str, Any]:
    """Values of one form; its ratio is its own time over that of `reference` (ours), pair by pair."""
    cpu = [one.cpu for one in times]
    times_ours = None if reference is None else ratio(cpu, [one.cpu for one in reference])
    return more | {
        "form": form,
        "clock": "thread CPU time",
        "median_ms": round(statistics.median(cpu), 2),
        "median_wall_ms": round(statistics.median(one.wall for one in times), 2),
        "ratio": None if times_ours is None else round(times_ours.median, 3),
        "interval": None if times_ours is None else [round(times_ours.low, 3), round(times_ours.high, 3)],
        "n": len(cpu),
        "mb": mb,
        "error": error,
    }


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Aligned columns, the first to the left."""
    cells = [list(head), *map(list, rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    return "\n".join(
        "  ".join(
            cell.rjust(w) if i else cell.ljust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in cells
    )


def shown(lines: Sequence[Mapping[str, Any]]) -> str:
    """The lines as a table."""
    rows = []
    for one in lines:
        times = (
            ""
            if one["ratio"] is None
            else f"{one['ratio']:.2f} ({one['interval'][0]:.2f}-{one['interval'][1]:.2f})"
        )
        mb = "" if one["mb"] is None else f"{one['mb']:.0f}"
        error = "" if one["error"] is None else f"{one['error']:.0e}"
        numbers = (f"{one['median_ms']:.1f}", f"{one['median_wall_ms']:.1f}", times, mb, error, str(one["n"]))
        rows.append((str(one.get("what", "")), str(one["form"]), *numbers))
    return table(("what", "form", "CPU ms", "wall ms", "times ours", "peak MB", "error", "n"), rows)


def write(lines: Sequence[Mapping[str, Any]], out: Path | None) -> None:
    """Append the lines to `out`, each after what the machine is."""
    if out is None:
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    first = about()
    with out.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(first | dict(one)) + "\n" for one in lines)


def peak_mb() -> float:
    """Largest resident size of this program so far. (ru_maxrss would count the process that started it, too.)"""
    status = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM"))


def arguments(name: str, description: str) -> argparse.ArgumentParser:
    """--out and --pairs; from here on one thread, and the commit is noted."""
    torch.set_num_threads(1)
    about()
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=description)
    parser.add_argument("--out", type=Path, help="append JSON lines to this file")
    parser.add_argument("--pairs", type=int, default=15, help="interleaved repetitions (default: 15)")
    return parser
