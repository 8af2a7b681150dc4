"""A sweep whose cells are pretraining runs: diversity terms side by side, DivCo's with all its numbers searched."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.data.drawn import folder
from tests.sweeps import REPO, Sweeps, read
from tests.tiny import Tiny

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]
NETWORK = {"size": 32, "base": 256, "widest": 12, "style_dim": 6, "latent_dim": 4, "hidden_dim": 10}
JUDGE = {"resamples": 100, "outputs": 2}
DIVCO = "stargan2 diversity=divco"
ROWS = {"stargan2 diversity=none", DIVCO}
COMMITTED = yaml.safe_load((REPO / "configs" / "sweep_divco.yaml").read_text(encoding="utf-8"))["search"]
SPACE = COMMITTED["space"][DIVCO]
SEARCH = {"space": {DIVCO: SPACE}, "trials": 2, "steps": 4}
SCORE = {"kid": 0, "structure": 0, "kid_latent": -20, "diversity_latent": 1}


@dataclass(frozen=True)
class Grown:
    """The sweep, and how it ended."""

    sweeps: Sweeps
    done: subprocess.CompletedProcess[str]

    @property
    def runs(self) -> Path:
        return self.sweeps.folder / "runs" / "terms"


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Grown:
    here = tmp_path_factory.mktemp("terms")
    for split, count in (("train", 8), ("test", 6)):
        for domain in ("cats", "dogs"):
            folder(here / "pets" / split / domain, count, 32)
    pretrain = {"name": "pets", "method": "stargan2", "train": str(here / "pets"), "steps": 6, "batch": 2}
    pretrain |= {"network": NETWORK, "translate": JUDGE, "every": {"log": 1, "sample": 6, "save": 2}}
    config = {
        "name": "terms", "pretrain": pretrain, "tracker": "none", "search": {**SEARCH, "rungs": 1},
        "grid": {"diversity": ["none", "divco"], "seed": [0, 1]}, "score": SCORE,
    }  # fmt: skip
    (here / "terms.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    sweeps = Sweeps(here, Tiny(here, here, here))
    return Grown(sweeps, sweeps.run(here / "terms.yaml"))


def test_every_cell_is_trained_judged_and_named_by_its_row(grown: Grown) -> None:
    assert grown.done.returncode == 0, grown.done.stderr
    results = grown.sweeps.results("terms").values()
    assert [result["status"] for result in results] == ["done"] * 4
    assert {(r["variant"], r["seed"]) for r in results} == {(row, seed) for row in ROWS for seed in (0, 1)}
    for result in results:
        measured = {score["name"] for score in result["scores"] if score["value"] is not None}
        assert {"kid_latent", "kid_reference", "diversity_latent", "diversity_reference"} <= measured


def test_the_table_has_a_row_for_each_term_and_counts_its_trials(grown: Grown) -> None:
    rows = {row["method"]: row["trials"] for row in grown.sweeps.table("terms")["rows"]}
    assert rows == {"stargan2 diversity=none": 0, DIVCO: 2}
    assert all(row in grown.done.stdout for row in ROWS)


def test_a_row_runs_with_weight_radius_temperature_and_negatives_that_its_own_search_found(
    grown: Grown,
) -> None:
    (chosen,) = read(grown.runs / "search" / "chosen.json").values()
    assert set(chosen) == set(SPACE)
    assert len(SPACE) == 4
    found = {
        asked["diversity"]: asked
        for asked in (yaml.safe_load(path.read_text()) for path in grown.runs.glob("*/config.yaml"))
    }
    for key, number in chosen.items():
        section, _, name = key.partition(".")
        assert found["divco"][section][name] == number
    assert chosen["settings.divco_negatives"] in SPACE["settings.divco_negatives"]["choice"]
    assert "divco" not in found["none"]["weights"]


def test_the_best_translator_is_exported_and_translates(grown: Grown) -> None:
    from pipeline import cli

    exported = grown.sweeps.folder / "exports" / "terms"
    out = grown.sweeps.folder / "translated"
    words = ["sample", str(exported), "--pictures", str(grown.sweeps.folder / "pets" / "test" / "cats")]
    assert cli.main([*words, "--to", "dogs", "--count", "1", "--out", str(out)]) == 0
    assert len(list(out.glob("*.png"))) == 6
