"""The logistic losses against their formulas, position by position."""

import math

import pytest
import torch

from losses.adversarial import fake_logistic, fool_logistic, real_logistic


def mean_of(logits: torch.Tensor, formula) -> float:
    values = [formula(x) for x in logits.flatten().tolist()]
    return sum(values) / len(values)


@pytest.mark.parametrize("shape", [(4, 1), (3, 1, 5, 2)])
@pytest.mark.parametrize(
    ("loss", "sign"),
    [(real_logistic, -1), (fake_logistic, 1), (fool_logistic, -1)],
)
def test_is_the_mean_over_batch_and_positions(loss, sign, shape):
    logits = 3 * torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = mean_of(logits, lambda x: math.log1p(math.exp(sign * x)))
    assert loss(logits).item() == pytest.approx(expected, rel=1e-12)


def test_an_undecided_discriminator_pays_log_two():
    logits = torch.zeros(2, 1)
    for loss in (real_logistic, fake_logistic, fool_logistic):
        assert loss(logits).item() == pytest.approx(math.log(2))


def test_huge_logits_stay_finite():
    logits = torch.tensor([[-1e4], [1e4]])
    assert real_logistic(logits).item() == pytest.approx(5e3)
    assert fake_logistic(logits).item() == pytest.approx(5e3)
