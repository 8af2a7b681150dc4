"""bf16: every method runs in it, stays finite and near fp32, and what is kept stays float32."""

import math

import pytest
import torch

from pipeline.errors import GraftError
from pipeline.precision import computing, look_at_precision, widened
from pipeline.resources import Resources, applied
from tests import miniature
from tests.two_processes import SETTINGS

PENALTIES = ("/r1", "/path")


@pytest.mark.parametrize("name", SETTINGS)
def test_two_steps_in_bf16_are_finite_and_near_those_in_fp32(name: str) -> None:
    full, half = (miniature.trainer(name, batch=4, settings=SETTINGS[name]) for _ in range(2))
    half.precision = "bf16"
    for run in (full, half):
        run.step()
        run.step()
    first, second = full.readings(), half.readings()
    assert first.keys() == second.keys()
    for term in first:
        assert math.isfinite(second[term])
        assert second[term] == pytest.approx(first[term], rel=0.1, abs=0.05), term
    assert any(second[term] != first[term] for term in first)
    state = half.nets.state()
    assert not half.refused
    assert {value.dtype for value in state.values()} <= {torch.float32, torch.int64}
    assert all(bool(value.isfinite().all()) for value in state.values())


def test_what_differentiates_twice_is_computed_in_full() -> None:
    """On the first step R1 sees the same discriminator but for one Adam step, and is float32 to the last bit of it."""
    run = miniature.trainer("stylegan2", batch=4, settings=SETTINGS["stylegan2"])
    run.precision = "bf16"
    phase = {phase.name: phase for phase in run.method.phases}["R1"]
    run.nets.only(phase.trains)
    with computing("bf16", miniature.CPU):
        inside = phase.forward(run.nets, run.draws.at(0, "R1"))["slope"]
    outside = phase.forward(run.nets, run.draws.at(0, "R1"))["slope"]
    assert inside.dtype == torch.float32
    assert torch.equal(inside, outside)


def test_a_weight_that_was_used_without_gradient_still_gets_one() -> None:
    weight = torch.ones(2, 2, requires_grad=True)
    with computing("bf16", miniature.CPU):
        with torch.no_grad():
            torch.ones(2, 2) @ weight
        out = torch.ones(2, 2) @ weight
    assert out.dtype == torch.bfloat16
    assert out.requires_grad


def test_losses_read_at_least_float32() -> None:
    half, double = torch.ones(2, dtype=torch.bfloat16), torch.ones(2, dtype=torch.float64)
    assert widened(half).dtype == torch.float32
    assert widened(double) is double
    assert [each.dtype for each in widened([half, half])] == [torch.float32] * 2


def test_bf16_is_in_the_id_and_fp32_is_not() -> None:
    for name in ("cdc", "stargan2"):
        job = miniature.job_of(name, batch=8)
        assert applied(job, Resources(precision="fp32")).id == job.id
        assert applied(job, Resources(workers=2, accumulate=1)).id == job.id
        changed = applied(job, Resources(precision="bf16"))
        assert changed.id != job.id
        assert applied(changed, Resources()).id == changed.id
        assert type(job).model_validate(changed.model_dump()).id == changed.id


def test_ids_are_those_from_before_there_was_a_precision() -> None:
    values = miniature.job_of("cdc").model_dump(mode="json", exclude={"every", "variant", "precision"})
    from pipeline.job import digest_of

    assert miniature.job_of("cdc").digest == digest_of(values)


def test_bf16_is_refused_where_it_would_crawl() -> None:
    with pytest.raises(GraftError, match="30 to 80 times slower"):
        look_at_precision("bf16", miniature.CPU, able=False)
    look_at_precision("bf16", miniature.CPU, able=True)
    look_at_precision("fp32", miniature.CPU, able=False)
    look_at_precision("bf16", torch.device("cuda"), able=False)


def test_bf16_under_deepspeed_is_refused() -> None:
    with pytest.raises(GraftError, match="bf16 was shown to be right with Accelerate alone"):
        applied(miniature.job_of("cdc"), Resources(engine="deepspeed", precision="bf16"))
