"""The first step of every method by a batch in parts and in bf16: alone, or under torchrun with the batch shared.

usage: two_combined.py FOLDER; writes FOLDER/METHOD-KIND-WORLD-RANK.safetensors and .json (the terms).
"""

import json
import sys
from datetime import timedelta
from pathlib import Path

import torch

from cluster.engine import Engine, open_engine
from models.files import write_tensors
from tests import miniature
from tests.two_processes import EVERY_TERM, SETTINGS

BATCH = 16  # two ranks x two parts x groups of four
ACROSS = ("mode_seeking", "distance")  # compare all samples of a batch: refused in parts
# By kind: torch's default type, precision of the networks, parts, batch.
KINDS = {
    "whole": (torch.float64, "fp32", 1, BATCH),
    "parts": (torch.float64, "fp32", 2, BATCH),
    "bf16": (torch.float32, "bf16", 1, BATCH),
    "bf16parts": (torch.float32, "bf16", 2, BATCH),
    "bf16less": (torch.float32, "bf16", 1, BATCH // 2),
}
ASKED = {1: ("whole", "bf16", "bf16parts", "bf16less"), 2: ("parts", "bf16", "bf16parts")}


def terms_of(name: str) -> dict[str, list[str]]:
    """The terms that a batch in parts may have, for a method that has a choice."""
    return {"diversity": [t for t in EVERY_TERM[name] if t not in ACROSS]} if name in EVERY_TERM else {}


def step(name: str, kind: str, engine: Engine, folder: Path) -> None:
    default, precision, parts, batch = KINDS[kind]
    torch.set_default_dtype(default)
    trainer = miniature.trainer(
        name, engine, parts=parts, batch=batch, settings=SETTINGS[name], **terms_of(name)
    )
    trainer.precision = precision
    trainer.step()
    assert not trainer.refused
    where = f"{name}-{kind}-{engine.world}-{engine.rank}"
    (folder / f"{where}.json").write_text(json.dumps(trainer.readings()))
    write_tensors(folder / f"{where}.safetensors", trainer.nets.state())


def main(folder: Path) -> None:
    engine = open_engine("cpu", patience=timedelta(seconds=120))
    for name in SETTINGS:
        for kind in ASKED[engine.world]:
            step(name, kind, engine, folder)
    engine.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
