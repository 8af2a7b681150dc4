"""Ten portraits of robots in a plain folder, of mixed sizes and formats: `python -m benchmarks.own_pictures FOLDER`.

They stand for pictures that Graft has never seen: PNG with transparency, JPEG, WebP, BMP, GIF, grey, palette, tall and
wide. The same ten every time.
"""

import random
import sys
from pathlib import Path

from PIL import Image, ImageDraw

FORMATS = ("png", "jpg", "webp", "bmp", "gif", "png", "jpg", "webp", "png", "jpg")
SIDES = (
    (300, 300),
    (640, 480),
    (256, 320),
    (200, 200),
    (180, 240),
    (512, 512),
    (333, 400),
    (128, 128),
    (800, 600),
    (96, 96),
)
STEEL = ("#7a8fa3", "#9aa7b1", "#b08d57", "#6b7f6a", "#8c6f8f", "#5f7d95")
LIGHT = ("#ffd23f", "#6ee7ff", "#ff6b6b", "#b6ff6b")
BIG = 512


def robot(number: int) -> Image.Image:
    """One robot, 512 x 512 RGBA on nothing: head, eyes, mouth, antenna, shoulders."""
    draw_from = random.Random(number)
    picture = Image.new("RGBA", (BIG, BIG), (255, 255, 255, 0))
    pen = ImageDraw.Draw(picture)
    metal, lamp = draw_from.choice(STEEL), draw_from.choice(LIGHT)
    wide, top = draw_from.randint(115, 150), draw_from.randint(120, 150)
    left, right = 256 - wide, 256 + wide
    pen.rounded_rectangle((90, 400, 422, 560), 50, fill=draw_from.choice(STEEL), outline="black", width=10)
    pen.rectangle((225, 350, 287, 410), fill="#555555", outline="black", width=8)
    pen.rounded_rectangle(
        (left, top, right, 370), draw_from.choice((15, 50, 90)), fill=metal, outline="black", width=10
    )
    if draw_from.random() < 0.7:
        pen.line((256, top, 256, top - 60), fill="black", width=10)
        pen.ellipse((236, top - 90, 276, top - 50), fill=lamp, outline="black", width=8)
    for ear in (left - 26, right - 4):
        pen.rectangle((ear, 215, ear + 30, 285), fill=draw_from.choice(STEEL), outline="black", width=8)
    eye = draw_from.randint(24, 38)
    for middle in (256 - wide // 2, 256 + wide // 2):
        box = (middle - eye, 225 - eye, middle + eye, 225 + eye)
        (pen.ellipse if draw_from.random() < 0.7 else pen.rectangle)(box, fill=lamp, outline="black", width=8)
        pen.ellipse((middle - 9, 216, middle + 9, 234), fill="black")
    pen.rectangle((200, 300, 312, 335), fill="white", outline="black", width=8)
    for tooth in range(222, 312, 22):
        pen.line((tooth, 300, tooth, 335), fill="black", width=6)
    return picture


def write_robots(folder: Path) -> list[Path]:
    """Write the ten pictures; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, (kind, (width, height)) in enumerate(zip(FORMATS, SIDES, strict=True)):
        side = min(width, height)
        sheet = Image.new("RGBA", (width, height), (255, 255, 255, 0 if kind in ("png", "webp") else 255))
        small = robot(number).resize((side, side), Image.Resampling.LANCZOS)
        sheet.alpha_composite(small, ((width - side) // 2, (height - side) // 2))
        if kind in ("jpg", "bmp"):
            sheet = sheet.convert("L" if number == 6 else "RGB")
        elif kind == "gif":
            sheet = sheet.convert("RGB").quantize(64)
        paths.append(folder / f"robot {number}.{kind}")
        sheet.save(paths[-1])
    return paths


if __name__ == "__main__":
    for path in write_robots(Path(sys.argv[1] if len(sys.argv) > 1 else "my_pictures")):
        print(path)
