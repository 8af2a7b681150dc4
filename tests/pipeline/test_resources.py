"""How a job runs: what the schema refuses, with its reason, and how files and overrides are read."""

from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from pipeline.errors import GraftError
from pipeline.resources import DEALT_OUT, Resources, applied, parted, read_resources, ready, started
from tests import miniature

ROOT = Path(__file__).parents[2]
SHIPPED = sorted(path.stem for path in (ROOT / "configs" / "resources").glob("*.yaml"))


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"engine": "deepspeed", "zero": 3}, "ZeRO 3 takes parameters apart before the second backward"),
        ({"engine": "deepspeed", "zero": 2}, "ZeRO 2 takes gradients away during the backward"),
        ({"engine": "deepspeed", "zero": 4}, "there is no ZeRO 4"),
        ({"zero": 1}, "zero: 1 is a stage of DeepSpeed"),
        ({"workers": 2, "gpus": 0.5}, "would share one, which NCCL refuses"),
        ({"gpus": 1.5}, "neither a fraction of one GPU nor a whole number"),
        ({"precision": "fp16"}, "fp32"),
        ({"wrokers": 2}, "wrokers"),
    ],
)
def test_what_was_not_shown_is_refused_with_the_reason(values: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        Resources(**values)


@pytest.mark.parametrize("name", ["cdc", "stylegan2"])
def test_a_batch_must_be_dealt_out_in_whole_groups(name: str) -> None:
    job = miniature.job_of(name, batch=8)  # the minibatch deviation has groups of 4
    assert applied(job, Resources(workers=2)) == job
    assert applied(job, Resources(accumulate=2)) == job
    with pytest.raises(GraftError, match="3 workers x 1 parts in groups of 4; use a multiple of 12"):
        applied(job, Resources(workers=3))
    with pytest.raises(GraftError, match="2 workers x 2 parts in groups of 4; use a multiple of 16"):
        applied(job, Resources(workers=2, accumulate=2))


def test_zero_1_is_for_the_methods_it_was_shown_for() -> None:
    one = Resources(engine="deepspeed", zero=1)
    for name in miniature.NETWORKS:
        job = miniature.job_of(name, batch=4)
        if name in DEALT_OUT:
            assert applied(job, one) == job
        else:
            with pytest.raises(GraftError, match=f"not for {name}: .* set resources.zero: 0"):
                applied(job, one)


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_file_is_read_by_its_name(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert read_resources(name, []) == read_resources(f"configs/resources/{name}.yaml", [])
    assert read_resources(name, ["resources.threads=3"]).computing_threads == 3


def test_a_mistyped_name_is_answered_with_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    with pytest.raises(GraftError, match="did you mean 'two_workers'"):
        read_resources("two_worker", [])
    with pytest.raises(GraftError, match="unknown key 'acumulate'; did you mean 'accumulate'"):
        read_resources(None, ["resources.acumulate=2"])


def test_overrides_of_the_job_and_of_its_resources_are_told_apart() -> None:
    assert parted(["steps=3", "resources.workers=2"]) == (["steps=3"], ["resources.workers=2"])


def test_workers_are_those_that_the_launcher_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert started(Resources()).workers == 2
    assert started(Resources(workers=2)).workers == 2
    with pytest.raises(GraftError, match=r"torchrun --standalone --nproc_per_node=4 -m pipeline.VERB"):
        started(Resources(workers=4))
    monkeypatch.delenv("WORLD_SIZE")
    assert started(Resources()).workers == 1
    with pytest.raises(GraftError, match=r"resources\.workers is 2, but this command was started as 1"):
        started(Resources(workers=2))


def test_threads_are_set_only_where_something_is_said_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    before, job = torch.get_num_threads(), miniature.job_of("cdc")
    try:
        ready(job, None, ["resources.accumulate=1"], "cpu")
        assert torch.get_num_threads() == before
        ready(job, None, [f"resources.threads={before + 1}"], "cpu")
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)
