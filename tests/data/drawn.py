"""Small pictures for the tests, drawn from numbers."""

import io
from pathlib import Path

import numpy as np
from PIL import Image


def picture(number: int, width: int = 16, height: int = 16) -> Image.Image:
    """An RGB picture that is different for each number."""
    pixels = np.random.default_rng(number).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def content(image: Image.Image, kind: str = "PNG", **choices: object) -> bytes:
    """The bytes of a file of that kind."""
    target = io.BytesIO()
    image.save(target, kind, **choices)  # type: ignore[arg-type]
    return target.getvalue()


def folder(path: Path, count: int, side: int = 16) -> Path:
    """A folder of `count` PNG files 000.png ..., number i drawn from i."""
    path.mkdir(parents=True)
    for number in range(count):
        picture(number, side, side).save(path / f"{number:03d}.png")
    return path
