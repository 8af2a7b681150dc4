"""One process of `pretrain` whose decoded samples are counted: RANK.txt holds the key of each, in order.

usage: python tests/node_rank.py FOLDER DIES ARGUMENTS...; before step DIES it kills itself (-9), never if that is 0.
Its shards are streamed however few they are, and nothing is decoded ahead: what is counted was asked for.
"""

import os
import signal
import sys
from functools import partial
from pathlib import Path
from typing import Any

from pipeline import pretrain
from pipeline.cli import run
from pipeline.data import streamed
from pipeline.data.held import open_set
from pipeline.families import stylegan2
from pipeline.trainer import Trainer


def main(folder: Path, dies: int, arguments: list[str]) -> int:
    streamed._AHEAD = 0
    stylegan2.open_set = partial(open_set, hold_limit_bytes=0, buffer=10)  # type: ignore[attr-defined]
    decode, step = streamed.decoded, Trainer.step
    counts = (folder / f"{os.environ.get('RANK', '0')}.txt").open("a", buffering=1)

    def counted(sample: Any, size: int, fit: str, into: Any) -> Any:
        counts.write(f"{sample.key}\n")
        return decode(sample, size, fit, into)

    def mortal(trainer: Trainer) -> None:
        if dies and trainer.step_number == dies:
            os.kill(os.getpid(), signal.SIGKILL)
        step(trainer)

    streamed.decoded = counted  # type: ignore[attr-defined]
    Trainer.step = mortal  # type: ignore[method-assign]
    return run(pretrain.main, arguments)


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]))
