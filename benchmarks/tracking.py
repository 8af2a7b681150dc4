"""What tracking costs a training step: `python -m benchmarks.tracking [--pairs 8] [--steps 320] [--out FILE.jsonl]`.

Real steps of a small generator, each logged to disk and to the tracker, in blocks: no tracker; nobody listening from
the start; a real `mlflow server` (SQLite, loopback); one that is killed in the middle of the block. Every block is a
run of its own, and the forms take turns, so that what else the machine does falls on all. The clock runs during
steps; what opening and ending a run take, and the CPU time of other threads, stand beside it. Blocks are long, as a
server that is away is tried once in 30 s. Exit code 1 if a step with a dead server costs more than 5 % more.
"""

import argparse
import contextlib
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import timing
from benchmarks.literal.step import Work, our_trainer
from benchmarks.timing import Spell, free_port, line, ratio, spell
from models.stylegan2 import Shape
from pipeline.tracking.jsonl import Lines, flat
from pipeline.tracking.mlflow_tracker import MlflowTracker
from pipeline.tracking.trackers import NoTracker, Tracker
from pipeline.trainer import Trainer

SHAPE = Shape(32, dict.fromkeys((4, 8, 16, 32), 16), style_dim=32, mapping_layers=2)
BATCH = 4
MOST = 1.05  # times the step without a tracker
CLEAR = 5.0  # seconds in which a server has begun to take numbers
FORMS = ("none", "no server", "server", "killed midway")
DEAD = ("no server", "killed midway")


def answers(uri: str) -> bool:
    with contextlib.suppress(OSError), urllib.request.urlopen(f"{uri}/health", timeout=5) as found:
        return bool(found.status == 200)
    return False


@contextlib.contextmanager
def server(folder: Path) -> Iterator[tuple[str, Callable[[], None]]]:
    """The address of an `mlflow server`, and what kills it: -9 to all of its processes."""
    folder.mkdir(parents=True, exist_ok=True)
    uri = f"http://127.0.0.1:{free_port()}"
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "server",
        "--host",
        "127.0.0.1",
        "--port",
        uri.rpartition(":")[2],
    ]
    command += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--workers", "1"]
    command += ["--artifacts-destination", str(folder / "artifacts")]
    quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with (folder / "server.log").open("ab") as log:
        process = subprocess.Popen(
            command, env=os.environ | quiet, cwd=folder, stdout=log, stderr=log, start_new_session=True
        )

    def kill() -> None:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    try:
        deadline = time.monotonic() + 240
        while not answers(uri):
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"error: mlflow server does not start; see {folder}/server.log")
            time.sleep(0.1)
        yield uri, kill
    finally:
        kill()


def step(trainer: Trainer, lines: Lines, tracker: Tracker) -> None:
    """One step, and what the loop of training does with it where every step is logged."""
    trainer.step()
    number = trainer.step_number
    found = {"step": number, "images": number * BATCH, "seconds": number / 100, "terms": trainer.readings()}
    lines.append(found)
    tracker.log(number, flat(found))


def block(
    trainer: Trainer, tracker: Tracker, folder: Path, steps: int, midway: Callable[[], None]
) -> dict[str, Any]:
    """One run of so many steps: the mean step as a Spell, ms of other threads a step, seconds of begin and end."""
    folder.mkdir(parents=True)
    lines = Lines(folder / "metrics.jsonl")
    begin = spell(partial(tracker.begin, folder.name, {"steps": steps}))
    if isinstance(tracker, MlflowTracker):
        tracker.ready(CLEAR)
    total, before = Spell(0.0, 0.0), time.process_time() - time.thread_time()
    for number in range(steps):
        if number == steps // 2:
            midway()
        total += spell(partial(step, trainer, lines, tracker))
    aside = (time.process_time() - time.thread_time() - before) * 1e3 / steps
    end = spell(partial(tracker.end, "done", {}))
    return {"mean": total * (1 / steps), "aside": aside, "begin": begin.wall / 1e3, "end": end.wall / 1e3}


def turn(trainer: Trainer, folder: Path, steps: int) -> dict[str, dict[str, Any]]:
    """One block of each form."""
    nowhere = f"http://127.0.0.1:{free_port()}"

    def mirrored(name: str, uri: str) -> MlflowTracker:
        return MlflowTracker(folder / name, uri, lambda text: None)  # it warns, once a run

    def measured(name: str, tracker: Tracker, midway: Callable[[], None] = lambda: None) -> None:
        found[name] = block(trainer, tracker, folder / name, steps, midway)

    found: dict[str, dict[str, Any]] = {}
    measured("none", NoTracker(folder / "none"))
    measured("no server", mirrored("no server", nowhere))
    with server(folder / "mlflow") as (uri, kill):
        measured("server", mirrored("server", uri))
        measured("killed midway", mirrored("killed midway", uri), kill)
    return found


def lines_of(turns: Sequence[dict[str, dict[str, Any]]], steps: int) -> list[dict[str, Any]]:
    """A line a form: CPU and wall time of a step, each also as a ratio to that of no tracker."""
    times = {name: [one[name]["mean"] for one in turns] for name in FORMS}
    found = []
    for name in FORMS:
        reference = None if name == "none" else times["none"]
        more: dict[str, Any] = {"what": f"tgan, 32 px, batch {BATCH}, {steps} steps", "steps": steps}
        more["aside_ms"] = round(statistics.median(one[name]["aside"] for one in turns), 3)
        for part in ("begin", "end"):
            more[f"{part}_seconds"] = round(statistics.median(one[name][part] for one in turns), 3)
        if reference is not None:
            wall = ratio([one.wall for one in times[name]], [one.wall for one in reference])
            more |= {"wall_ratio": round(wall.median, 3)}
            more |= {"wall_interval": [round(wall.low, 3), round(wall.high, 3)]}
        found.append(line(name, times[name], reference, **more))
    return found


def shown(lines: Sequence[dict[str, Any]]) -> str:
    """Both clocks, beside what a run waits at its ends."""
    rows = []
    for one in lines:
        cpu = wall = ""
        if one["ratio"] is not None:
            cpu = f"{one['ratio']:.3f} ({one['interval'][0]:.3f}-{one['interval'][1]:.3f})"
            wall = f"{one['wall_ratio']:.3f} ({one['wall_interval'][0]:.3f}-{one['wall_interval'][1]:.3f})"
        times = (
            f"{one['median_ms']:.2f}",
            cpu,
            f"{one['aside_ms']:.2f}",
            f"{one['median_wall_ms']:.2f}",
            wall,
        )
        rows.append(
            (one["form"], *times, f"{one['begin_seconds']:.3f}", f"{one['end_seconds']:.1f}", str(one["n"]))
        )
    head = (
        "tracker",
        "CPU ms a step",
        "times none",
        "aside ms",
        "wall ms",
        "times none",
        "begin s",
        "end s",
        "n",
    )
    return timing.table(head, rows)


def dear(lines: Sequence[dict[str, Any]]) -> list[str]:
    """Forms with a dead server whose step costs more than it may by CPU time, or clearly so by the wall clock."""
    dead = [one for one in lines if one["form"] in DEAD]
    return [one["form"] for one in dead if one["ratio"] > MOST or one["wall_interval"][0] > MOST]


def main(argv: Sequence[str] | None = None) -> int:
    parser = timing.arguments("tracking", __doc__.split("\n")[0])
    parser.formatter_class = argparse.ArgumentDefaultsHelpFormatter
    parser.add_argument(
        "--steps", type=int, default=320, help="of a block; a multiple of 16, as R1's interval"
    )
    parser.set_defaults(pairs=8)
    given = parser.parse_args(argv)
    trainer = our_trainer(Work("tgan", SHAPE, BATCH))
    with tempfile.TemporaryDirectory() as room:
        _warm, *turns = (turn(trainer, Path(room) / str(n), given.steps) for n in range(given.pairs + 1))
    lines = lines_of(turns, given.steps)
    timing.write(lines, given.out)
    print(shown(lines))
    wrong = dear(lines)
    if wrong:
        print(
            f"error: a step costs more than {MOST - 1:.0%} more than without a tracker: {wrong}",
            file=sys.stderr,
        )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
