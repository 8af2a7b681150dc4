import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from cluster.engine import PlainEngine, open_engine, pick_device
from cluster.errors import MachineError
from tests.cluster.two_ranks import batch, relational_loss


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What two real gloo processes answered."""
    folder = tmp_path_factory.mktemp("ranks")
    root = Path(__file__).parents[2]
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(root)}
    done = subprocess.run(
        [*launch, str(root / "tests/cluster/two_ranks.py"), str(folder)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]


def one_process_gradient() -> torch.Tensor:
    x, weight = batch()
    weight.requires_grad_()
    return torch.autograd.grad(relational_loss(x @ weight), weight)[0]


def test_torchrun_opens_a_group_of_two(ranks: list[dict[str, Any]]) -> None:
    assert [(answer["world"], answer["device"]) for answer in ranks] == [(2, "cpu"), (2, "cpu")]


def test_sync_puts_the_mean_over_ranks_into_every_gradient_whatever_its_dtype(ranks: list[Any]) -> None:
    for answer in ranks:
        assert answer["finite"] is True
        assert answer["means"] == [[[0.5] * 3] * 2, [0.5, 1.5, 2.5, 3.5], [1.5] * 5]


def test_one_rank_with_a_nan_or_inf_is_seen_by_all(ranks: list[Any]) -> None:
    nan_on_0, inf_on_1, huge_but_finite, finite = range(4)
    for answer in ranks:
        flags = answer["flags"]
        assert (flags[nan_on_0], flags[inf_on_1]) == (False, False)
        assert (flags[huge_but_finite], flags[finite]) == (True, True)


def test_gather_restores_the_global_order(ranks: list[Any]) -> None:
    x, weight = batch()
    for answer in ranks:
        torch.testing.assert_close(
            torch.tensor(answer["rows"], dtype=x.dtype), x @ weight, rtol=0, atol=1e-14
        )


def test_a_relational_loss_over_gathered_rows_has_the_gradient_of_one_process(ranks: list[Any]) -> None:
    for answer in ranks:
        gradient = torch.tensor(answer["gradient"], dtype=torch.float64)
        torch.testing.assert_close(gradient, one_process_gradient(), rtol=0, atol=1e-14)


def test_a_gradient_penalty_over_two_ranks_has_the_gradient_of_one_process(ranks: list[Any]) -> None:
    x, weight = batch()
    x.requires_grad_()
    weight.requires_grad_()
    slope = torch.autograd.grad((x @ weight).tanh().sum(), x, create_graph=True)[0]
    expected = torch.autograd.grad(slope.square().sum(1).mean(), weight)[0]
    for answer in ranks:
        gradient = torch.tensor(answer["penalty"], dtype=torch.float64)
        torch.testing.assert_close(gradient, expected, rtol=0, atol=1e-14)


def test_ranks_with_different_numbers_of_gradients_are_told(ranks: list[Any]) -> None:
    assert [answer["disagreement"].split(",")[0] for answer in ranks] == [
        "rank 0 has 2 gradients",
        "rank 1 has 1 gradients",
    ]


def test_a_second_derivative_through_gather_is_refused_rather_than_wrong(ranks: list[Any]) -> None:
    for answer in ranks:
        assert "once_differentiable" in answer["second"]


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are read from /proc")
def test_a_closed_group_leaves_no_threads_to_meet_the_end_of_python(ranks: list[Any]) -> None:
    for rank in ranks:
        assert rank["moved"] == pytest.approx([0.5, 0.5], abs=1e-6)
        assert any("gloo" in name for name in rank["open"])
        assert [name for name in rank["closed"] if "gloo" in name] == []


def test_one_process_needs_no_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    engine = open_engine("cpu")
    assert isinstance(engine, PlainEngine)
    assert (engine.world, engine.rank, engine.device) == (1, 0, torch.device("cpu"))
    rows = torch.arange(4.0, requires_grad=True)
    assert engine.gather(rows) is rows
    engine.backward(rows.square().sum())
    assert rows.grad is not None
    assert engine.sync([rows.grad])
    assert rows.grad.tolist() == [0.0, 2.0, 4.0, 6.0]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_one_process_sees_what_is_not_finite(value: float) -> None:
    engine = PlainEngine("cpu")
    assert not engine.sync([torch.zeros(3), torch.tensor([[0.0, value]], dtype=torch.float64)])
    assert engine.sync([])


def test_auto_takes_a_gpu_only_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for there, device in ((True, "cuda"), (False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        assert pick_device("auto").type == device


def test_a_missing_or_unknown_device_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(MachineError, match="no GPU here"):
        pick_device("cuda:1")
    with pytest.raises(MachineError, match="'toaster' is not known"):
        pick_device("toaster")
