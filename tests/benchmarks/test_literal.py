"""The references that benchmarks time are honest: in float64 they compute what our step computes."""

import pytest
import torch

from benchmarks.equal import LIMIT, Different, checked, float64, witnesses, worst_gap
from benchmarks.literal import consistency, filters
from benchmarks.literal.step import Work, literal_trainer, our_trainer
from benchmarks.rows import CYCLE, rows_of, take
from losses.distance import distance_consistency_plain
from losses.disturbance import disturbance_plain
from losses.self_correlation import self_correlation_plain
from models.stylegan2 import Shape
from pipeline.methods import METHODS

TINY = Shape(32, {4: 8, 8: 8, 16: 6, 32: 4}, 12, 2)


@pytest.mark.parametrize("form", ["P0", "P1"])
@pytest.mark.parametrize("profile", ["default", "released"])
@pytest.mark.parametrize("method", METHODS)
def test_every_loss_and_gradient_of_a_method_is_that_of_its_literal_form(method, profile, form):
    assert checked(Work(method, TINY, 4, profile), form) <= LIMIT


@pytest.mark.parametrize("form", ["P0", "P1"])
def test_pretraining_is_its_literal_form(form):
    assert checked(Work("stylegan2", TINY, 8), form) <= LIMIT


def test_a_difference_is_found():
    with float64():
        mine, theirs = witnesses(Work("tgan", TINY, 4), "P0")
        assert mine.trainer is not None
        assert theirs.trainer is not None
        with torch.no_grad():
            theirs.trainer.nets.modules["D"].get_parameter("convs.0.1.bias")[0] += 1e-6
        row = rows_of(mine.trainer.method)[0]
        take(mine.trainer, row)
        take(theirs.trainer, row)
        assert worst_gap(mine, theirs, "") > LIMIT
        theirs.seen.popitem()
        with pytest.raises(Different, match="only one form has a gradient"):
            worst_gap(mine, theirs, "D")


@pytest.mark.parametrize("method", ["tgan", "cdc", "rssa"])
def test_steps_of_both_forms_lead_to_the_same_networks_and_averages(method):
    work = Work(method, TINY, 4, averages=True)
    with float64():
        trainers = our_trainer(work), literal_trainer(work, "P0")
        for trainer in trainers:
            for _ in range(5):
                trainer.step()
        ours, theirs = (trainer.nets.state() for trainer in trainers)
    moved = {key for key in ours if key.split("/")[0] in ("net", "ema") and "projector" not in key}
    for key in moved:
        torch.testing.assert_close(ours[key], theirs[key], rtol=1e-6, atol=1e-8, msg=key)


def test_rows_cover_a_whole_cycle():
    for method in METHODS:
        table = Work(method, TINY, 4).table()
        expected = sum(phase.when(step) for phase in table.phases for step in range(CYCLE))
        assert sum(row.count for row in rows_of(table)) == expected


@pytest.mark.parametrize("pad", [(1, 1), (2, 2)])
def test_both_filters_blur_alike(pad):
    x, kernel = torch.randn(2, 3, 6, 6).double(), torch.outer(*[torch.tensor([1.0, 3, 3, 1])] * 2).double()
    torch.testing.assert_close(filters.blur_rows(x, kernel, pad), filters.blur_depthwise(x, kernel, pad))
    torch.testing.assert_close(filters.double_rows(x, kernel), filters.double_depthwise(x, kernel))


def test_the_literal_consistencies_are_the_plain_ones():
    after, before = [[torch.randn(4, 5, 16, 16).double() for _ in range(2)] for _ in range(2)]
    pairs = (
        (consistency.self_correlation(after, before), self_correlation_plain(after, before)),
        (consistency.disturbance(after, before, [1, 4]), disturbance_plain(after, before, [1, 4])),
        (
            consistency.distance(after, before, [0, 1, 1, 0]),
            distance_consistency_plain(after, before, torch.tensor([0, 1, 1, 0])),
        ),
    )
    for literal, plain in pairs:
        torch.testing.assert_close(literal, plain)
