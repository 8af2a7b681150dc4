"""Translators from the command line: pictures in and out, scores; on 32 px models."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline import cli
from pipeline.data.singles import fit_for_files, singles
from pipeline.exporting import save_model
from pipeline.guides import latents
from pipeline.opening import KINDS, open_any, open_model
from pipeline.translation import load_translation
from pipeline.translation_sheets import alphas
from tests.data.drawn import picture
from tests.miniature import NETWORKS, trained_a_little
from tests.tiny import make_source
from tests.translators import NAMES, equal, pixels, sample, translator

QUICK = ["translate.outputs=2", "translate.resamples=100"]


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A translator, four photographs of other sizes, references by domain and without."""
    room = tmp_path_factory.mktemp("translating")
    save_model(translator(), room / "model")
    (room / "photos" / "more").mkdir(parents=True)
    for number, name in enumerate(["a.png", "b.jpg", "c d.png", "more/a.png"]):
        picture(number, 40 + number, 33).save(room / "photos" / name)
    for domain, count in (("cat", 3), ("dog", 2)):
        (room / "guides" / domain).mkdir(parents=True)
        for number in range(count):
            picture(50 + number, 32, 32).save(room / "guides" / domain / f"{number}.png")
    shutil.copytree(room / "guides" / "cat", room / "cats")
    for number, domain in enumerate(NAMES):
        (room / "held" / domain).mkdir(parents=True)
        for index in range(3):
            picture(100 + 10 * number + index, 32, 32).save(room / "held" / domain / f"{index}.png")
    return room


@pytest.fixture(autouse=True)
def inside(room, monkeypatch):
    monkeypatch.chdir(room)


def test_a_folder_becomes_a_file_for_each_source_target_and_code(tmp_path, capsys):
    out = tmp_path / "o"
    assert sample(out, "--pictures", "photos", "--count", "2") == 0
    said = capsys.readouterr().out
    assert "4 translated to cat, dog, wild; 6 files of each, SOURCE--DOMAIN-CODE.png (24 in all)" in said
    assert "note       4 pictures: cropped" in said
    sources = ["a", "b", "c d", "more-a"]
    wanted = {f"{source}--{domain}-00{k}.png" for source in sources for domain in NAMES for k in range(2)}
    assert {path.name for path in out.glob("*.png")} == wanted
    note = json.loads((out / "samples.json").read_text())
    assert set(note["files"]) == wanted
    assert (note["pictures"], note["to"], note["references"]) == ("photos", list(NAMES), None)
    assert pixels(out / "a--cat-000.png").shape == (32, 32, 3)


def test_a_picture_is_translated_alike_alone_and_among_others(tmp_path):
    (tmp_path / "one").mkdir()
    shutil.copy("photos/b.jpg", tmp_path / "one" / "b.jpg")
    assert sample(tmp_path / "all", "--pictures", "photos", "--to", "dog", "--count", "2") == 0
    assert sample(tmp_path / "alone", "--pictures", str(tmp_path / "one"), "--to", "dog", "--count", "4") == 0
    for k in range(2):
        among, alone = (pixels(tmp_path / name / f"b--dog-00{k}.png") for name in ("all", "alone"))
        assert np.abs(among - alone).max() <= 1  # the last bit of a sum may depend on the batch


def test_latents_depend_on_seed_target_and_place_alone():
    few, many = latents(7, "cat", 2, 4), latents(7, "cat", 5, 4)
    assert torch.equal(few, many[:2])
    assert not torch.equal(few, latents(7, "dog", 2, 4))
    assert not torch.equal(few, latents(8, "cat", 2, 4))


def test_what_is_written_is_what_the_networks_give(tmp_path):
    model = load_translation("model")
    assert sample(tmp_path / "o", "--pictures", "guides", "--to", "wild", "--count", "1") == 0
    x = torch.from_numpy(pixels(Path("guides/dog/1.png"))).permute(2, 0, 1)[None] / 127.5 - 1
    style = model.mapping.all(latents(7, "wild", 1, model.latent_dim))[:, 2]
    expected = (model.generator(x.float(), style)[0].clamp(-1, 1) + 1) * 127.5
    found = pixels(tmp_path / "o" / "dog-1--wild-000.png").transpose(2, 0, 1)
    assert np.abs(found - expected.numpy()).max() <= 0.51


def test_psi_of_nothing_makes_all_codes_of_a_target_one(tmp_path):
    assert sample(tmp_path / "o", "--pictures", "cats", "--count", "2", "--to", "cat,dog", "--psi", "0") == 0
    for domain in ("cat", "dog"):
        assert np.array_equal(*(pixels(tmp_path / "o" / f"0--{domain}-00{k}.png") for k in range(2)))
    assert not np.array_equal(*(pixels(tmp_path / "o" / f"0--{domain}-000.png") for domain in ("cat", "dog")))


def test_references_guide_to_the_domain_that_their_folder_names(tmp_path):
    model, out = load_translation("model"), tmp_path / "o"
    assert sample(out, "--pictures", "photos", "--references", "guides", "--grid") == 0
    names = {path.name for path in out.glob("a--*.png")}
    assert names == {f"a--cat-cat_{k}.png" for k in range(3)} | {f"a--dog-dog_{k}.png" for k in range(2)}
    guide = torch.from_numpy(pixels(Path("guides/dog/1.png"))).permute(2, 0, 1)[None].float() / 127.5 - 1
    source, _ = singles("photos")[0].picture(32, "crop")
    style = model.encoder.all(guide)[:, 1]
    expected = (model.generator(source[None].float() / 127.5 - 1, style)[0].clamp(-1, 1) + 1) * 127.5
    found = pixels(out / "a--dog-dog_1.png").transpose(2, 0, 1)
    assert np.abs(found - expected.numpy()).max() <= 1


def test_references_without_domains_guide_to_one_target(tmp_path, capsys):
    assert sample(tmp_path / "o", "--pictures", "photos", "--references", "cats") == 2
    assert "guide to one target; name it with --to (cat, dog, wild)" in capsys.readouterr().err
    assert sample(tmp_path / "o", "--pictures", "photos", "--references", "cats", "--to", "wild") == 0
    assert {path.name for path in (tmp_path / "o").glob("b--*")} == {f"b--wild-{k}.png" for k in range(3)}


def test_a_grid_has_sources_on_top_and_references_at_the_left(tmp_path):
    from pipeline.report.grids import rows_of

    out, size, scale = tmp_path / "o", 32, 4
    assert sample(out, "--pictures", "cats", "--references", "guides", "--to", "dog", "--grid") == 0
    rows = [np.asarray(row)[::scale, ::scale] for row in rows_of(out / "grid.png")]
    assert len(rows) == 1 + 2
    step = size + 2
    assert all(row.shape[1] == 4 * step - 2 for row in rows)
    assert (rows[0][:, :size] == 255).all()
    assert np.array_equal(rows[0][:, step : step + size], pixels(Path("cats/0.png")))
    assert np.array_equal(rows[2][:, :size], pixels(Path("guides/dog/1.png")))
    assert np.array_equal(rows[2][:, 2 * step : 2 * step + size], pixels(out / "1--dog-dog_1.png"))


def test_an_animation_goes_linearly_through_styles_at_the_released_pace(tmp_path, capsys):
    pace = [0, *(1 / (1 + math.exp(-x)) for x in np.arange(-5, 5, 0.5)), *[1] * 10]
    assert alphas(20) == pytest.approx(pace)
    out = tmp_path / "o"
    words = ["--pictures", "cats", "--to", "cat,dog", "--count", "1", "--interpolate", "2", "--frames", "3"]
    assert sample(out, *words) == 0
    assert f"animation  {out / 'interpolation-cat.gif'} (2.2 s)" in capsys.readouterr().out
    with Image.open(out / "interpolation-dog.gif") as film:
        assert film.n_frames > 3
        assert film.size == (3 * 34 * 4 - 8, 2 * 34 * 4 - 8)  # three sources, above what becomes of them
    assert {path.name for path in out.glob("0--*")} == {"0--cat-000.png", "0--dog-000.png"}


def test_broken_pictures_are_passed_over_and_named(tmp_path, capsys):
    (tmp_path / "p").mkdir()
    shutil.copy("photos/a.png", tmp_path / "p" / "a.png")
    (tmp_path / "p" / "b.png").write_bytes((tmp_path / "p" / "a.png").read_bytes()[:80])
    assert sample(tmp_path / "o", "--pictures", str(tmp_path / "p"), "--to", "cat", "--count", "1") == 0
    assert f"skipped, broken: {tmp_path / 'p' / 'b.png'}: broken or truncated" in capsys.readouterr().out
    (tmp_path / "p" / "a.png").unlink()
    assert sample(tmp_path / "o", "--pictures", str(tmp_path / "p"), "--to", "cat", "--count", "1") == 3
    assert "no other picture could be read either" in capsys.readouterr().err


def test_a_second_sample_replaces_its_own_files_and_no_others(tmp_path, capsys):
    out = tmp_path / "o"
    assert sample(out, "--pictures", "cats", "--to", "cat", "--count", "2") == 0
    (out / "mine.txt").write_text("mine")
    assert sample(out, "--pictures", "cats", "--to", "dog", "--count", "1") == 0
    left = {path.name for path in out.iterdir()}
    assert left == {"mine.txt", "samples.json", *(f"{k}--dog-000.png" for k in range(3))}
    (out / "0--cat-000.png").write_bytes(b"another's")
    assert sample(out, "--pictures", "cats", "--to", "cat", "--count", "1") == 2
    assert "0--cat-000.png: not drawn by graft sample" in capsys.readouterr().err
    assert (out / "0--cat-000.png").read_bytes() == b"another's"


def test_without_pictures_held_out_ones_of_the_shipped_set_on_its_card_are_translated(tmp_path, capsys):
    model = translator()
    model.about = {"name": "tiny", "train": "avatar_styles"}
    save_model(model, tmp_path / "m")
    assert sample(tmp_path / "o", "--to", "cat", "--count", "1", model=str(tmp_path / "m")) == 0
    assert "8 held-out pictures of each domain of avatar_styles" in capsys.readouterr().out
    assert len(list((tmp_path / "o").glob("micah-7*--cat-000.png"))) == 8
    assert len(list((tmp_path / "o").glob("*.png"))) == 24


def test_names_from_outside_become_parts_of_file_names():
    odd = ["a/../b", "a_.._b", "käse", "x" * 300, "..", "a-b"]
    found = fit_for_files(odd)
    assert len(set(found)) == len(odd)
    assert all("/" not in name and "-" not in name and len(name.encode()) <= 72 for name in found)
    assert found[2] == "käse"


def test_a_model_of_any_kind_is_opened_by_what_its_card_says(tmp_path):
    make_source(tmp_path / "s")
    assert {open_any(str(where)).kind for where in (tmp_path / "s", "model")} == {"stylegan2", "stargan2"}
    assert set(KINDS) >= {"stylegan2", "stargan2"}
    with pytest.raises(Exception, match="model: a stargan2 model, and a stylegan2 model is needed here"):
        open_model("model")
    (tmp_path / "s" / "config.json").write_text('{"kind": "vqgan", "network": {}}')
    with pytest.raises(Exception, match="a vqgan model, which this Graft does not know; it knows stylegan2"):
        open_any(str(tmp_path / "s"))


def test_evaluate_judges_a_translator_by_distance_diversity_and_what_is_kept(tmp_path, capsys):
    found = tmp_path / "e.json"
    words = ["evaluate", "model", "--heldout", "held", "--device", "cpu", "--json", str(found), *QUICK]
    assert cli.main(words) == 0
    said = capsys.readouterr().out
    assert "tiny, judged against held (3 cat, 3 dog, 3 wild)" in said
    scores = {score["name"]: score for score in json.loads(found.read_text())["scores"]}
    kept = ("style_recovery", "cycle", "source_distance")
    assert {"kid_latent", "diversity_reference", *kept} <= scores.keys()
    assert all(f"  {name} " in said for name in kept)
    for name in kept:
        score = scores[name]
        assert score["low"] <= score["value"] <= score["high"]
        assert score["n"] == 18  # six pairs of three sources
        assert len(score["detail"]["parts"]) == 6


def test_a_run_is_opened_by_its_newest_checkpoint(tmp_path):
    from pipeline.families import FAMILIES
    from pipeline.job import Pretrain
    from pipeline.record import begin
    from pipeline.store import Checkpoints

    job = Pretrain(
        name="run", method="stargan2", train="held", network=NETWORKS["stargan2"], batch=2, steps=4
    )
    family = FAMILIES["stargan2"]
    nets = family.nets(job, job.entry.table(job.method_settings()), family.open(job), torch.device("cpu"))
    for twin in nets.twins.values():
        trained_a_little(twin, 5)
    begin(tmp_path / "run", job, {})
    Checkpoints(tmp_path / "run" / "checkpoints").save(2, nets.state(), {"step": 2})
    found = open_any(str(tmp_path / "run"))
    assert (found.kind, found.about["steps"], list(found.names)) == ("stargan2", 2, list(NAMES))
    assert all(
        torch.equal(value, nets.twins["G"].state_dict()[key])
        for key, value in found.generator.state_dict().items()
    )
    assert cli.main(["export", str(tmp_path / "run"), str(tmp_path / "m")]) == 0
    assert (tmp_path / "m" / "grid.png").is_file()
    assert equal(load_translation(str(tmp_path / "m")), found)
