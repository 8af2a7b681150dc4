"""NaN where it hurts, and memory that runs out: the step is not applied, or the cell fails by name."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from models.files import read_tensors
from tests.faults.broken import broken
from tests.sweeps import REPO, read
from tests.test_resume import command, config, numbers
from tests.tiny import Tiny

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]
STEPS = 8
# cdc's first steps are image steps at 0 and 4, patch steps between: D and G twice a step there, with R1 and path.
ENDS: dict[str, dict[str, Any]] = {
    "calm": {},
    "one loss": {"loss": [9]},
    "one gradient": {"gradient": [9]},
    "every loss": {"loss": list(range(6, 60))},
    "every gradient": {"gradient": list(range(6, 60))},
    "no memory": {"memory": 2},
}


@pytest.fixture(scope="module")
def ends(tmp_path_factory: pytest.TempPathFactory, tiny: Tiny) -> dict[str, tuple[int, Path]]:
    """Exit status and folder of a run for each of ENDS, made by one plan."""
    folder = tmp_path_factory.mktemp("ends")
    plan = []
    for name, way in ENDS.items():
        path = config(folder / f"{name}.yaml", tiny, "cdc", STEPS)
        if name == "no memory":  # large enough that each step asks the system for memory anew
            path.write_text(json.dumps({**json.loads(path.read_text()), "batch": 32}))
        verb, arguments = command(path, "cdc", folder / name)
        plan.append({"verb": verb, "arguments": arguments, "dies": way})
    answers = broken(folder, plan)
    assert [answer["said"] for answer in answers if "Traceback" in answer["said"]] == []
    return {name: (answer["status"], folder / name) for name, answer in zip(ENDS, answers, strict=True)}


def result(runs: Path) -> Any:
    (path,) = runs.rglob("result.json")
    return read(path)


@pytest.mark.parametrize("name", ["one loss", "one gradient"])
def test_one_step_that_is_not_finite_is_left_out_and_the_run_ends_well(
    ends: dict[str, tuple[int, Path]], name: str
) -> None:
    status, runs = ends[name]
    assert status == 0
    assert result(runs)["status"] == "done"
    (last,) = runs.rglob("000008/tensors.safetensors")
    (calm,) = ends["calm"][1].rglob("000008/tensors.safetensors")
    mine, theirs = read_tensors(last), read_tensors(calm)
    assert all(bool(value.isfinite().all()) for value in mine.values())
    steps = [key for key in mine if key.startswith("adam/") and key.endswith("/step")]
    behind = {int(theirs[key] - mine[key]) for key in steps}
    assert behind == {0, 1}  # the network of that step moved once less, the others as often


@pytest.mark.parametrize("name", ["every loss", "every gradient"])
def test_the_third_in_a_row_fails_the_cell_by_name(ends: dict[str, tuple[int, Path]], name: str) -> None:
    status, runs = ends[name]
    assert status == 4
    assert result(runs)["status"] == "diverged"
    assert "a gradient was not finite 3 times in a row" in result(runs)["reason"]
    assert result(runs)["reason"].split()[0] in {"D_image", "D_patch", "G_image", "G_patch", "R1", "path"}


def test_a_cell_that_runs_out_of_memory_fails_by_name(ends: dict[str, tuple[int, Path]]) -> None:
    status, runs = ends["no memory"]
    assert status == 4
    assert result(runs)["status"] == "out of memory"
    assert max(line["step"] for line in numbers(runs)) <= 4


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """What two real processes met, one of which had a NaN in a loss, in a gradient, and for ever."""
    folder = tmp_path_factory.mktemp("ranks")
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    done = subprocess.run(
        [*launch, str(REPO / "tests" / "faults" / "poisoned_rank.py"), str(folder)],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPO)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return [read(folder / f"{rank}.json") for rank in (0, 1)]


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_a_nan_on_one_rank_stops_the_step_of_all(ranks: list[Any], where: str) -> None:
    mine, theirs = (answer[where] for answer in ranks)
    assert mine == theirs
    assert [step["moved"] for step in mine["steps"]] == [True, False, True]
    assert mine["steps"][1]["refused"] == {"D": 1, "G": 1}
    assert mine["steps"][2]["refused"] == {}


def test_a_nan_on_one_rank_for_ever_ends_all_with_the_same_words(ranks: list[Any]) -> None:
    assert ranks[0]["diverged"] == ranks[1]["diverged"]
    assert "D at step 2: a gradient was not finite 3 times in a row" in ranks[0]["diverged"]
