"""BicycleGAN and DRIT from the command line: pictures in and out, what is of the target already, scores."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline import cli
from pipeline.conditional_model import load_pair_model
from pipeline.drit_model import load_drit
from pipeline.exporting import save_model
from pipeline.guides import latents
from pipeline.opening import open_any
from pipeline.report.grids import rows_of
from tests.data.drawn import picture
from tests.translators import as_input, as_pixels, drit_model, equal, pair_model, pixels, sample


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A translator of each kind, pictures of unknown domains, of two domains, and pairs."""
    room = tmp_path_factory.mktemp("two")
    save_model(pair_model(), room / "pairs_model")
    save_model(drit_model(), room / "drit")
    for where, names in {"photos": "ab", "held/cat": "ab", "held/dog": "cd", "held/fox": "e"}.items():
        (room / where).mkdir(parents=True)
        for name in names:
            picture(ord(name) + len(where), 32, 32).save(room / where / f"{name}.png")
    (room / "pairs").mkdir()
    for number in range(3):
        for side in "ab":
            picture(60 + 2 * number + ord(side), 32, 32).save(room / "pairs" / f"{number}.{side}.png")
    return room


@pytest.fixture(autouse=True)
def inside(room, monkeypatch):
    monkeypatch.chdir(room)


def files(out: Path) -> set[str]:
    return {path.name for path in out.glob("*.png")}


def test_of_pairs_a_is_translated_in_random_codes_or_in_those_of_b(tmp_path, capsys):
    out, model = tmp_path / "o", load_pair_model("pairs_model")
    assert sample(out, "--pictures", "pairs", "--count", "2", model="pairs_model") == 0
    said = capsys.readouterr().out
    assert "3 translated to B; 2 files of each, SOURCE--DOMAIN-CODE.png (6 in all)" in said
    assert "note       3 pictures of B left out: they are of it already" in said
    assert files(out) == {f"{n}_a--B-00{k}.png" for n in range(3) for k in range(2)}
    z = latents(7, "B", 2, model.latent_dim)
    expected = as_pixels(model.generator(as_input(Path("pairs/1.a.png")), z[1:]))
    assert np.abs(pixels(out / "1_a--B-001.png") - expected).max() <= 0.51

    words = ["--pictures", "photos", "--references", "pairs", "--grid"]
    assert sample(tmp_path / "r", *words, model="pairs_model") == 0
    assert files(tmp_path / "r") == {f"{s}--B-{n}_b.png" for s in "ab" for n in range(3)} | {"grid.png"}
    code = model.encoder(as_input(Path("pairs/2.b.png")))[0]
    expected = as_pixels(model.generator(as_input(Path("photos/a.png")), code))
    assert np.abs(pixels(tmp_path / "r" / "a--B-2_b.png") - expected).max() <= 1


def test_a_walk_through_codes_of_pairs_and_psi(tmp_path, capsys):
    words = ["--pictures", "photos", "--count", "1", "--interpolate", "2", "--frames", "3", "--psi", "0"]
    assert sample(tmp_path / "o", *words, model="pairs_model") == 0
    assert f"animation  {tmp_path / 'o' / 'interpolation-B.gif'} (2.2 s)" in capsys.readouterr().out
    zero = torch.zeros(1, load_pair_model("pairs_model").latent_dim)
    middle = as_pixels(load_pair_model("pairs_model").generator(as_input(Path("photos/b.png")), zero))
    assert np.abs(pixels(tmp_path / "o" / "b--B-000.png") - middle).max() <= 0.51


def test_drit_translates_to_the_other_domain_alone_where_the_source_says_its_own(tmp_path, capsys):
    out, model = tmp_path / "o", load_drit("drit")
    assert sample(out, "--pictures", "held", "--count", "1", "--grid", model="drit") == 0
    said = capsys.readouterr().out
    assert "5 translated to cat, dog; files, SOURCE--DOMAIN-CODE.png (6 in all)" in said
    crossing = {"cat-a--dog-000.png", "cat-b--dog-000.png", "dog-c--cat-000.png", "dog-d--cat-000.png"}
    assert files(out) == crossing | {"fox-e--cat-000.png", "fox-e--dog-000.png", "grid.png"}
    content = model.content_encoder(as_input(Path("held/dog/c.png")), 1)
    expected = as_pixels(model.generator(content, latents(7, "cat", 1, model.latent_dim), 0))
    assert np.abs(pixels(out / "dog-c--cat-000.png") - expected).max() <= 1
    cats = np.asarray(rows_of(out / "grid.png")[1])[::4, ::4]
    assert (cats[:, :32] == 255).all(), "the first source is a cat: nothing of it in the row of cats"
    assert not (cats[:, 34:66] == 255).all()


def test_drit_takes_styles_of_references_and_walks_through_them(tmp_path):
    out, model = tmp_path / "o", load_drit("drit")
    words = [
        "--pictures",
        "photos",
        "--references",
        "held",
        "--to",
        "dog",
        "--interpolate",
        "2",
        "--frames",
        "2",
    ]
    assert sample(out, *words, model="drit") == 0
    assert files(out) == {f"{source}--dog-dog_{name}.png" for source in "ab" for name in "cd"}
    read = model.attribute_encoder(as_input(Path("held/dog/d.png")), 1)[0]
    content = model.content_encoder(as_input(Path("photos/b.png")), 0)
    expected = as_pixels(model.generator(content, read, 1))
    assert np.abs(pixels(out / "b--dog-dog_d.png") - expected).max() <= 1
    with Image.open(out / "interpolation-dog.gif") as film:
        assert film.n_frames > 2


def test_where_every_source_is_of_the_target_nothing_is_left_to_do(tmp_path, capsys):
    shutil.copytree("held/cat", tmp_path / "cats" / "cat")
    words = ["--pictures", str(tmp_path / "cats"), "--to", "cat"]
    assert sample(tmp_path / "o", *words, model="drit") == 3
    assert "all of its pictures are of cat already, to which they were to go" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["concat", "featurewise"])
def test_models_come_back_whole(tmp_path, kind):
    save_model(drit_model(kind), tmp_path / "m")
    assert equal(open_any(str(tmp_path / "m")), drit_model(kind))
    assert equal(open_any("pairs_model"), pair_model())


def test_evaluate_takes_the_two_domains_of_drit_out_of_more_and_counts_style_alone(tmp_path, capsys):
    found = tmp_path / "e.json"
    words = ["translate.outputs=2", "translate.resamples=100", "--device", "cpu", "--json", str(found)]
    assert cli.main(["evaluate", "drit", "--heldout", "held", *words]) == 0
    assert "tiny, judged against held (2 cat, 2 dog)" in capsys.readouterr().out
    scores = {score["name"]: score for score in json.loads(found.read_text())["scores"]}
    assert {
        "kid_latent",
        "diversity_reference",
        "style_recovery",
        "cycle",
        "source_distance",
    } <= scores.keys()
    assert set(scores["cycle"]["detail"]["parts"]) == {"cat to dog", "dog to cat"}
    model, pairs = load_drit("drit"), (("cat", "dog"), ("dog", "cat"))
    from pipeline.judging.codes import noise
    from pipeline.judging.evaluator import as_saved

    lost = []
    for source, target in pairs:
        own, other = model.label(source), model.label(target)
        x = torch.cat([as_input(path) for path in sorted(Path("held", source).iterdir())])
        z = noise(2026, source, range(2), target, 1, model.latent_dim)[:, 0]
        made = as_saved(model.generator(model.content_encoder(x, own), z, other))
        lost.append((model.attribute_encoder(made, other)[0] - z).abs().mean())
    assert scores["style_recovery"]["value"] == pytest.approx(float(sum(lost) / 2), rel=1e-3)


def test_evaluate_judges_pairs_and_says_why_it_counts_no_bins(tmp_path, capsys):
    found = tmp_path / "e.json"
    words = ["pairing.outputs=2", "pairing.resamples=100", "--device", "cpu", "--json", str(found)]
    assert cli.main(["evaluate", "pairs_model", "--heldout", "pairs", *words]) == 0
    said = capsys.readouterr().out
    assert "judged against pairs (3 pairs; no NDB and JSD: its card names no training pictures)" in said
    names = {score["name"] for score in json.loads(found.read_text())["scores"]}
    assert names == {"kid", "diversity", "closest"}
