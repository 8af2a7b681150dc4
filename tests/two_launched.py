"""One rank of a run under torchrun that comes to grief as it is told: usage: two_launched.py HOW FOLDER.

parts: rank 1 loses one bit of one network in step 2, and the checksum of step 3 must find it.
dies: rank 1 kills itself in step 2, and the other must say so and leave.
calm: nothing happens. Each rank writes what it was told, and its exit code, to FOLDER/RANK.json.
"""

import json
import os
import signal
import sys
from datetime import timedelta
from pathlib import Path

from cluster.engine import open_engine
from cluster.errors import MachineError
from pipeline.errors import GraftError
from pipeline.job import Every
from pipeline.tracking.trackers import TRACKERS
from pipeline.training import Run
from tests import miniature

STEPS, AT = 6, 2


def main(how: str, folder: Path) -> None:
    engine = open_engine("cpu", timedelta(seconds=120))
    trainer = miniature.trainer("tgan", engine, batch=8)
    tracker = TRACKERS["none"](folder, None)

    def grief(step: int) -> None:
        if step != AT or engine.rank != 1:
            return
        if how == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        if how == "parts":
            weight = next(trainer.nets.modules["G"].parameters()).data.flatten()
            weight[0] = weight[0].nextafter(weight[0] + 1)

    every = Every(log=1, sample=100, save=4)
    run = Run(folder, trainer, tracker, every, STEPS, 8, lambda step: None, grief, checksum_every=3)
    answer = {"resumed": run.resume(), "said": "", "code": 0}
    try:
        run.go()
    except (GraftError, MachineError) as error:
        answer |= {"said": str(error), "code": error.exit_code}
    answer["step"] = trainer.step_number
    (folder / f"{engine.rank}.json").write_text(json.dumps(answer))
    if not answer["said"]:
        engine.close()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
