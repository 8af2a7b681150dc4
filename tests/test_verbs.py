"""sample, evaluate, compare and pretrain, end to end on 32 px models."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline import cli
from pipeline.load import load_model
from pipeline.pictures import as_bytes, fixed_latents

ROOT = Path(__file__).parents[1]
NETWORK = {"size": 32, "widths": {4: 8, 8: 8, 16: 8, 32: 8}, "style_dim": 16, "mapping_layers": 2}
SOURCE = {"name": "tiny", "network": NETWORK, "train": "many", "heldout": "hundred"}
SHORT = {
    "steps": 2,
    "batch": 4,
    "judge": {"n": 8, "kid_subsets": 3},
    "every": {"log": 1, "sample": 2, "save": 1},
}
CELL = {"source": "exports/tiny", "target": "ten", "heldout": "hundred", **SHORT}


def draw(folder: Path, count: int) -> None:
    folder.mkdir(parents=True)
    rng = np.random.default_rng(count)
    for index in range(count):
        blocks = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        Image.fromarray(blocks.repeat(8, 0).repeat(8, 1)).save(folder / f"{index:03d}.png")


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pretrained source under exports/tiny, and one cell of two methods each under runs/adapt."""
    room = tmp_path_factory.mktemp("verbs")
    for name, count in (("ten", 10), ("many", 20), ("hundred", 100)):
        draw(room / name, count)
    (room / "p.yaml").write_text(json.dumps({**SOURCE, **SHORT}))
    (room / "a.yaml").write_text(json.dumps(CELL))
    before = Path.cwd()
    os.chdir(room)
    try:
        assert cli.main(["pretrain", "p.yaml", "--tracker", "none"]) == 0
        for method in ("tgan", "cdc"):
            assert cli.main(["adapt", "a.yaml", f"method={method}", "--tracker", "none"]) == 0
    finally:
        os.chdir(before)
    return room


@pytest.fixture(autouse=True)
def inside(room, monkeypatch):
    monkeypatch.chdir(room)


def cell_of(method: str) -> Path:
    return next(Path("runs/adapt").glob(f"{method}-*"))


def test_a_pretrained_source_is_exported_with_its_score():
    about = load_model("exports/tiny").about
    (kid,) = about["scores"]
    assert (kid["name"], kid["n"], kid["network"]) == ("kid", 8, "graft_eye")
    assert kid["low"] <= kid["high"]
    assert about["train_pictures"] == 20
    assert "| kid |" in Path("exports/tiny/MODEL_CARD.md").read_text()


def test_evaluate_gives_a_source_the_score_of_its_card(capsys):
    assert (
        cli.main(["evaluate", "exports/tiny", "--heldout", "hundred", "judge.n=8", "judge.kid_subsets=3"])
        == 0
    )
    kid = load_model("exports/tiny").about["scores"][0]
    assert f"kid        {kid['value']:.4f}" in capsys.readouterr().out


@pytest.mark.parametrize("part", ["", "/model"])
def test_evaluate_gives_a_cell_the_scores_of_its_result(part):
    words = ["--heldout", "hundred", "judge.n=8", "judge.kid_subsets=3", "--json", "e.json"]
    assert cli.main(["evaluate", f"{cell_of('cdc')}{part}", *words]) == 0
    found, known = (
        json.loads(Path("e.json").read_text()),
        json.loads((cell_of("cdc") / "result.json").read_text()),
    )
    assert found["scores"] == known["scores"]
    assert found["inputs_hash"] == known["inputs_hash"]


def test_an_unfinished_cell_is_judged_by_its_newest_checkpoint(tmp_path):
    import shutil

    unfinished = tmp_path / "cell"
    shutil.copytree(cell_of("tgan"), unfinished)
    shutil.rmtree(unfinished / "model")
    from pipeline.opening import open_model

    ours, whole = open_model(str(unfinished)), load_model(str(cell_of("tgan") / "model"))
    z = fixed_latents(4, 16)
    assert torch.equal(ours.draw(z), whole.draw(z))
    assert ours.about == {key: whole.about[key] for key in ours.about}


def test_a_fresh_process_draws_from_an_export_what_the_training_drew(tmp_path):
    """The last sample grid of the cell shows eight z of seed 7: those pixels, bit for bit."""
    from pipeline.report.grids import rows_of

    words = ["sample", str(cell_of("cdc")), "--out", str(tmp_path / "s"), "--count", "8"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-m", "pipeline", *words], env=env, check=True, timeout=120)
    sheet = cell_of("cdc") / "samples" / "000002.png"
    row = np.asarray(rows_of(sheet)[-1])
    for index in range(8):
        drawn = np.asarray(Image.open(tmp_path / "s" / f"{index:06d}.png"))
        assert drawn.shape == (32, 32, 3)
        scale = 4  # pictures of about 128 pixels
        assert any(
            np.array_equal(row[top : top + 32 * scale : scale, left : left + 32 * scale : scale], drawn)
            for top in range(row.shape[0] - 31 * scale)
            for left in range(row.shape[1] - 31 * scale)
        ), f"picture {index} is nowhere in the training's grid"


def test_truncation_of_nothing_is_the_mean_picture(tmp_path):
    words = ["sample", "exports/tiny", "--out", str(tmp_path / "s"), "--psi", "0", "--count", "2"]
    assert cli.main(words) == 0
    first, second = (np.asarray(Image.open(tmp_path / "s" / f"00000{i}.png")) for i in range(2))
    assert np.array_equal(first, second)


def test_a_grid_and_a_loop_show_the_source_beside(tmp_path, capsys):
    out = tmp_path / "s"
    words = ["sample", str(cell_of("cdc")), "--out", str(out), "--count", "3", "--grid", "--interpolate", "2"]
    assert cli.main([*words, "--frames", "3"]) == 0
    assert f"animation  {out / 'interpolation.gif'} (6 frames)" in capsys.readouterr().out
    with Image.open(out / "interpolation.gif") as film:
        assert film.n_frames == 6
        assert film.width > 1.9 * film.height  # two columns
    with Image.open(out / "grid.png") as sheet:
        assert sheet.height > 2 * 2 * 32


def test_sample_replaces_its_own_files_and_no_others(tmp_path, capsys):
    out = tmp_path / "s"
    assert cli.main(["sample", "exports/tiny", "--out", str(out), "--count", "3"]) == 0
    (out / "mine.txt").write_text("mine")
    assert cli.main(["sample", "exports/tiny", "--out", str(out), "--count", "2"]) == 0
    assert sorted(path.name for path in out.iterdir()) == [
        "000000.png",
        "000001.png",
        "mine.txt",
        "samples.json",
    ]
    (out / "000002.png").write_bytes(b"another's")
    assert cli.main(["sample", "exports/tiny", "--out", str(out), "--count", "3"]) == 2
    assert "000002.png: not drawn by graft sample" in capsys.readouterr().err
    assert (out / "000002.png").read_bytes() == b"another's"


def test_slerp_keeps_the_length_and_ends_where_it_began():
    from pipeline.drawing import loop, slerp

    a, b = torch.tensor([2.0, 0.0]), torch.tensor([0.0, 2.0])
    assert torch.allclose(slerp(a, b, 0.5), torch.tensor([2.0, 2.0]) / 2**0.5)
    way = loop(torch.stack([a, b]), 4)
    assert way.shape == (8, 2)
    assert torch.allclose(way.norm(dim=1), torch.full((8,), 2.0))
    assert torch.equal(way[0], a)
    assert torch.allclose(way[4], b)


def test_compare_writes_table_and_page_of_cells(tmp_path, capsys):
    assert cli.main(["compare", "runs/adapt", "--out", str(tmp_path / "c"), "--first", "cdc"]) == 0
    said = capsys.readouterr().out
    assert "tgan" in said
    assert {path.name for path in (tmp_path / "c").iterdir()} >= {
        "table.md",
        "table.csv",
        "table.json",
        "report.html",
    }
    assert "data:image" in (tmp_path / "c" / "report.html").read_text()


def test_compare_takes_cells_by_name_and_each_only_once(tmp_path, capsys):
    one, out = str(cell_of("tgan")), str(tmp_path / "c")
    assert cli.main(["compare", one, one, str(cell_of("cdc")), "--out", out]) == 0
    assert cli.main(["compare", one, "--out", out, "--first", "cdd"]) == 2
    assert "--first cdd: no cell has this method" in capsys.readouterr().err


def test_pictures_as_bytes_are_what_a_file_holds(tmp_path):
    model, z = load_model("exports/tiny"), fixed_latents(2, 16)
    assert cli.main(["sample", "exports/tiny", "--out", str(tmp_path / "s"), "--count", "2"]) == 0
    held = np.asarray(Image.open(tmp_path / "s" / "000001.png"))
    assert np.array_equal(held, as_bytes(model.draw(z))[1].permute(1, 2, 0).numpy())
