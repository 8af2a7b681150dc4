"""Killed and resumed, bit for bit: batch norms that remember, dropout, networks that train at every third step."""

import json
from pathlib import Path
from typing import Any

import pytest

from models.conditional.bicycle import Generator
from models.files import read_tensors
from tests.data.drawn import picture
from tests.miniature import NETWORKS
from tests.test_resume import EVERY, STEPS, command, dying, pets, same

pytestmark = pytest.mark.slow
DEATHS: list[dict[str, Any]] = [{"step": 4}, {"step": 7}]  # each between two checkpoints, of steps 3, 6 and 8
DROPPING = {**NETWORKS["bicycle"], "size": 64}  # below 64 px no level has dropout
FEW: dict[str, dict[str, Any]] = {
    "dcgan": {"settings": {"divco_negatives": 2}},
    "bicycle": {"settings": {"divco_negatives": 2}, "network": DROPPING},
    "drit": {"settings": {"d_iter": 3, "divco_negatives": 2}},
}


def pairs(path: Path) -> Path:
    """Pairs of 64 px."""
    path.mkdir()
    for number in range(6):
        for side in "ab":
            picture(ord(side) + number, 64, 64).save(path / f"{number}.{side}.png")
    return path


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """NAME/calm and NAME/killed for every family, made by one plan."""
    folder = tmp_path_factory.mktemp("conditional")
    domains, both = pets(folder / "pets") / "train", pairs(folder / "pairs")  # none held out, so none judged
    plan = []
    for name, more in FEW.items():
        values = {"name": name, "method": name, "train": str(both if name == "bicycle" else domains)}
        values |= {
            "network": NETWORKS[name],
            "batch": 4,
            "steps": STEPS,
            "every": {**EVERY, "sample": STEPS},
            **more,
        }
        (folder / f"{name}.yaml").write_text(json.dumps(values))
        for way, deaths in (("calm", []), ("killed", DEATHS)):
            verb, arguments = command(folder / f"{name}.yaml", "pretrain", folder / name / way)
            plan += [{"verb": verb, "arguments": arguments, "dies": death} for death in (*deaths, None)]
    dying(folder, plan)
    return folder


def checkpoints(runs: Path) -> list[Any]:
    """The tensors of the two that are kept."""
    return [read_tensors(path) for path in sorted(runs.rglob("checkpoints/*/tensors.safetensors"))]


@pytest.mark.parametrize("name", FEW)
def test_kill_9_between_two_checkpoints_and_the_same_command_ends_as_the_calm_run(
    runs: Path, name: str
) -> None:
    same(runs / name / "calm", runs / name / "killed")


def test_statistics_of_the_batch_norms_were_on_their_way_and_are_in_the_checkpoint(runs: Path) -> None:
    before, after = checkpoints(runs / "dcgan" / "calm")
    kept = [key for key in after if key.endswith(("running_mean", "running_var", "num_batches_tracked"))]
    assert {key.split("/")[1] for key in kept} == {"G", "D"}
    assert [key for key in kept if before[key].equal(after[key])] == []


def test_pairs_were_trained_with_dropout() -> None:
    assert Generator(DROPPING["size"], DROPPING["latent_dim"], DROPPING["width"]).mask_shapes


def test_networks_of_every_third_step_moved_in_three_of_eight(runs: Path) -> None:
    _, after = checkpoints(runs / "drit" / "calm")
    moves = {key.split("/")[1]: int(value) for key, value in after.items() if key.endswith("/0/step")}
    assert moves["D_content"] == STEPS
    assert {moves[name] for name in ("E_a", "D_A", "D_B")} == {3}  # at steps 0, 3 and 6
