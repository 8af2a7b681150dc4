"""The benchmark of checkpoints: real ones of a real state, that a process of its own goes on from."""

import json

import pytest
import torch

from benchmarks import checkpoint
from models.files import read_tensors
from pipeline.trainer import Trainer


@pytest.fixture
def job(tmp_path):
    asked = checkpoint.asked(tmp_path, 32, widest=8, batch=2, saves=3)
    (tmp_path / "config.json").write_text(asked.model_dump_json())
    return asked


def test_the_channels_are_those_of_config_f(tmp_path):
    widths = checkpoint.asked(tmp_path, 256, widest=512, batch=1, saves=1).network["widths"]
    assert widths == {4: 512, 8: 512, 16: 512, 32: 512, 64: 512, 128: 256, 256: 128}


def test_every_save_is_timed_and_holds_all_moments(job, tmp_path):
    found = checkpoint.stalls(job, tmp_path / "run")
    assert len(found) == 3
    assert sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir()) == ["000002", "000003"]
    tensors = read_tensors(tmp_path / "run" / "checkpoints" / "000003" / "tensors.safetensors")
    run, _ = checkpoint.run_of(job, tmp_path / "run", Trainer)
    for name, module in run.trainer.nets.modules.items():
        moments = [key for key in tensors if key.startswith(f"adam/{name}/") and key.endswith("/exp_avg_sq")]
        assert len(moments) == len(list(module.parameters()))
    assert run.resume()
    assert run.trainer.step_number == 3


def test_what_goes_on_reads_the_checkpoint_and_takes_one_step(job, tmp_path):
    checkpoint.stalls(job, tmp_path / "run")
    threads = torch.get_num_threads()
    try:
        found = checkpoint.first_step(tmp_path, started=0.0)
    finally:
        torch.set_num_threads(threads)
    assert found["phases"] == ["D", "G"]
    assert {"imports", "pictures", "networks", "checkpoint", "to_first_step", "first_step"} <= found.keys()


def test_without_a_checkpoint_it_says_so(job, tmp_path):
    (tmp_path / "run").mkdir()
    with pytest.raises(SystemExit, match="no whole checkpoint"):
        checkpoint.first_step(tmp_path, started=0.0)


@pytest.mark.slow
def test_it_starts_a_process_and_says_what_it_found(capsys, monkeypatch):
    monkeypatch.setattr(
        checkpoint, "kept", lambda last: {"stall", "resume", "resume_with_the_step"} <= set(last)
    )
    words = ["--size", "32", "--widest", "8", "--saves", "2", "--starts", "1"]
    assert checkpoint.main(words) == 0
    stall, start, medians = map(json.loads, capsys.readouterr().out.splitlines())
    assert len(stall["seconds"]) == len(stall["cpu"]) == 2
    assert start["phases"] == ["D", "G"]
    assert medians["resume"] == start["to_first_step"]


def test_a_promise_that_is_missed_is_noticed():
    assert checkpoint.kept({"stall": 1.9, "resume": 14.9})
    assert not checkpoint.kept({"stall": 2.1, "resume": 14.9})
    assert not checkpoint.kept({"stall": 1.9, "resume": 15.1})
