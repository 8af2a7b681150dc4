"""Reads one picture from outside into pixels, or says in one sentence why not.

C = 3 (RGB), H W pixels, N side of the square the model draws.
"""

import io
import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from pipeline.errors import INPUT, GraftError

EXTENSIONS = ("png", "jpg", "jpeg", "webp", "bmp", "gif")
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF")
FITS = ("refuse", "crop", "resize")
SMALLEST_SIDE = 8
MOST_PIXELS = 64 * 1024 * 1024  # beyond this a file of a few kilobytes could fill the memory

# Pillow warns from 89 million pixels on; we refuse from MOST_PIXELS on, by name: its warning says nothing
# new.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


class PictureError(GraftError):
    """A picture that cannot be used; the sentence names it."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence, INPUT)


class OtherSizeError(PictureError):
    """A whole picture of another size than the set's: not broken, but a choice to be made."""


def open_picture(
    path_or_bytes: str | Path | bytes, name: str | None, size: int, fit: str, into: Tensor | None = None
) -> tuple[Tensor, list[str]]:
    """Pixels of one picture, and what was changed to get them.

    path_or_bytes: a file, or its content; name: what to call it in sentences (None: the path).
    size: the side N; fit: "refuse" (any other size is an error), "crop" (shorter side to N with Lanczos, then
    the centre) or "resize" (stretched with Lanczos); into: where to put the pixels, a place in a batch.
    Returns (uint8 [3, N, N] RGB, notes).
    Raises PictureError (exit code 3) with a sentence that begins with the name.
    """
    image, notes = read_picture(path_or_bytes, name)
    called = name or str(path_or_bytes)
    fitted, changes = fit_picture(image, called, size, fit)
    return to_tensor(fitted, into), notes + changes


def read_picture(path_or_bytes: str | Path | bytes, name: str | None = None) -> tuple[Image.Image, list[str]]:
    """An upright RGB image of its own size, and notes on conversions. Raises PictureError."""
    called = name or str(path_or_bytes)
    data = path_or_bytes if isinstance(path_or_bytes, bytes) else _content(Path(path_or_bytes), called)
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _refuse_by_size(image, called)
            image.load()
            return _upright_rgb(image, data)
    except PictureError:
        raise
    except UnidentifiedImageError:
        raise PictureError(f"{called}: not a picture Graft reads ({', '.join(FORMATS)})") from None
    except Image.DecompressionBombError:
        raise PictureError(f"{called}: more than {MOST_PIXELS:,} pixels, refused; make it smaller") from None
    except Exception as error:  # a broken file makes the decoders raise almost anything
        reason = str(error).split("\n")[0] or type(error).__name__
        raise PictureError(f"{called}: broken or truncated picture ({reason})") from error


def fit_picture(image: Image.Image, called: str, size: int, fit: str) -> tuple[Image.Image, list[str]]:
    """The image at size x size by the rule `fit` (see open_picture), and notes. Raises PictureError."""
    width, height = image.size
    if (width, height) == (size, size):
        return image, []
    if fit == "crop":
        scale = size / min(width, height)
        sides = max(size, round(width * scale)), max(size, round(height * scale))
        left, top = (sides[0] - size) // 2, (sides[1] - size) // 2
        scaled = image.resize(sides, Image.Resampling.LANCZOS)
        return scaled.crop((left, top, left + size, top + size)), [f"cropped from {width}x{height}"]
    if fit == "resize":
        return image.resize((size, size), Image.Resampling.LANCZOS), [f"resized from {width}x{height}"]
    if fit != "refuse":
        raise GraftError(f"data.fit={fit}: must be one of {', '.join(FITS)}")
    raise OtherSizeError(
        f"{called}: {width}x{height} pixels, but the source model draws {size}x{size}; "
        "pass data.fit=crop or data.fit=resize"
    )


def to_tensor(image: Image.Image, into: Tensor | None = None) -> Tensor:
    """uint8 [3, H, W] of an RGB image, in a tensor of its own or `into` one: a copy less."""
    lines = np.frombuffer(image.tobytes("raw", "RGB;L"), np.uint8)  # a line of each colour after the other
    planes = lines.reshape(image.height, 3, image.width).transpose(1, 0, 2)
    if into is None:
        return torch.from_numpy(np.array(planes, order="C"))
    np.copyto(into.numpy(), planes)
    return into


def _content(path: Path, called: str) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise PictureError(f"{called}: no such file") from None
    except OSError as error:
        raise PictureError(f"{called}: cannot be read ({error.strerror})") from None


def _refuse_by_size(image: Image.Image, called: str) -> None:
    """Looks at the header alone: nothing is decoded yet."""
    width, height = image.size
    if width * height > MOST_PIXELS:
        raise PictureError(
            f"{called}: {width}x{height} is more than {MOST_PIXELS:,} pixels, refused; make it smaller"
        )
    if min(width, height) < SMALLEST_SIDE:
        raise PictureError(
            f"{called}: {width}x{height} pixels, too small to learn from; "
            f"at least {SMALLEST_SIDE}x{SMALLEST_SIDE}"
        )


def _upright_rgb(image: Image.Image, data: bytes) -> tuple[Image.Image, list[str]]:
    notes = []
    frames = getattr(image, "n_frames", 1)
    if frames > 1:
        notes.append(f"first of {frames} frames")
    if image.getexif().get(0x0112, 1) not in (0, 1):  # the tag of the orientation
        notes.append("turned upright as its EXIF says")
        image = ImageOps.exif_transpose(image)
    if image.mode.startswith(("I", "F")):
        notes += ["16 bit to 8 bit", "grey to RGB"]
        return _from_16_bit_grey(image), notes
    if data[:8] == b"\x89PNG\r\n\x1a\n" and data[24] == 16:  # Pillow has kept the high byte of each sample
        notes.append("16 bit to 8 bit")
    if image.has_transparency_data:
        notes.append("transparency onto white")
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(white, layer).convert("RGB"), notes
    if image.mode in ("1", "L"):
        notes.append("grey to RGB")
    elif image.mode != "RGB":
        notes.append(f"{ {'P': 'palette'}.get(image.mode, image.mode) } to RGB")
    return image.convert("RGB"), notes


def _from_16_bit_grey(image: Image.Image) -> Image.Image:
    """High bytes, as Pillow takes them of 16 bit colour; samples declared transparent become white."""
    samples = np.asarray(image).astype(np.int64)
    grey = np.clip(samples >> 8, 0, 255).astype(np.uint8)
    see_through = image.info.get("transparency")
    if isinstance(see_through, int):
        grey[samples == see_through] = 255
    return Image.fromarray(grey).convert("RGB")
