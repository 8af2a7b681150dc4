"""Live progress of running cells, read from the disk alone: it works whatever runs the cells."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from . import jsonl

PLAIN_EVERY = 30.0  # seconds between lines in a pipe or a log
BAR = 20  # characters
STATE_STYLE = {
    "done": "green",
    "failed": "red",
    "diverged": "red",
    "out of memory": "red",
    "stopped": "yellow",
}


@dataclass(frozen=True)
class CellView:
    """A cell to watch: its id, its folder on disk, and how many steps it will take."""

    id: str
    folder: Path
    steps: int


@dataclass(frozen=True)
class Look:
    """What the disk says of a cell: `state` is waiting, running, or the status of its result.json."""

    state: str
    step: int = 0
    images_per_second: float = 0.0
    seconds_left: float | None = None
    metric: str = ""


def look(cell: CellView) -> Look:
    """Read the ends of a cell's metrics.jsonl and its result.json."""
    metrics, result = cell.folder / "metrics.jsonl", cell.folder / "result.json"
    step, speed, seconds_left, metric = 0, 0.0, None, ""
    for line in jsonl.tail(metrics):
        step = max(step, int(line.get("step", 0)))
        if "images_per_second" in line:
            speed = float(line["images_per_second"])
            seconds_left = _seconds_left(line, cell.steps, speed)
        metric = _metric(line) or metric
    state = "running" if metrics.exists() else "waiting"
    if result.exists() and _newer(result, metrics):
        with suppress(OSError, ValueError):  # being replaced at this moment: the next look sees it
            state = str(json.loads(result.read_text(encoding="utf-8")).get("status", state))
    return Look(state, step, speed, seconds_left, metric)


class Progress:
    """One line per running cell and a total; in a pipe or a log one plain line at most every 30 s.

    The caller's loop calls `refresh()` as often as it likes; nothing here runs by itself.
    """

    def __init__(
        self,
        cells: Sequence[CellView],
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.cells = cells
        self._console = console or Console(stderr=True)
        self._clock = clock
        self._began = clock()
        self._said_at = -PLAIN_EVERY + self._began
        self._said = ""
        self._final: dict[str, Look] = {}  # cells at rest are not read again
        self._live: Live | None = None

    def __enter__(self) -> "Progress":
        if self._console.is_terminal:
            self._live = Live(console=self._console, auto_refresh=False)
            self._live.start()
        self.refresh()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def refresh(self) -> None:
        looks = {cell.id: self._look(cell) for cell in self.cells}
        if self._live is not None:
            self._live.update(self._picture(looks), refresh=True)
        elif self._clock() - self._said_at >= PLAIN_EVERY:
            self._say(looks)

    def close(self) -> None:
        """Leave the last state on the terminal, or as a last plain line."""
        looks = {cell.id: self._look(cell) for cell in self.cells}
        if self._live is not None:
            self._live.update(self._picture(looks), refresh=True)
            self._live.stop()
            self._live = None
        elif not self._console.is_terminal:
            self._say(looks)

    def _look(self, cell: CellView) -> Look:
        if cell.id not in self._final:
            found = look(cell)
            if found.state != "done":
                return found  # the others may be tried again
            self._final[cell.id] = found
        return self._final[cell.id]

    def _say(self, looks: Mapping[str, Look]) -> None:
        running = [f"{name}: {_plain(found, self._steps(name))}" for name, found in _running(looks)]
        state = "; ".join([self._total(looks), *running])
        if state != self._said:
            self._console.print(
                f"[{_time(self._clock() - self._began)}] {state}", markup=False, soft_wrap=True
            )
            self._said, self._said_at = state, self._clock()

    def _steps(self, name: str) -> int:
        return next(cell.steps for cell in self.cells if cell.id == name)

    def _total(self, looks: Mapping[str, Look]) -> str:
        """How many cells are in which state, and the time left for all at the pace of those that run."""
        states = [found.state for found in looks.values()]
        order = sorted(set(states), key=lambda state: (state != "done", state == "waiting", state))
        words = [f"{states.count(state)} {state}" for state in order if state != "done"]
        parts = [f"{states.count('done')}/{len(states)} done", *words]
        left = self._left(looks)
        return ", ".join(parts) + (f", {_time(left)} left" if left is not None else "")

    def _left(self, looks: Mapping[str, Look]) -> float | None:
        running = [(name, found) for name, found in _running(looks) if found.seconds_left]
        pace = sum((self._steps(n) - found.step) / (found.seconds_left or 1) for n, found in running)
        if not pace:
            return None
        unfinished = [(n, found) for n, found in looks.items() if found.state in ("waiting", "running")]
        steps = sum(self._steps(name) - found.step for name, found in unfinished)
        longest = max(found.seconds_left or 0.0 for _, found in running)
        return max(steps / pace, longest)

    def _picture(self, looks: Mapping[str, Look]) -> Group:
        table = Table.grid(padding=(0, 2))
        for justify in ("left", "left", "right", "right", "right", "left"):
            table.add_column(justify=justify, no_wrap=True)
        running = _running(looks)
        room = max(1, self._console.height - 4)
        for name, found in running[:room]:
            steps = self._steps(name)
            bar = ProgressBar(steps, found.step, width=BAR)
            speed = f"{found.images_per_second:.0f} images/s" if found.images_per_second else ""
            left = f"{_time(found.seconds_left)} left" if found.seconds_left is not None else ""
            metric = Text(found.metric, style="dim")
            table.add_row(Text(name), bar, f"{found.step}/{steps}", speed, left, metric)
        lines: list[Any] = [table] if running else []
        if len(running) > room:
            lines.append(Text(f"and {len(running) - room} more", style="dim"))
        spent = _time(self._clock() - self._began)
        total = Text.assemble((self._total(looks), "bold"), (f"  {spent} so far", "dim"))
        for state, style in STATE_STYLE.items():
            total.highlight_words([state], style)
        lines.append(total)
        return Group(*lines)


def _running(looks: Mapping[str, Look]) -> list[tuple[str, Look]]:
    return [(name, found) for name, found in looks.items() if found.state == "running"]


def _plain(found: Look, steps: int) -> str:
    left = f"{_time(found.seconds_left)} left" if found.seconds_left is not None else ""
    speed = f"{found.images_per_second:.0f} images/s" if found.images_per_second else ""
    return ", ".join(part for part in (f"step {found.step}/{steps}", speed, left, found.metric) if part)


def _seconds_left(line: Mapping[str, Any], steps: int, speed: float) -> float | None:
    step, images = int(line.get("step", 0)), float(line.get("images", 0))
    if step <= 0 or images <= 0 or speed <= 0:
        return None
    return max(0, steps - step) * images / step / speed


def _metric(line: Mapping[str, Any]) -> str:
    """The score of a line, else its first term."""
    for kind in ("scores", "terms"):
        for name, value in line.get(kind, {}).items():
            return f"{name} {value:.4g}"
    return ""


def _newer(result: Path, metrics: Path) -> bool:
    """A result older than the metrics is that of an earlier try."""
    return not metrics.exists() or result.stat().st_mtime >= metrics.stat().st_mtime


def _time(seconds: float) -> str:
    """1:05, 2:03:10."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
