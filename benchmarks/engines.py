"""DeepSpeed against Accelerate: `python -m benchmarks.engines [--rounds 5] [--steps 2] [--out FILE.jsonl]`.

StarGAN v2's iteration of configs/pretrain_stargan2_avatars.yaml, its batch of 8 shared by two processes of one thread,
each pinned to a core of its own, over gloo on loopback: by Accelerate, by DeepSpeed at stage 0 and at stage 1, which
deals out the optimisers' moments. All live through all rounds and take turns; the first round does not count. The wall
clock counts, so the machine must have nothing else to do. Beside it the largest resident size of a process.
"""

import argparse
import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import timing
from benchmarks.processes import in_turns, take_steps, two_cores
from benchmarks.stargan2_step import our_trainer
from benchmarks.timing import ratio
from cluster.engine import open_engine

FORMS = {"accelerate": ("accelerate", 0), "deepspeed, stage 0": ("deepspeed", 0), "stage 1": ("deepspeed", 1)}


def compared(rounds: int, steps: int) -> list[dict[str, Any]]:
    """A line a form: median milliseconds of an iteration, as a ratio to Accelerate's of the same round, peak MB."""
    cores = two_cores()
    commands = {form: (["benchmarks.engines", "--take", form], cores) for form in FORMS}
    found, peaks = in_turns(commands, rounds, steps)
    lines = []
    for form, seconds in found.items():
        times = ratio(seconds, found["accelerate"])
        line = {
            "what": "stargan2 by two processes",
            "clock": "wall",
            "form": form,
            "n": rounds,
            "steps": steps,
        }
        line |= {"ms_a_step": round(1e3 * statistics.median(seconds) / steps, 1)}
        line |= {"ratio": round(times.median, 3), "interval": [round(times.low, 3), round(times.high, 3)]}
        lines.append({**line, "peak_mb": round(peaks[form])})
    return lines


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.engines", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--rounds", type=int, default=5, help="that count (default: 5)")
    parser.add_argument("--steps", type=int, default=2, help="of a round (default: 2)")
    parser.add_argument("--out", type=Path, help="append JSON lines to this file")
    parser.add_argument("--take", choices=list(FORMS), help="be one of the processes")
    given = parser.parse_args(argv)
    if given.take is not None:
        name, stage = FORMS[given.take]
        engine = open_engine("cpu", engine=name, zero=stage)
        take_steps(engine, our_trainer(engine=engine))
        return 0
    timing.about()
    lines = compared(given.rounds, given.steps)
    for line in lines:
        print(json.dumps(line), flush=True)
    timing.write(lines, given.out)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
