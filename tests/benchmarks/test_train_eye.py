"""The small eye's recipe: read, run tiny, and what the shipped eye's card promises."""

import io
import json
import tarfile
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image

from benchmarks.eye_styles import STYLES, varied
from benchmarks.train_eye import COLOURS, accuracy, labels, loss_of, main, read_shards, value_names
from models.files import read_tensors
from models.judges import find_eye
from models.judges.find import BUILT_IN
from models.judges.small_eye import small_eye

ROOT = Path(__file__).parents[2]
CARD = json.loads(BUILT_IN.with_suffix(".json").read_text(encoding="utf-8"))


def shard(path: Path, count: int, first: int) -> None:
    """Squares of random colour; hair says which side is dark, hairColor how; every third has no beard."""
    rng = torch.Generator().manual_seed(first)
    with tarfile.open(path, "w:gz") as archive:
        for index in range(count):
            side, colour = int(torch.randint(2, (), generator=rng)), int(torch.randint(2, (), generator=rng))
            picture = Image.new("RGB", (64, 64), "white")
            picture.paste(("red", "blue")[colour], (32 * side, 0, 32 * side + 32, 64))
            factors = {"hair": ("left", "right")[side], "hairColor": ("#f00", "#00f")[colour]}
            factors |= {"facialHair": "some"} if index % 3 else {}
            content = io.BytesIO()
            picture.save(content, "png")
            card = json.dumps({"factors": factors}).encode()
            for kind, data in (("png", content.getvalue()), ("json", card)):
                member = tarfile.TarInfo(f"s-{first + index}.{kind}")
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))


@pytest.fixture
def recipe(tmp_path):
    """The committed recipe, on tiny shards, for two steps."""
    shard(tmp_path / "train-0.tar.gz", 20, 0)
    shard(tmp_path / "heldout.tar.gz", 8, 100)
    values = yaml.safe_load((ROOT / "configs" / "eye.yaml").read_text(encoding="utf-8"))
    values |= {"data": str(tmp_path), "out": str(tmp_path / "eye.safetensors"), "steps": 2, "batch": 8}
    path = tmp_path / "eye.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path


def test_the_recipe_trains_writes_and_reads_back(recipe, tmp_path):
    main(recipe)
    card = json.loads((tmp_path / "eye.json").read_text(encoding="utf-8"))
    assert card["values"] == {
        "facialHair": ["none", "some"],
        "hair": ["left", "right"],
        "hairColor": ["#00f", "#f00"],
    }
    assert set(card["accuracy"]) == set(card["values"])
    tensors = read_tensors(tmp_path / "eye.safetensors")
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float16}
    assert small_eye(tensors, "").features(torch.zeros(1, 3, 64, 64)).shape == (1, 352)


def test_the_same_recipe_gives_the_same_weights(recipe, tmp_path):
    main(recipe)
    first = (tmp_path / "eye.safetensors").read_bytes()
    tensors = read_tensors(tmp_path / "eye.safetensors")
    main(recipe)
    again = read_tensors(tmp_path / "eye.safetensors")
    assert first
    assert all(torch.equal(tensors[name], again[name]) for name in tensors)


def test_colours_are_asked_for_only_where_they_were_kept():
    truth = {"hair": torch.tensor([0, 1]), COLOURS[0]: torch.tensor([0, 1])}
    logits = {name: torch.tensor([[3.0, -3.0], [3.0, -3.0]]) for name in truth}
    kept = loss_of(logits, truth, torch.tensor([True, False]))
    wrong_too = loss_of(logits, truth, torch.tensor([True, True]))
    assert kept < wrong_too


def test_styles_are_drawn_from_the_generator_and_stay_in_range():
    assert sum(STYLES.values()) == pytest.approx(1)
    x = torch.rand(32, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    one, kept = varied(x, torch.Generator().manual_seed(1))
    two, _ = varied(x, torch.Generator().manual_seed(1))
    assert torch.equal(one, two)
    assert 0 <= float(one.min()) <= float(one.max()) <= 1
    assert kept.shape == (32,)


def test_the_shipped_eye_is_as_right_as_its_card_says():
    """On the first held-out pictures: within what 100 pictures can tell, far above guessing."""
    x, factors = read_shards([ROOT / "pipeline" / "data" / "shipped" / "personas" / "heldout.tar.gz"])
    assert len(x) == CARD["heldout"]
    assert value_names(factors) == CARD["values"]
    eye = find_eye([])
    found = accuracy(eye, x[:100], labels(factors[:100], CARD["values"]), None)
    for name, share in found.items():
        assert share == pytest.approx(CARD["accuracy"][name], abs=0.16)
        assert share > 1.5 / len(CARD["values"][name])
