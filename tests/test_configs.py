"""Every YAML under configs/ is read and resolved by the schema of its kind, which its file name says."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from pipeline.explain import dotted_keys, explain
from pipeline.read import read

ROOT = Path(__file__).parents[1]
KINDS = {
    "sweep_": "Sweep",
    "demo": "Sweep",
    "first_result": "Sweep",
    "pretrain_": "Pretrain",
    "adapt_": "Job",
}
# What nobody ships: the user names it, as train=FOLDER; of a sweep as pretrain.train=FOLDER.
OWN_PICTURES = {
    "pretrain_dcgan_mnist.yaml": "train",
    "pretrain_bicycle_emoji.yaml": "train",
    "sweep_divco_digits.yaml": "pretrain.train",
    "sweep_divco_emoji.yaml": "pretrain.train",
}
ELSEWHERE = {"eye.yaml"}  # read, and tested, with the benchmark that trains the small eye
ELSEWHERE |= {"launcher.yaml", "rayjob.yaml"}  # not ours to read: tests/cluster/test_manifests.py
CONFIGS = sorted(
    str(path.relative_to(ROOT))
    for path in (ROOT / "configs").rglob("*.yaml")
    if path.name not in ELSEWHERE and path.parent.name != "resources"  # tests/pipeline/test_resources.py
)


def kind_of(name: str) -> str:
    kinds = [kind for prefix, kind in KINDS.items() if Path(name).name.startswith(prefix)]
    assert len(kinds) == 1, f"{name}: begin its name with one of {', '.join(KINDS)}, so that it is tested"
    return kinds[0]


def model_of(kind: str) -> type[BaseModel]:
    from pipeline import grid  # loads torch

    model: type[BaseModel] = getattr(grid, kind)
    return model


def named(name: str, folder: Path) -> list[str]:
    """The words that a user adds to a config: where the pictures are that are not shipped."""
    key = OWN_PICTURES.get(Path(name).name)
    return [f"{key}={folder}"] if key else []


@pytest.mark.parametrize("name", sorted(OWN_PICTURES))
def test_a_config_for_pictures_of_your_own_asks_for_them(name, monkeypatch):
    from pipeline.errors import GraftError
    from pipeline.problems import problems, sweep_problems

    monkeypatch.chdir(ROOT)
    kind = kind_of(name)
    with pytest.raises(GraftError, match="'train': FOLDER: no such folder, archive or shipped set"):
        read(f"configs/{name}", [], model_of(kind), check=sweep_problems if kind == "Sweep" else problems)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_config_is_read_and_resolved(name, monkeypatch, tmp_path):
    from pipeline.problems import problems

    monkeypatch.chdir(ROOT)
    kind = kind_of(name)
    own = named(name, tmp_path)
    found: Any = read(name, own, model_of(kind), check=None if kind == "Sweep" else problems)
    jobs = [found.job_of(cell) for cell in found.cells()] if kind == "Sweep" else [found]
    assert jobs
    for job in jobs:
        assert list(problems(job)) == []
        assert job.method_settings()
    assert len({job.digest for job in jobs}) == len(jobs), "two cells of the grid are the same"


@pytest.mark.parametrize("name", CONFIGS)
def test_a_resolved_config_reads_back_as_itself(name, monkeypatch, tmp_path):
    """What a run writes beside its results (config.yaml) must be enough to run it again."""
    import yaml

    monkeypatch.chdir(ROOT)
    model = model_of(kind_of(name))
    found = read(name, [], model)
    written = tmp_path / "config.yaml"
    written.write_text(yaml.safe_dump(found.model_dump(mode="json"), allow_unicode=True), encoding="utf-8")
    assert read(written, [], model) == found


@pytest.mark.parametrize("kind", sorted(set(KINDS.values())))
def test_every_key_is_explained(kind):
    model = model_of(kind)
    for key in dotted_keys(model):
        card = explain(model, key).splitlines()
        assert card[0] == key
        assert "(not described)" not in card[1], key
