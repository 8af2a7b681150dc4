"""Five steps of every method in float64, the result to a file: alone, or under torchrun with the batch shared."""

import json
import sys
from datetime import timedelta
from pathlib import Path

import torch

from cluster.engine import open_engine
from models.files import write_tensors
from tests import miniature

STEPS, BATCH = 5, 8
# Small intervals, so that five steps meet every phase and every term more than once.
OFTEN = {"r1_every": 2, "path_every": 2}
SETTINGS = {
    "stylegan2": OFTEN,
    "tgan": OFTEN,
    "cdc": {**OFTEN, "image_every": 2},
    "rssa": {**OFTEN, "image_every": 2, "cross_every": 2},
    "stargan2": {"divco_every": 2, "divco_reduction": "sum"},
    "dcgan": {"divco_every": 2},
    "bicycle": {"divco_every": 2, "divco_reduction": "sum", "dropout": 0.2},
    "drit": {"d_iter": 2, "divco_reduction": "sum", "second_judged": True},
}
EVERY_TERM = {
    "stargan2": ["ds", "mode_seeking", "divco", "latent_regression", "distance"],
    "dcgan": ["ds", "mode_seeking", "divco"],
    "bicycle": ["ds", "mode_seeking", "divco", "latent_regression"],
    "drit": ["ds", "mode_seeking", "divco", "latent_regression", "distance"],
}


def main(folder: Path) -> None:
    torch.set_default_dtype(torch.float64)
    engine = open_engine("cpu", patience=timedelta(seconds=60))
    for name, settings in SETTINGS.items():
        terms = {"diversity": EVERY_TERM[name]} if name in EVERY_TERM else {}
        trainer = miniature.trainer(name, engine, batch=BATCH, settings=settings, **terms)
        readings = []
        for _ in range(STEPS):
            trainer.step()
            readings.append(trainer.readings())
        assert not trainer.refused
        where = f"{name}-{engine.world}-{engine.rank}"
        write_tensors(folder / f"{where}.safetensors", trainer.nets.state())
        (folder / f"{where}.json").write_text(json.dumps(readings))
    engine.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
