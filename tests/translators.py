"""Tiny translators and generators of classes, as they would be after some training, at 32 px; how tests ask them."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from models.conditional import bicycle, dcgan
from models.stargan2 import FAN, Generator, Layout, MappingNetwork, StyleEncoder, he_initialised
from pipeline import cli
from pipeline.conditional_model import ClassModel, PairModel
from pipeline.drit_model import DRIT
from pipeline.drit_model import Layout as DRITLayout
from pipeline.exporting import Exportable
from pipeline.translation import Translation
from tests.miniature import NETWORKS, trained_a_little

NAMES = ("cat", "dog", "wild")


def translator(high_pass: float = 0.0, fan: bool = False, seed: int = 0) -> Translation:
    """Three domains at 32 px, as it were after some training."""
    layout = Layout(domains=3, high_pass=high_pass, **NETWORKS["stargan2"])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        parts = [he_initialised(kind(layout)) for kind in (Generator, MappingNetwork, StyleEncoder)]
        face = FAN() if fan else None
    for number, part in enumerate(parts):
        trained_a_little(part, number)
        part.requires_grad_(False).eval()
    if face is not None:
        face.requires_grad_(False).eval()
    return Translation(layout, NAMES, *parts, face, {"name": "tiny"})


def class_model(names: tuple[str, ...] = NAMES, seed: int = 0) -> ClassModel:
    """A generator of a few classes."""
    sizes = NETWORKS["dcgan"]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        generator = dcgan.Generator(sizes["size"], len(names), sizes["latent_dim"], sizes["width"])
    trained_a_little(generator, seed)
    return ClassModel(generator.requires_grad_(False).eval(), sizes["width"], names, {"name": "tiny"})


def pair_model(seed: int = 0) -> PairModel:
    """A translator that learned from pairs."""
    sizes = NETWORKS["bicycle"]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        parts = bicycle.Generator(**sizes), bicycle.Encoder(**sizes)
    for number, part in enumerate(parts):
        trained_a_little(part, seed + number)
        part.requires_grad_(False).eval()
    return PairModel(*parts, sizes["width"], {"name": "tiny"})


def drit_model(generator: str = "concat", seed: int = 0) -> DRIT:
    """A translator between two domains."""
    layout = DRITLayout(**NETWORKS["drit"], generator=generator)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        content, attributes = layout.content_encoder(), layout.attribute_encoder()
        made = layout.made_generator()
    for number, part in enumerate((content, attributes, made)):
        trained_a_little(part, seed + number)
        part.requires_grad_(False).eval()
    return DRIT(layout, NAMES[:2], content, attributes, made, {"name": "tiny"})


def sample(out: Path, *words: str, model: str = "model") -> int:
    """`graft sample`, on the CPU."""
    return cli.main(["sample", model, "--out", str(out), "--device", "cpu", *words])


def pixels(path: Path) -> np.ndarray:
    """[H, W, 3] of a file."""
    with Image.open(path) as image:
        return np.asarray(image).astype(int)


def as_input(path: Path) -> torch.Tensor:
    """[1, 3, H, W] in [-1, 1] of a file."""
    return torch.from_numpy(pixels(path)).permute(2, 0, 1)[None].float() / 127.5 - 1


def as_pixels(drawn: torch.Tensor) -> np.ndarray:
    """[H, W, 3], 0 to 255 and not rounded, of a picture [1, 3, H, W]."""
    return ((drawn[0].clamp(-1, 1) + 1) * 127.5).permute(1, 2, 0).numpy()


def equal(a: Exportable, b: Exportable) -> bool:
    """Whether two models have the same tensors, bit by bit."""
    ours, theirs = a.tensors(), b.tensors()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)
