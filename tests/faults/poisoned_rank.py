"""What each of two ranks does in test_not_finite.py: the second has NaN where it should have numbers."""

import hashlib
import json
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cluster.engine import Engine, open_engine
from pipeline.trainer import Diverged, Trainer
from tests import miniature


class Poisoned:
    """An engine whose rank 1 meets NaN at `where`, a loss or a gradient, while `on` holds."""

    def __init__(self, engine: Engine, where: str) -> None:
        self.engine, self.where, self.on = engine, where, False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.engine, name)

    def backward(self, loss: Tensor) -> None:
        self.engine.backward(loss * torch.nan if self._now("loss") else loss)

    def sync(self, gradients: list[Tensor], names: Sequence[str] = ()) -> bool:
        if self._now("gradient"):
            gradients[0].view(-1)[0] = torch.nan
        return self.engine.sync(gradients, names)

    def _now(self, where: str) -> bool:
        return self.on and self.where == where and self.engine.rank == 1


def digest(trainer: Trainer) -> str:
    """Of every weight and moment, without the averages: those go on towards what is there."""
    state = trainer.nets.state()
    kept = [state[key].numpy().tobytes() for key in sorted(state) if not key.startswith(("ema/", "memory/"))]
    return hashlib.sha256(b"".join(kept)).hexdigest()


def steps(engine: Engine, where: str) -> dict[str, Any]:
    """Three steps, the second of them poisoned."""
    poisoned = Poisoned(engine, where)
    trainer = miniature.trainer("tgan", poisoned, batch=8, settings={"r1_every": 100, "path_every": 100})
    trainer.step_number = 1  # the lazy terms come at 0
    seen = []
    for on in (False, True, False):
        before, poisoned.on = digest(trainer), on
        trainer.step()
        seen.append({"moved": digest(trainer) != before, "refused": trainer.refused, "at": digest(trainer)})
        seen[-1] = json.loads(json.dumps(seen[-1]))
    return {"steps": seen}


def main(folder: Path) -> None:
    engine = open_engine("cpu", patience=timedelta(seconds=60))
    answer: dict[str, Any] = {where: steps(engine, where) for where in ("loss", "gradient")}
    poisoned = Poisoned(engine, "gradient")
    poisoned.on = True
    trainer = miniature.trainer("tgan", poisoned, batch=8)
    try:
        for _ in range(3):
            trainer.step()
    except Diverged as error:
        answer["diverged"] = str(error)
    (folder / f"{engine.rank}.json").write_text(json.dumps(answer))
    engine.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
