from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.report.grids import GAP, animation, enlarged, grid, reduced, rows_of, save


def pictures(count: int, side: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 3, side, side), np.uint8)


def test_every_pixel_becomes_a_square_of_itself_in_its_place() -> None:
    source, adapted = pictures(3, 8, 0), pictures(3, 8, 1)
    scale = 3
    sheet = np.asarray(grid([source, adapted], scale=scale))
    for row, strip in enumerate((source, adapted)):
        for column, picture in enumerate(strip):
            top, left = (row * (8 + GAP)) * scale, (column * (8 + GAP)) * scale
            block = sheet[top : top + 8 * scale, left : left + 8 * scale]
            for y in range(0, 8 * scale):
                for x in range(0, 8 * scale):
                    assert (block[y, x] == picture[:, y // scale, x // scale]).all()


def test_labels_stand_left_and_move_no_picture() -> None:
    rows = [pictures(2, 16, seed) for seed in range(3)]
    plain = grid(rows, scale=2)
    labelled = grid(rows, ["source", "rssa", "cdc"], scale=2)
    left = labelled.width - plain.width
    assert labelled.height == plain.height
    assert labelled.crop((left, 0, labelled.width, labelled.height)).tobytes() == plain.tobytes()
    assert np.asarray(labelled.crop((0, 0, left, 32))).min() < 128  # something is written


def test_saved_rows_are_found_again(tmp_path: Path) -> None:
    rows = [pictures(4, 16, seed) for seed in range(2)]
    save(grid(rows, ["source", "adapted"], scale=2), tmp_path / "samples" / "000000.png")
    found = rows_of(tmp_path / "samples" / "000000.png")
    assert [strip.tobytes() for strip in found] == [grid([row], scale=2).tobytes() for row in rows]
    assert [path.name for path in (tmp_path / "samples").iterdir()] == ["000000.png"]


def test_a_picture_without_a_note_is_one_row(tmp_path: Path) -> None:
    Image.new("RGB", (5, 4), "red").save(tmp_path / "a.png")
    assert [strip.size for strip in rows_of(tmp_path / "a.png")] == [(5, 4)]


def test_rows_of_another_kind_are_refused() -> None:
    with pytest.raises(ValueError, match=r"float32 \[1, 3, 4, 4\]"):
        grid([np.zeros((1, 3, 4, 4), np.float32)])
    with pytest.raises(ValueError, match="1 labels for 2 rows"):
        grid([pictures(1, 4, 0)] * 2, ["one"])


def test_an_animation_has_all_frames_and_never_ends(tmp_path: Path) -> None:
    frames = [grid([pictures(2, 8, seed)], scale=1) for seed in range(5)]
    animation(frames, tmp_path / "walk.gif")
    with Image.open(tmp_path / "walk.gif") as gif:
        assert (gif.n_frames, gif.info["loop"], gif.size) == (5, 0, frames[0].size)


def test_an_enlarged_picture_is_reduced_to_itself_and_another_stays() -> None:
    picture = Image.fromarray(pictures(1, 16, 0)[0].transpose(1, 2, 0))
    assert reduced(enlarged(picture, 6)).tobytes() == picture.tobytes()
    assert reduced(picture).tobytes() == picture.tobytes()
