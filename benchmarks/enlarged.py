"""Pictures of any size to measure with: those of the shipped set, enlarged, as files."""

from pathlib import Path

from PIL import Image

from pipeline.data.manifest import shards_of
from pipeline.data.pictures import read_picture
from pipeline.data.shards import samples
from pipeline.data.shipped import plain_place_of

SET = "personas"


def shipped_shards() -> list[Path]:
    """The shards of the shipped training set."""
    return [shard for shard, _ in shards_of(plain_place_of(SET))]


def enlarged(folder: Path, count: int, size: int, kind: str = "png", **choices: int) -> Path:
    """A new folder of so many different pictures, Lanczos to size x size; choices are those of Pillow's writer."""
    folder.mkdir(parents=True)
    found = (sample for shard in shipped_shards() for sample in samples(shard))
    for number, sample in zip(range(count), found, strict=False):
        image, _ = read_picture(sample.picture, sample.called)
        image = image.resize((size, size), Image.Resampling.LANCZOS)
        image.save(folder / f"{number:05d}.{kind}", **choices)
    return folder
