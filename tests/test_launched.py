"""Two ranks under torchrun: real verbs give one process's result; a rank that drifts or dies ends all, by name."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from models.files import read_tensors
from tests.test_resume import config
from tests.tiny import Tiny

ROOT = Path(__file__).parents[1]
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
PATIENCE = 500

pytestmark = pytest.mark.slow


def launched(*command: str, code: int | None = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        command, env=ENVIRONMENT, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE
    )
    assert code is None or done.returncode == code, done.stderr
    return done


def in_two(how: str, folder: Path, code: int | None = 0) -> tuple[str, list[dict[str, Any] | None]]:
    """What two ranks of tests/two_launched.py said, and what each left."""
    folder.mkdir(exist_ok=True)
    done = launched(*TORCHRUN, str(ROOT / "tests" / "two_launched.py"), how, str(folder), code=code)
    answers = [folder / f"{rank}.json" for rank in (0, 1)]
    found = [json.loads(path.read_text()) if path.is_file() else None for path in answers]
    for path in answers:
        path.unlink(missing_ok=True)
    return done.stderr, found


def test_a_rank_that_loses_one_bit_ends_the_run_before_a_checkpoint_is_written(tmp_path: Path) -> None:
    _, answers = in_two("parts", tmp_path / "run")
    for answer in answers:
        assert answer is not None
        assert (answer["code"], answer["step"]) == (5, 3)
        assert answer["said"].startswith("step 3: ")
        assert "net/G" in answer["said"]
        assert "ranks 0 and 1" in answer["said"]
    assert not list((tmp_path / "run").rglob("state.json"))


def test_a_killed_rank_ends_the_other_with_a_sentence_and_the_same_command_goes_on(tmp_path: Path) -> None:
    calm, killed = tmp_path / "calm", tmp_path / "killed"
    in_two("calm", calm)
    _, (survivor, dead) = in_two("dies", killed, code=None)
    assert dead is None
    if survivor is not None:  # torchrun may end it before it has written
        assert survivor["code"] == 5
        assert "a rank is gone" in survivor["said"] or "in vain" in survivor["said"]
    in_two("calm", killed)
    ends = [next(folder.rglob("000006/*.safetensors")) for folder in (calm, killed)]
    assert ends[0].read_bytes() == ends[1].read_bytes()


@pytest.mark.parametrize("name", ["cdc", "pretrain"])
def test_a_verb_on_two_ranks_gives_the_result_of_one_process(tiny: Tiny, tmp_path: Path, name: str) -> None:
    verb = name if name == "pretrain" else "adapt"
    path = config(tmp_path / "job.yaml", tiny, name, 3, save=3, sample=3)
    path.write_text(json.dumps({**json.loads(path.read_text()), "batch": 4}))
    more = ["--device", "cpu", "--tracker", "none", "--resources", str(tmp_path / "two.yaml")]
    (tmp_path / "two.yaml").write_text("threads: 1\nchecksum_every: 1\n")
    exports = ["--exports", str(tmp_path / "exports")] if verb == "pretrain" else []
    for kind, launch in (("one", [sys.executable]), ("two", TORCHRUN)):
        runs = ["--runs", str(tmp_path / kind)]
        launched(*launch, "-m", f"pipeline.{verb}", str(path), *runs, *more, *exports)
    one, two = (
        read_tensors(next((tmp_path / kind).rglob("000003/*.safetensors"))) for kind in ("one", "two")
    )
    assert one.keys() == two.keys()
    for key in one:
        torch.testing.assert_close(two[key], one[key], rtol=1e-3, atol=1e-4, msg=key)
    results = [
        json.loads(next((tmp_path / kind).rglob("result.json")).read_text()) for kind in ("one", "two")
    ]
    assert results[0]["id"] == results[1]["id"]


def test_a_launcher_that_starts_one_process_for_two_is_found_out(tiny: Tiny, tmp_path: Path) -> None:
    """accelerate launch --cpu --num_processes 2: its launcher leaves these variables, and no WORLD_SIZE."""
    path = config(tmp_path / "job.yaml", tiny, "cdc", 3)
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2"]
    done = launched(*launcher, "-m", "pipeline.adapt", str(path), "--runs", str(tmp_path / "runs"), code=None)
    if "torchvision" in done.stderr and "accelerate launch was" not in done.stderr:
        pytest.skip(
            "this torchvision does not import beside this torch, so neither does accelerate's command"
        )
    assert done.returncode != 0
    assert "without GPUs it starts a single one; start the same command with torchrun" in done.stderr
