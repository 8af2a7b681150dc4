"""What two ranks compute through DeepSpeed and through Accelerate, in one group: started by torchrun, to a folder."""

import json
import sys
from datetime import timedelta
from pathlib import Path

import torch
from torch import Tensor

from cluster.deepspeed_engine import DeepSpeedEngine
from cluster.engine import Engine, open_engine
from cluster.errors import MachineError
from models.files import write_tensors
from pipeline.resources import DEALT_OUT
from pipeline.trainer import Trainer
from tests import miniature
from tests.two_combined import BATCH, terms_of
from tests.two_processes import EVERY_TERM, SETTINGS

STEPS = 3


def made(name: str, engine: Engine) -> Trainer:
    # Without mode seeking: it divides by how far two nearly equal pictures are apart, which is rounding in float32.
    every = [term for term in EVERY_TERM.get(name, ()) if term != "mode_seeking"]
    terms = {"diversity": every} if every else {}
    return miniature.trainer(name, engine, batch=8, settings=SETTINGS[name], **terms)


def in_parts(name: str, engine: Engine) -> Trainer:
    return miniature.trainer(name, engine, parts=2, batch=BATCH, settings=SETTINGS[name], **terms_of(name))


def kept(trainer: Trainer, steps: int) -> dict[str, Tensor]:
    """The state after so many more steps; a copy."""
    for _ in range(steps):
        trainer.step()
    assert not trainer.refused
    return {key: value.clone() for key, value in trainer.nets.state().items()}


def refusal(name: str, engine: Engine) -> str:
    """What is said where a row leaves parameters without gradient."""
    try:
        kept(made(name, engine), 2)
    except MachineError as error:
        return str(error)
    return ""


def through_a_checkpoint(name: str, state: dict[str, Tensor], engine: Engine) -> dict[str, Tensor]:
    """One step after a fresh trainer has loaded `state`, which was saved after STEPS."""
    trainer = made(name, engine)
    trainer.nets.load(
        {key: value.clone() for key, value in state.items()}
    )  # moments are taken over, not copied
    trainer.step_number = STEPS
    return kept(trainer, 1)


def main(folder: Path) -> None:
    torch.manual_seed(0)
    accelerate = open_engine("cpu", timedelta(seconds=120))
    whole, dealt = (DeepSpeedEngine(torch.device("cpu"), timedelta(seconds=120), zero) for zero in (0, 1))
    for name in SETTINGS:
        states = {"accelerate": kept(made(name, accelerate), STEPS), "zero0": kept(made(name, whole), STEPS)}
        if name in DEALT_OUT:
            states["zero1"] = kept(made(name, dealt), STEPS)
            states["zero1parts"] = kept(in_parts(name, dealt), 1)
        for kind, engine in (("accelerateparts", accelerate), ("zero0parts", whole)):
            states[kind] = kept(in_parts(name, engine), 1)
        for kind, state in states.items():
            write_tensors(folder / f"{name}-{kind}-{accelerate.rank}.safetensors", state)
    told = {name: refusal(name, dealt) for name in ("stylegan2", "cdc")}
    saved = kept(made("dcgan", dealt), STEPS)
    for kind, engine in (("accelerate", accelerate), ("zero1", dealt)):
        state = through_a_checkpoint("dcgan", saved, engine)
        write_tensors(folder / f"resumed-{kind}-{accelerate.rank}.safetensors", state)
    (folder / f"told-{accelerate.rank}.json").write_text(json.dumps(told))
    accelerate.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
