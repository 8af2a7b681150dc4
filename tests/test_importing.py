"""StarGAN v2 in its authors' format: out and in again, old files and forks, bad ones; on 32 px models."""

from pathlib import Path

import pytest
import torch

from models.files import read_tensors, write_tensors
from models.stargan2 import FAN
from pipeline import cli
from pipeline.exporting import save_model
from pipeline.importing import read_released, write_imported, write_released
from pipeline.translation import Translation, load_translation
from tests.data.drawn import picture
from tests.translators import NAMES, equal, pixels, sample, translator


@pytest.fixture(autouse=True)
def inside(tmp_path, monkeypatch):
    """A folder of one's own, with a translator in it."""
    save_model(translator(), tmp_path / "model")
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(("high_pass", "fan"), [(0.0, False), (2.0, False), (1.0, True)])
def test_a_released_file_comes_back_bit_by_bit(tmp_path, high_pass, fan):
    model = translator(high_pass, fan)
    file = write_released(model, tmp_path / "r")
    assert file.name == "nets_ema.ckpt"
    back = read_released(file, NAMES)
    assert equal(model, back)
    assert (back.layout, back.names) == (model.layout, list(NAMES))
    again = load_translation(str(write_imported(back, tmp_path / "again")))
    assert equal(model, again)
    assert again.about["imported_from"] == "nets_ema.ckpt"


def test_export_and_import_are_each_others_inverse(tmp_path, capsys):
    file = tmp_path / "r" / "nets_ema.ckpt"
    assert cli.main(["export", "model", str(file.parent), "--format", "released"]) == 0
    said = capsys.readouterr().out
    assert "cat,dog,wild (the file has no names" in said
    assert "hidden_dim 10 (there: 512)" in said
    found = torch.load(file, weights_only=True)
    assert list(found) == ["generator", "mapping_network", "style_encoder"]
    assert cli.main(["import", str(file), str(tmp_path / "m"), "--domains", ",".join(NAMES)]) == 0
    said = capsys.readouterr().out
    assert f"{tmp_path / 'm'}: StarGAN v2 at 32 px between cat, dog, wild" in said
    assert "styles     6 long, from latents of 4" in said
    assert "high-pass  none" in said
    weights = [read_tensors(Path(where) / "model.safetensors") for where in ("model", str(tmp_path / "m"))]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


def test_import_takes_what_forks_and_old_files_have(tmp_path, capsys):
    model = translator(1.0)
    state = {name: part.state_dict() for name, part in model.parts().items()}
    del state["generator"]["hpf.filter"]
    wrapped = {name: {f"module.{key}": each for key, each in part.items()} for name, part in state.items()}
    torch.save(wrapped, tmp_path / "100000_nets_ema.ckpt")
    assert cli.main(["import", str(tmp_path / "100000_nets_ema.ckpt"), str(tmp_path / "m")]) == 0
    assert "no face alignment network in the file" in capsys.readouterr().out
    back = load_translation(str(tmp_path / "m"))
    assert back.names == ["domain0", "domain1", "domain2"]
    assert equal(model, back)
    flat = {f"{name}.{key}": each for name, part in state.items() for key, each in part.items()}
    write_tensors(tmp_path / "w.safetensors", flat)
    assert equal(model, read_released(tmp_path / "w.safetensors", None))


def test_import_refuses_what_runs_and_what_does_not_fit(tmp_path, capsys):
    model = translator()
    state = {name: part.state_dict() for name, part in model.parts().items()}
    torch.save({**state, "generator": {}}, tmp_path / "a.ckpt")
    torch.save({"generator": state["generator"]}, tmp_path / "b.ckpt")
    state["generator"]["to_rgb.2.bias"] = torch.zeros(4)
    torch.save(state, tmp_path / "c.ckpt")
    torch.save({"generator": Path("x")}, tmp_path / "d.ckpt")
    for name, said in (
        ("a", "no generator in it"),
        ("b", "no mapping_network in it, which a translator needs; it holds generator"),
        ("c", "tensor to_rgb.2.bias is [4]"),
        ("d", "refused: it asks to run pathlib"),
    ):
        assert cli.main(["import", str(tmp_path / f"{name}.ckpt"), str(tmp_path / "m")]) == 3
        found = capsys.readouterr().err
        assert f"{tmp_path / name}.ckpt: " in found
        assert said in found
    assert not (tmp_path / "m").exists()


def drawn(model: Translation) -> torch.Tensor:
    """A source in a style of each domain, by latents and by a reference."""
    rng = torch.Generator().manual_seed(3)
    sources = torch.rand(1, 3, 32, 32, generator=rng) * 2 - 1
    z = torch.randn(1, model.latent_dim, generator=rng)
    encoded = model.encode(sources)
    codes = [model.latent_codes(z, target) for target in range(3)]
    codes += [model.reference_codes(sources.flip(3), target) for target in range(3)]
    return torch.cat([model.decode(encoded, code) for code in codes])


@pytest.mark.slow
def test_pictures_are_bit_equal_after_export_and_import_and_do_not_need_the_constant_filter(tmp_path):
    model = translator(1.0, fan=True)
    save_model(model, tmp_path / "faces")
    assert cli.main(["export", "faces", "out", "--format", "released"]) == 0
    state = torch.load("out/nets_ema.ckpt", weights_only=True)
    assert list(state) == ["generator", "mapping_network", "style_encoder", "fan"]
    assert state["generator"].pop("hpf.filter").shape == (3, 3)
    torch.save(state, "old.ckpt")
    expected = drawn(model)
    for number, file in enumerate(["out/nets_ema.ckpt", "old.ckpt"]):
        assert cli.main(["import", file, f"back{number}", "--domains", ",".join(NAMES)]) == 0
        assert torch.equal(drawn(load_translation(f"back{number}")), expected)
    model.fan = None
    assert not torch.equal(drawn(model), expected), "the masks of the network must be of use"


def test_a_face_network_from_a_file_of_its_own_is_the_one_of_the_whole_checkpoint(tmp_path, capsys):
    model = translator(1.0, fan=True)
    write_released(model, tmp_path / "whole")
    assert model.fan is not None
    larger = {**model.fan.state_dict(), "m1.coordconv.conv.weight": torch.zeros(1)}
    torch.save({"state_dict": larger}, "wing.ckpt")  # as published: nested, and of more stages than are used
    model.fan = None
    write_released(model, tmp_path / "without")
    assert cli.main(["import", "without/nets_ema.ckpt", "a", "--fan", "wing.ckpt"]) == 0
    assert cli.main(["import", "whole/nets_ema.ckpt", "b"]) == 0
    assert "with masks of a face alignment network" in capsys.readouterr().out
    a, b = load_translation("a"), load_translation("b")
    assert isinstance(a.fan, FAN)
    assert equal(a, b)


def test_an_imported_model_draws_the_files_of_the_one_that_was_exported(tmp_path):
    (tmp_path / "photos").mkdir()
    picture(1, 32, 32).save(tmp_path / "photos" / "a.png")
    assert cli.main(["export", "model", "out", "--format", "released"]) == 0
    assert cli.main(["import", "out/nets_ema.ckpt", "back", "--domains", ",".join(NAMES)]) == 0
    for model in ("model", "back"):
        assert sample(tmp_path / f"by_{model}", "--pictures", "photos", "--count", "1", model=model) == 0
    for name in NAMES:
        ours, theirs = (
            pixels(tmp_path / f"by_{model}" / f"a--{name}-000.png") for model in ("model", "back")
        )
        assert (ours == theirs).all()
