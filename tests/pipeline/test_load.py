import json
from pathlib import Path

import pytest
import torch

from models.files import WeightsError, read_tensors, write_tensors
from models.projector import Projector
from models.stylegan2 import Generator, Shape
from pipeline.errors import GraftError
from pipeline.exporting import save_model
from pipeline.load import Model, load_model, mean_style
from tests import miniature


def saved(folder: Path, projector: bool = False, discriminator: bool = True) -> Model:
    """A tiny model written into `folder`."""
    model = miniature.source()
    if projector:
        rng = torch.Generator().manual_seed(4)
        codes = torch.randn(10, model.shape.layers, model.shape.style_dim, generator=rng)
        model.projector = Projector.from_codes(codes, torch.linspace(0, 1, model.shape.layers))
    if not discriminator:
        model.discriminator = None
    save_model(model, folder)
    return model


def z(count: int = 3) -> torch.Tensor:
    return torch.randn(count, 16, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("projector", [False, True])
def test_a_model_comes_back_bit_for_bit_and_draws_the_same_pictures(tmp_path: Path, projector: bool) -> None:
    model = saved(tmp_path / "m", projector)
    found = load_model(str(tmp_path / "m"))
    assert found.shape == model.shape
    assert torch.equal(found.draw(z()), model.draw(z()))
    assert torch.equal(found.mean, model.mean)
    assert torch.equal(found.path_mean, model.path_mean)
    assert (found.projector is not None) == projector
    assert found.discriminator is not None
    assert model.discriminator is not None
    assert torch.equal(found.discriminator(found.draw(z())), model.discriminator(model.draw(z())))
    assert found.about["name"] == "tiny"


def test_nothing_that_is_loaded_asks_for_gradients(tmp_path: Path) -> None:
    saved(tmp_path / "m", projector=True)
    found = load_model(str(tmp_path / "m"))
    for part in (found.generator, found.discriminator, found.projector):
        assert part is not None
        assert not any(p.requires_grad for p in part.parameters())
        assert not part.training


def test_a_model_without_a_discriminator_is_one_to_draw_from(tmp_path: Path) -> None:
    saved(tmp_path / "m", discriminator=False)
    assert load_model(str(tmp_path / "m")).discriminator is None


def test_pictures_are_truncated_then_compressed_then_clamped(tmp_path: Path) -> None:
    model = saved(tmp_path / "m", projector=True)
    assert model.projector is not None
    generator: Generator = model.generator
    w = model.mean + 0.5 * (generator.mapping(z()) - model.mean)
    expected = generator.synthesis(model.projector(generator.styles(w))).picture.clamp(-1, 1)
    assert torch.equal(model.draw(z(), psi=0.5), expected)


def test_the_mean_style_is_the_mean_of_many_and_always_the_same() -> None:
    generator = miniature.source().generator
    assert torch.equal(mean_style(generator), mean_style(generator))
    w = generator.mapping(torch.randn(20_000, 16, generator=torch.Generator().manual_seed(9)))
    assert float((mean_style(generator) - w.mean(0)).abs().max()) < 0.1 * float(w.std(0).max())


def test_the_digest_is_that_of_the_weights(tmp_path: Path) -> None:
    saved(tmp_path / "a")
    saved(tmp_path / "b")
    first, second = load_model(str(tmp_path / "a")), load_model(str(tmp_path / "b"))
    assert first.sha256 == second.sha256
    assert len(first.sha256) == 64


def test_a_name_that_is_no_model_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(GraftError, match="nowhere: no model here") as caught:
        load_model(str(tmp_path / "nowhere"))
    assert caught.value.exit_code == 3
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("card", [[], {}, {"kind": "other", "network": {}}, {"kind": "stylegan2"}])
def test_a_card_of_something_else_is_refused_by_name(tmp_path: Path, card: object) -> None:
    saved(tmp_path / "m")
    (tmp_path / "m" / "config.json").write_text(json.dumps(card))
    with pytest.raises(GraftError, match=r"config\.json") as caught:
        load_model(str(tmp_path / "m"))
    assert caught.value.exit_code == 3


@pytest.mark.parametrize(
    "network",
    [
        {"size": 48},
        {"size": 32, "widths": {"4": 8}, "style_dim": 16, "mapping_layers": 2},
        {"size": "x", "widths": {}, "style_dim": 16, "mapping_layers": 2},
        {"size": 32, "widths": 5, "style_dim": 16, "mapping_layers": 2},
        [],
    ],
)
def test_a_network_that_cannot_be_built_is_refused_by_name(tmp_path: Path, network: object) -> None:
    saved(tmp_path / "m")
    (tmp_path / "m" / "config.json").write_text(json.dumps({"kind": "stylegan2", "network": network}))
    with pytest.raises(GraftError, match=r"config\.json: its network cannot be built"):
        load_model(str(tmp_path / "m"))


def test_weights_of_another_shape_name_the_tensor_and_both_shapes(tmp_path: Path) -> None:
    saved(tmp_path / "m")
    card = json.loads((tmp_path / "m" / "config.json").read_text())
    card["network"] = Shape(32, {**miniature.WIDTHS, 32: 6}, 16, 2).as_dict()
    (tmp_path / "m" / "config.json").write_text(json.dumps(card))
    with pytest.raises(WeightsError, match=r"tensor G\.convs\.4\.conv\.weight is \[1, 8, 8, 3, 3\]"):
        load_model(str(tmp_path / "m"))


def test_a_missing_tensor_is_named(tmp_path: Path) -> None:
    saved(tmp_path / "m")
    path = tmp_path / "m" / "model.safetensors"
    tensors = read_tensors(path)
    del tensors["G.input.input"]
    write_tensors(path, tensors)
    with pytest.raises(WeightsError, match=r"tensor G\.input\.input is missing"):
        load_model(str(tmp_path / "m"))


@pytest.mark.parametrize("key", ["projector.bases", "mean"])
def test_a_projector_or_mean_of_another_network_is_refused(tmp_path: Path, key: str) -> None:
    saved(tmp_path / "m", projector=True)
    path = tmp_path / "m" / "model.safetensors"
    tensors = read_tensors(path)
    tensors[key] = tensors[key][..., :-1, :] if key == "projector.bases" else tensors[key][:-1]
    write_tensors(path, tensors)
    with pytest.raises((WeightsError, GraftError), match=key):
        load_model(str(tmp_path / "m"))
