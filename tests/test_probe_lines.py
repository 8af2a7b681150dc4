"""What a pretraining run writes of how far its pictures lie apart: beside the loss terms, and unweighted."""

import json
from pathlib import Path

import pytest
import torch

from pipeline import cli
from pipeline.conditional_model import ClassModel
from pipeline.inputs import eyes
from pipeline.judging.diversity import collapse_probe
from pipeline.opening import open_any
from pipeline.tracking import jsonl
from tests.miniature import CPU, NETWORKS
from tests.test_resume import pets

EVERY = {"log": 1, "sample": 2, "save": 4}


@pytest.mark.slow
def test_each_grid_has_a_line_of_its_probe_beside_the_terms_as_the_pictures_themselves_give_it(
    tmp_path: Path,
) -> None:
    values = {"name": "tiny", "method": "dcgan", "train": str(pets(tmp_path / "pets") / "train")}
    values |= {"network": NETWORKS["dcgan"], "batch": 4, "steps": 4, "every": EVERY}
    values |= {"settings": {"divco_negatives": 2}, "weights": {"divco": 7}}
    config, runs = tmp_path / "tiny.yaml", tmp_path / "runs"
    config.write_text(json.dumps(values))
    places = ["--runs", str(runs), "--exports", str(tmp_path / "exports")]
    assert cli.main(["pretrain", str(config), *places, "--tracker", "none", "--device", "cpu"]) == 0
    (path,) = runs.rglob("metrics.jsonl")
    lines = jsonl.read(path)
    probes = {line["step"]: line["probe"] for line in lines if "probe" in line}
    terms = {line["step"]: line["terms"] for line in lines if "terms" in line}
    assert (sorted(probes), sorted(terms)) == ([0, 2, 4], [1, 2, 3, 4])
    assert len(lines) == 7
    assert all(set(probe) == {"pixels_apart", "apart"} for probe in probes.values())
    assert not any("apart" in name for named in terms.values() for name in named)
    assert probes[0] != probes[4]
    model = open_any(str(tmp_path / "exports" / "tiny"))
    assert isinstance(model, ClassModel)
    rows, _ = model.sheet()
    expected = collapse_probe(torch.stack(rows), eyes(None, CPU)[0])
    assert probes[4] == pytest.approx(expected, rel=1e-4)
    pictures = torch.stack(rows).double()
    apart = [(one[i] - one[j]).abs().mean() for one in pictures for i in range(len(one)) for j in range(i)]
    assert probes[4]["pixels_apart"] == pytest.approx(float(torch.stack(apart).mean()), rel=1e-4)
