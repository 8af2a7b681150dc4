"""Two processes that share a batch compute what one computes: every trained network, average, moment and term."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from models.files import read_tensors
from tests.two_processes import SETTINGS, STEPS

ROOT = Path(__file__).parents[1]
SAME = 1e-9
# Where a norm takes a weight's effect away, its gradient is rounding alone, which Adam makes a thousandth of a step.
NEAR = dict.fromkeys(("dcgan", "bicycle", "drit"), 1e-6)


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one process, and two real ones over gloo, wrote."""
    folder = tmp_path_factory.mktemp("processes")
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    script = [str(ROOT / "tests" / "two_processes.py"), str(folder)]
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    for command in ([sys.executable, *script], [*launch, *script]):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", SETTINGS)
def test_all_states_after_five_steps_are_those_of_one_process(answers: Path, name: str) -> None:
    one = read_tensors(answers / f"{name}-1-0.safetensors")
    for rank in (0, 1):
        two = read_tensors(answers / f"{name}-2-{rank}.safetensors")
        assert two.keys() == one.keys()
        for key, value in one.items():
            apart = float((two[key].double() - value.double()).abs().max())
            most = NEAR.get(name, SAME) * max(1.0, float(value.abs().max()))
            assert apart <= most, f"{key} is off by {apart:.1e}"


@pytest.mark.slow
@pytest.mark.parametrize("name", SETTINGS)
def test_the_two_processes_hold_the_same_bits(answers: Path, name: str) -> None:
    first, second = (read_tensors(answers / f"{name}-2-{rank}.safetensors") for rank in (0, 1))
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.slow
@pytest.mark.parametrize("name", SETTINGS)
def test_every_term_of_every_step_reads_the_same(answers: Path, name: str) -> None:
    one = json.loads((answers / f"{name}-1-0.json").read_text())
    assert len(one) == STEPS
    for rank in (0, 1):
        two = json.loads((answers / f"{name}-2-{rank}.json").read_text())
        for mine, theirs in zip(two, one, strict=True):
            assert mine == pytest.approx(theirs, rel=SAME, abs=1e-12)
