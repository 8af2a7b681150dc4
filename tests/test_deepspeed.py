"""DeepSpeed beside Accelerate, on two gloo processes: stage 0 has its bits, stage 1 its numbers, and says where not.

By the whole batch, and by a batch in parts, whose numbers under Accelerate tests/test_combined.py holds against one
process.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from models.files import read_tensors
from pipeline.resources import DEALT_OUT
from tests.two_processes import SETTINGS

ROOT = Path(__file__).parents[1]
# Adam on a flat network rounds otherwise; where a norm takes a weight's effect away, that is the whole of a step.
NEAR = {"bicycle": 5e-3}
SAME = 1e-5

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("deepspeed")
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "DS_ACCELERATOR": "cpu"}
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    command = [*launch, str(ROOT / "tests" / "two_deepspeed.py"), str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=550)
    assert done.returncode == 0, done.stderr
    return folder


def states(answers: Path, name: str) -> list[dict[str, Tensor]]:
    return [read_tensors(answers / f"{name}-{rank}.safetensors") for rank in (0, 1)]


def apart(one: dict[str, Tensor], two: dict[str, Tensor], kind: str = "") -> float:
    assert one.keys() == two.keys()
    return max(float((one[k].double() - two[k].double()).abs().max()) for k in one if k.startswith(kind))


@pytest.mark.parametrize("parts", ["", "parts"], ids=["whole", "in parts"])
@pytest.mark.parametrize("name", SETTINGS)
def test_stage_0_has_the_bits_of_accelerate_on_both_ranks(answers: Path, name: str, parts: str) -> None:
    expected = states(answers, f"{name}-accelerate{parts}")[0]
    for found in states(answers, f"{name}-zero0{parts}"):
        assert found.keys() == expected.keys()
        assert [key for key in expected if not torch.equal(found[key], expected[key])] == []


@pytest.mark.parametrize("parts", ["", "parts"], ids=["whole", "in parts"])
@pytest.mark.parametrize("name", DEALT_OUT)
def test_stage_1_has_the_numbers_of_accelerate_and_gathers_whole_moments(
    answers: Path, name: str, parts: str
) -> None:
    expected = states(answers, f"{name}-accelerate{parts}")[0]
    first, second = states(answers, f"{name}-zero1{parts}")
    assert apart(first, second) == 0
    assert apart(first, expected, "adam/") <= SAME
    assert apart(first, expected) <= NEAR.get(name, SAME)


def test_a_row_that_leaves_a_parameter_without_gradient_is_refused_at_stage_1(answers: Path) -> None:
    for rank in (0, 1):
        told = json.loads((answers / f"told-{rank}.json").read_text())
        for said in told.values():
            assert said.startswith("D: 1 parameters have no gradient in this row")
            assert "use zero: 0" in said


def test_a_checkpoint_of_stage_1_goes_on_under_either_engine(answers: Path) -> None:
    expected = states(answers, "resumed-accelerate")[0]
    for found in states(answers, "resumed-zero1"):
        assert apart(found, expected) <= 1e-6
    saved = states(answers, "dcgan-zero1")[0]
    assert apart(expected, saved, "net/") > 1e-5  # it has moved on
