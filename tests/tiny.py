"""A source of 32 px that draws noise, ten pictures, a held-out set: what a whole run needs, in seconds."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from models.stylegan2 import Discriminator, Generator, Shape
from pipeline.exporting import write_export
from pipeline.load import Model, mean_style
from tests.data.drawn import folder, picture

SHAPE = Shape(32, dict.fromkeys((4, 8, 16, 32), 8), style_dim=16, mapping_layers=2)
JUDGE = {"n": 8, "batch": 8, "kid_subsets": 2, "kid_subset_size": 8, "spread": 8, "resamples": 100}


@dataclass(frozen=True)
class Tiny:
    """Folders: an exported source model, 10 pictures of a target, 100 held-out ones."""

    source: Path
    target: Path
    heldout: Path

    def job(self, **more: Any) -> dict[str, Any]:
        """The `job:` section of a config that takes seconds a cell."""
        paths = {"source": str(self.source), "target": str(self.target), "heldout": str(self.heldout)}
        few = {"steps": 6, "batch": 2, "settings": {"stddev_group": 2}, "judge": JUDGE}
        return {**paths, **few, "every": {"log": 1, "sample": 6, "save": 2}, **more}


def make_tiny(path: Path) -> Tiny:
    """Write the three under `path`, the same every time."""
    folder(path / "target", 10, 32)
    (path / "heldout").mkdir()
    for number in range(100):
        picture(1000 + number, 32, 32).save(path / "heldout" / f"{number:03d}.png")
    make_source(path / "source")
    return Tiny(path / "source", path / "target", path / "heldout")


def make_source(path: Path, shape: Shape = SHAPE) -> Path:
    """An exported pair of networks as they are before any training, drawn from one seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        generator, discriminator = Generator(shape), Discriminator(shape)
    about = {"name": path.name, "stddev_group": 4}
    mean = mean_style(generator)
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_export(
        Model(shape, generator.eval(), discriminator.eval(), None, torch.zeros(()), mean, about), path
    )
