import io
import struct
import zlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.data.pictures import PictureError, open_picture
from pipeline.errors import GraftError
from tests.data.drawn import content, picture


def pixels(image):
    return torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)


@pytest.mark.parametrize(
    ("kind", "choices"), [("PNG", {}), ("BMP", {}), ("WEBP", {"lossless": True}), ("GIF", {}), ("JPEG", {})]
)
def test_every_format_is_read(kind, choices):
    image = picture(1)
    if kind == "GIF":
        image = image.quantize(16)
    data = content(image, kind, **choices)
    found, _ = open_picture(data, "x", 16, "refuse")
    assert found.dtype == torch.uint8
    with Image.open(io.BytesIO(data)) as again:
        assert torch.equal(found, pixels(again.convert("RGB")))
    if kind in ("PNG", "BMP", "WEBP"):
        assert torch.equal(found, pixels(picture(1)))


def test_a_plain_picture_has_no_notes():
    assert open_picture(content(picture(1)), "x", 16, "refuse")[1] == []


def test_exif_orientation_is_obeyed():
    image = picture(2)
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show rotated by 90 degrees clockwise
    found, notes = open_picture(content(image, "PNG", exif=exif), "x", 16, "refuse")
    assert torch.equal(found, pixels(image.transpose(Image.Transpose.ROTATE_270)))
    assert any("upright" in note for note in notes)


def test_alpha_falls_on_white():
    layer = np.zeros((16, 16, 4), dtype=np.uint8)
    layer[:, :8] = (10, 20, 30, 255)
    found, notes = open_picture(content(Image.fromarray(layer)), "x", 16, "refuse")
    assert found[:, 0, 0].tolist() == [10, 20, 30]
    assert found[:, 0, 15].tolist() == [255, 255, 255]
    assert notes == ["transparency onto white"]


def test_palette_with_a_transparent_colour_falls_on_white():
    image = Image.new("P", (16, 16), 0)
    image.putpalette([200, 0, 0, 0, 200, 0] + [0] * 762)
    image.paste(1, (0, 0, 8, 16))
    found, notes = open_picture(content(image, "PNG", transparency=0), "x", 16, "refuse")
    assert found[:, 0, 0].tolist() == [0, 200, 0]
    assert found[:, 0, 15].tolist() == [255, 255, 255]
    assert notes == ["transparency onto white"]


@pytest.mark.parametrize(
    ("mode", "note"), [("L", "grey to RGB"), ("1", "grey to RGB"), ("P", "palette to RGB")]
)
def test_grey_and_palette_are_converted_and_said(mode, note):
    image = picture(3).convert(mode)
    found, notes = open_picture(content(image), "x", 16, "refuse")
    assert torch.equal(found, pixels(image.convert("RGB")))
    assert notes == [note]


def test_cmyk_is_converted_and_said():
    found, notes = open_picture(content(picture(4).convert("CMYK"), "JPEG"), "x", 16, "refuse")
    assert found.shape == (3, 16, 16)
    assert notes == ["CMYK to RGB"]


def test_sixteen_bit_grey_keeps_the_high_byte():
    samples = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    found, notes = open_picture(content(Image.fromarray(samples)), "x", 16, "refuse")
    assert torch.equal(found[0], torch.from_numpy((samples >> 8).astype(np.uint8)))
    assert "16 bit to 8 bit" in notes


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width, height, depth, colour, rows):
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def test_sixteen_bit_colour_keeps_the_high_byte_and_says_so():
    row = b"\0" + struct.pack(">3H", 0x1234, 0xABCD, 0xFF00) * 16
    found, notes = open_picture(png(16, 16, 16, 2, row * 16), "x", 16, "refuse")
    assert found[:, 3, 3].tolist() == [0x12, 0xAB, 0xFF]
    assert notes == ["16 bit to 8 bit"]


def test_of_an_animation_the_first_frame_is_taken():
    frames = [picture(number).quantize(8) for number in (1, 2)]
    data = content(frames[0], "GIF", save_all=True, append_images=frames[1:])
    found, notes = open_picture(data, "x", 16, "refuse")
    assert torch.equal(found, pixels(frames[0].convert("RGB")))
    assert "first of 2 frames" in notes


def refusal(data, size=16, fit="refuse"):
    with pytest.raises(GraftError) as caught:
        open_picture(data, "targets/mine/03.png", size, fit)
    assert caught.value.exit_code == 3
    assert str(caught.value).startswith("targets/mine/03.png: ")
    return str(caught.value)


def test_another_size_is_refused_with_the_way_out():
    assert refusal(content(picture(1, 48, 64)), 64) == (
        "targets/mine/03.png: 48x64 pixels, but the source model draws 64x64; "
        "pass data.fit=crop or data.fit=resize"
    )


def test_tiny_pictures_are_refused():
    assert "7x7" in refusal(content(picture(1, 7, 7)), 7, "resize")


def test_a_decompression_bomb_is_refused_before_it_is_decoded():
    assert "pixels" in refusal(png(60000, 60000, 8, 2, b""), 64, "resize")
    assert "pixels" in refusal(png(9000, 9000, 8, 2, b""), 64, "resize")


@pytest.mark.parametrize(
    "data", [b"", b"not a picture", b"\x89PNG\r\n\x1a\n", b"%PDF-1.4", b"II*\0" + b"\0" * 99]
)
def test_what_is_no_picture_is_refused(data):
    refusal(data)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(GraftError, match=r"gone\.png: no such file"):
        open_picture(tmp_path / "gone.png", None, 16, "refuse")


def test_a_path_with_spaces_and_unicode_is_read(tmp_path):
    path = tmp_path / "my pictures & été" / "füchsin 狐.png"
    path.parent.mkdir()
    picture(1).save(path)
    assert open_picture(path, None, 16, "refuse")[0].shape == (3, 16, 16)


def read_or_refused(data):
    """The pixels, or None where the picture is refused with exit code 3; any other error is a bug."""
    try:
        return open_picture(data, "x", 16, "resize")[0]
    except PictureError:
        return None


WHOLE = {
    "PNG": content(picture(5)),
    "WEBP": content(picture(5), "WEBP", lossless=True),
    "BMP": content(picture(5), "BMP"),
    "GIF": content(picture(5).quantize(16), "GIF"),
    "JPEG": content(picture(5), "JPEG"),
}


@settings(max_examples=150)
@given(st.sampled_from(sorted(WHOLE)), st.floats(0, 1, exclude_max=True))
def test_a_truncated_picture_is_refused_or_has_all_its_pixels(kind, share):
    data = WHOLE[kind]
    found = read_or_refused(data[: int(len(data) * share)])
    assert found is None or torch.equal(found, open_picture(data, "x", 16, "refuse")[0])


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@settings(max_examples=150)
@given(st.sampled_from(sorted(WHOLE)), st.integers(0, 10**6), st.binary(min_size=1, max_size=8))
def test_a_damaged_picture_is_read_or_refused_but_nothing_else(kind, place, noise):
    data = bytearray(WHOLE[kind])
    place %= len(data)
    data[place : place + len(noise)] = noise
    found = read_or_refused(bytes(data))
    assert found is None or found.shape == (3, 16, 16)


def test_crop_takes_the_centre_at_the_shorter_side():
    image = picture(6, 48, 32)
    found, notes = open_picture(content(image), "x", 16, "crop")
    expected = image.resize((24, 16), Image.Resampling.LANCZOS).crop((4, 0, 20, 16))
    assert torch.equal(found, pixels(expected))
    assert notes == ["cropped from 48x32"]


def test_resize_stretches():
    found, notes = open_picture(content(picture(6, 48, 32)), "x", 16, "resize")
    assert torch.equal(found, pixels(picture(6, 48, 32).resize((16, 16), Image.Resampling.LANCZOS)))
    assert notes == ["resized from 48x32"]


@settings(max_examples=60)
@given(st.integers(8, 90), st.integers(8, 90), st.sampled_from(["crop", "resize"]))
def test_every_shape_fits_by_crop_and_by_resize(width, height, fit):
    assert open_picture(content(picture(1, width, height), "BMP"), "x", 32, fit)[0].shape == (3, 32, 32)
