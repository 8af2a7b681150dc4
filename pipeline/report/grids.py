"""Grids of pictures: what the source draws above what each method makes of the same z.

Shapes: N pictures of a row, H W pixels. Pictures here are uint8 RGB, [N, 3, H, W].
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

GAP = 2  # pixels between pictures, before scaling
PAPER, INK = (255, 255, 255), (40, 40, 46)
MOST_SCALE = 8
ROWS_KEY = "graft-rows"  # PNG text: boxes (left, top, right, bottom) of the rows
FONT_SIZE = 15

Pictures = NDArray[np.uint8]


def grid(
    rows: Sequence[Pictures], labels: Sequence[str] | None = None, scale: int | None = None
) -> Image.Image:
    """Rows of pictures, each with its label to the left; column t is the same z in every row.

    rows: uint8 [N, 3, H, W] each (a torch tensor on the CPU does as well), rows may differ in N. `scale` is a
    whole number and pixels are repeated, never mixed; None makes pictures of about 128 pixels.
    """
    arrays = [_checked(row) for row in rows]
    if not arrays:
        raise ValueError("a grid needs at least one row")
    if labels is not None and len(labels) != len(arrays):
        raise ValueError(f"{len(labels)} labels for {len(arrays)} rows")
    side = max(arrays[0].shape[2:])
    times = scale or max(1, min(MOST_SCALE, round(128 / side)))
    strips = [_strip(row, times) for row in arrays]
    left = _label_width(labels) if labels is not None else 0
    width = left + max(strip.width for strip in strips)
    gap = GAP * times
    sheet = Image.new("RGB", (width, sum(s.height for s in strips) + gap * (len(strips) - 1)), PAPER)
    top, boxes = 0, []
    for index, strip in enumerate(strips):
        sheet.paste(strip, (left, top))
        boxes.append((left, top, left + strip.width, top + strip.height))
        if labels is not None:
            _write(sheet, labels[index], top + strip.height // 2)
        top += strip.height + gap
    sheet.info[ROWS_KEY] = json.dumps(boxes)
    return sheet


def save(sheet: Image.Image, path: Path) -> None:
    """Write a grid as PNG, aside and renamed, with a note of where its rows lie."""
    note = PngInfo()
    note.add_text(ROWS_KEY, str(sheet.info.get(ROWS_KEY, "[]")))
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.aside")
    try:
        sheet.save(aside, format="PNG", pnginfo=note, optimize=True)
    except OSError as error:  # a full disk, which does not say where
        aside.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from error
    aside.replace(path)


def rows_of(path: Path) -> list[Image.Image]:
    """The rows of a grid that `save` wrote, without labels and gaps; all of it where none is noted."""
    with Image.open(path) as picture:
        picture.load()
        whole = picture.convert("RGB")
        boxes = json.loads(str(picture.info.get(ROWS_KEY, "[]")))
    return [whole.crop(tuple(box)) for box in boxes] or [whole]


def animation(frames: Sequence[Image.Image], path: Path, seconds_per_frame: float = 0.08) -> None:
    """Write an endless GIF of an interpolation; one palette for all frames, so colours do not flicker."""
    if not frames:
        raise ValueError("an animation needs at least one frame")
    width, height = frames[0].size
    together = Image.new("RGB", (width, height * len(frames)))
    for index, frame in enumerate(frames):
        together.paste(frame.convert("RGB"), (0, index * height))
    palette = together.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    indexed = [
        frame.convert("RGB").quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG) for frame in frames
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    indexed[0].save(
        path,
        format="GIF",
        save_all=True,
        append_images=indexed[1:],
        duration=round(1000 * seconds_per_frame),
        loop=0,
        optimize=False,
    )


def enlarged(picture: Image.Image, scale: int) -> Image.Image:
    """Each pixel becomes scale x scale pixels."""
    return picture.resize((picture.width * scale, picture.height * scale), Image.Resampling.NEAREST)


def reduced(picture: Image.Image) -> Image.Image:
    """The inverse of `enlarged`: the smallest picture that enlarges to exactly this one."""
    for scale in range(MOST_SCALE, 1, -1):
        if picture.width % scale == 0 and picture.height % scale == 0:
            size = (picture.width // scale, picture.height // scale)
            small = picture.resize(size, Image.Resampling.NEAREST)
            if enlarged(small, scale).tobytes() == picture.tobytes():
                return small
    return picture


def _checked(row: Pictures) -> Pictures:
    array = np.asarray(row)
    if array.dtype != np.uint8 or array.ndim != 4 or array.shape[1] != 3 or len(array) == 0:
        raise ValueError(f"a row is uint8 [N, 3, H, W], this one is {array.dtype} {list(array.shape)}")
    return array


def _strip(row: Pictures, times: int) -> Image.Image:
    count, _, height, width = row.shape
    canvas = np.full((height, count * (width + GAP) - GAP, 3), PAPER, np.uint8)
    for index, picture in enumerate(row):
        left = index * (width + GAP)
        canvas[:, left : left + width] = picture.transpose(1, 2, 0)
    return enlarged(Image.fromarray(canvas), times)


def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(FONT_SIZE)


def _label_width(labels: Sequence[str]) -> int:
    font = _font()
    return round(max(font.getlength(label) for label in labels)) + 2 * FONT_SIZE


def _write(sheet: Image.Image, label: str, middle: int) -> None:
    font = _font()
    _, top, _, bottom = font.getbbox(label)
    at = (FONT_SIZE // 2, middle - (top + bottom) // 2)
    ImageDraw.Draw(sheet).text(at, label, INK, font)
