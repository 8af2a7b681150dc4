"""StarGAN v2 with high-pass skips: trained with the masks of a face alignment network from its own file."""

import json
from pathlib import Path

import pytest
import torch

from models.stargan2 import FAN
from pipeline import cli
from pipeline.tracking import jsonl
from pipeline.translation import load_translation
from tests.miniature import NETWORKS
from tests.test_resume import pets


def config(folder: Path, **settings: object) -> list[str]:
    """The command that trains two steps with masks, its outputs in `folder`."""
    values = {"name": "faces", "method": "stargan2", "train": str(pets(folder / "pets") / "train")}
    values |= {"network": {**NETWORKS["stargan2"], "high_pass": 1}, "settings": settings}
    values |= {"batch": 4, "steps": 2, "every": {"log": 1, "sample": 2, "save": 2}}
    path = folder / "faces.yaml"
    path.write_text(json.dumps(values))
    places = ["--runs", str(folder / "runs"), "--exports", str(folder / "exports")]
    return ["pretrain", str(path), *places, "--tracker", "none", "--device", "cpu"]


@pytest.mark.slow
def test_a_run_takes_its_masks_from_the_file_it_is_given_and_exports_them(tmp_path: Path) -> None:
    torch.manual_seed(0)
    fan = FAN()
    torch.save({"state_dict": fan.state_dict()}, tmp_path / "wing.ckpt")
    assert cli.main(config(tmp_path, fan=str(tmp_path / "wing.ckpt"))) == 0
    (metrics,) = (tmp_path / "runs").rglob("metrics.jsonl")
    terms = [line["terms"] for line in jsonl.read(metrics) if "terms" in line]
    assert len(terms) == 2
    assert all(isinstance(number, float) for each in terms for number in each.values())  # "nan" is a word
    own = load_translation(str(tmp_path / "exports" / "faces")).fan
    assert own is not None
    kept = fan.state_dict()
    assert all(torch.equal(kept[name], value) for name, value in own.state_dict().items())


def test_without_a_file_it_is_refused_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(config(tmp_path)) == 2
    said = capsys.readouterr().err
    assert "high_pass needs the masks of a face alignment network; name its file as settings.fan" in said
    assert not (tmp_path / "runs").exists()
