"""A generator of classes from the command line: pictures, a grid, an animation; on a 32 px model."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.conditional_model import load_class_model
from pipeline.drawing import slerp
from pipeline.exporting import save_model
from pipeline.opening import open_any
from pipeline.pictures import fixed_latents
from pipeline.report.grids import rows_of
from tests.translators import NAMES, as_pixels, class_model, equal, pixels, sample


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of three classes."""
    room = tmp_path_factory.mktemp("classes")
    save_model(class_model(), room / "model")
    return room


@pytest.fixture(autouse=True)
def inside(room, monkeypatch):
    monkeypatch.chdir(room)


def test_every_class_gets_its_files_of_the_same_latents(tmp_path, capsys):
    out = tmp_path / "o"
    assert sample(out, "--count", "3") == 0
    said = capsys.readouterr().out
    assert f"pictures   {out}: 3 of each of cat, dog, wild; CLASS-CODE.png, the same z in every class" in said
    assert {path.name for path in out.glob("*.png")} == {
        f"{name}-00{k}.png" for name in NAMES for k in range(3)
    }
    model, z = load_class_model("model"), fixed_latents(3, 5)
    for label, name in enumerate(NAMES):
        for k in range(3):
            expected = as_pixels(model.generator(z[k : k + 1], torch.tensor([label])))
            assert np.abs(pixels(out / f"{name}-00{k}.png") - expected).max() <= 0.51
    assert json.loads((out / "samples.json").read_text())["to"] == list(NAMES)


def test_to_names_classes_and_the_others_stay_away(tmp_path, capsys):
    assert sample(tmp_path / "o", "--count", "1", "--to", "wild,cat") == 0
    assert {path.name for path in (tmp_path / "o").glob("*.png")} == {"wild-000.png", "cat-000.png"}
    assert sample(tmp_path / "o", "--to", "bird") == 2
    assert "no class 'bird' in this model; it has cat, dog, wild" in capsys.readouterr().err


def test_psi_draws_latents_to_their_mean(tmp_path):
    assert sample(tmp_path / "o", "--count", "2", "--psi", "0") == 0
    middle = as_pixels(load_class_model("model").generator(torch.zeros(1, 5), torch.tensor([1])))
    for k in range(2):
        assert np.abs(pixels(tmp_path / "o" / f"dog-00{k}.png") - middle).max() <= 0.51
    assert not np.array_equal(*(pixels(tmp_path / "o" / f"{name}-000.png") for name in ("cat", "dog")))


def test_a_grid_has_a_row_of_each_class_and_goes_on_below_it(tmp_path):
    out = tmp_path / "o"
    assert sample(out, "--count", "12", "--grid", "--to", "cat,dog") == 0
    rows = [np.asarray(row)[::2, ::2] for row in rows_of(out / "grid.png")]
    assert [row.shape[1] for row in rows] == [10 * 34 - 2, 2 * 34 - 2] * 2
    assert np.array_equal(rows[2][:, 34:66], pixels(out / "dog-001.png"))
    assert np.array_equal(rows[3][:, :32], pixels(out / "dog-010.png"))


def test_an_animation_goes_along_arcs_through_latents_all_classes_at_once(tmp_path, monkeypatch, capsys):
    from pipeline import class_pictures

    seen = []
    write = class_pictures.write_loop
    monkeypatch.setattr(
        class_pictures, "write_loop", lambda path, each: (seen.extend(each), write(path, each))
    )
    out = tmp_path / "o"
    assert sample(out, "--count", "1", "--interpolate", "2", "--frames", "4") == 0
    assert f"animation  {out / 'interpolation.gif'} (8 frames)" in capsys.readouterr().out
    model, (a, b) = load_class_model("model"), fixed_latents(2, 5)
    for label, frames in enumerate(seen):
        half = as_pixels(model.generator(slerp(a, b, 0.5)[None], torch.tensor([label])))
        assert np.abs(frames[2].permute(1, 2, 0).numpy() - half).max() <= 0.51
        back = as_pixels(model.generator(slerp(b, a, 0.25)[None], torch.tensor([label])))
        assert np.abs(frames[5].permute(1, 2, 0).numpy() - back).max() <= 0.51
    with Image.open(out / "interpolation.gif") as film:
        assert film.n_frames == 8


def test_a_model_of_classes_is_opened_by_its_kind_and_comes_back_whole():
    found = open_any("model")
    assert (found.kind, found.names) == ("dcgan", list(NAMES))
    assert equal(found, class_model())
