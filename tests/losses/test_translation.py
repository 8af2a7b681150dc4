"""Translation losses against loops over Python numbers and torch's own cross-entropies and divergence."""

import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence
from torch.nn.functional import binary_cross_entropy, binary_cross_entropy_with_logits

from losses import translation
from losses.translation import (
    fake_logistic_scales,
    fake_square,
    fool_logistic_scales,
    fool_square,
    kl_to_normal,
    mean_absolute,
    mean_square,
    real_logistic_scales,
    real_square,
    undecided,
)

SQUARES = {"real": 1.0, "fake": 0.0, "fool": 1.0}


def seeded(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def scales() -> list[torch.Tensor]:
    """Maps of different sides: a mean over all logits would not be the sum of means."""
    return [seeded(2, 1, 6, 6), seeded(2, 1, 3, 3, seed=1), seeded(2, 1, 1, 1, seed=2)]


def test_mean_absolute_runs_over_everything():
    a, b = seeded(2, 3, 4, 4), seeded(2, 3, 4, 4, seed=1)
    pairs = list(zip(a.flatten().tolist(), b.flatten().tolist(), strict=True))
    expected = sum(abs(p - q) for p, q in pairs) / len(pairs)
    assert mean_absolute(a, b).item() == pytest.approx(expected, rel=1e-12)
    assert torch.autograd.gradcheck(mean_absolute, (a.requires_grad_(), b.requires_grad_()))


def test_mean_square_runs_over_everything():
    values = seeded(2, 3, 4)
    expected = sum(v * v for v in values.flatten().tolist()) / 24
    assert mean_square(values).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("side", SQUARES)
def test_squares_are_means_within_a_scale_and_sums_over_scales(side):
    loss, maps = getattr(translation, f"{side}_square"), scales()
    expected = 0.0
    for logits in maps:
        values = logits.flatten().tolist()
        expected += sum((v - SQUARES[side]) ** 2 for v in values) / len(values)
    assert loss(maps).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("side", SQUARES)
def test_logistic_scales_are_cross_entropies_after_a_sigmoid(side):
    loss, maps = getattr(translation, f"{side}_logistic_scales"), scales()
    expected = 0.0
    for logits in maps:
        chances = logits.sigmoid()
        expected += binary_cross_entropy(chances, torch.full_like(chances, SQUARES[side])).item()
    assert loss(maps).item() == pytest.approx(expected, rel=1e-10)


LOSSES = [
    real_square,
    fake_square,
    fool_square,
    real_logistic_scales,
    fake_logistic_scales,
    fool_logistic_scales,
]


@pytest.mark.parametrize("loss", LOSSES)
def test_the_gradient_reaches_every_scale_and_is_that_of_finite_differences(loss):
    maps = [x.requires_grad_() for x in scales()]
    assert torch.autograd.gradcheck(lambda *each: loss(each), maps)
    slopes = torch.autograd.grad(loss(maps), maps)
    assert all((slope.abs() > 0).all() for slope in slopes)


@pytest.mark.parametrize("loss", LOSSES)
def test_no_scale_is_no_judgement(loss):
    with pytest.raises(ValueError, match="at least one map"):
        loss([])


def test_confident_logits_do_not_overflow():
    logits = torch.tensor([[-1e4, 1e4]], requires_grad=True)
    for loss in (real_logistic_scales, fake_logistic_scales):
        assert loss([logits]).item() == pytest.approx(5000)
    value = undecided(logits)
    value.backward()
    assert value.item() == pytest.approx(5000)
    assert logits.grad.tolist() == [[-0.25, 0.25]]


def test_undecided_is_the_cross_entropy_to_one_half():
    logits = seeded(3, 1, 2, 2)
    expected = binary_cross_entropy_with_logits(logits, torch.full_like(logits, 0.5))
    assert undecided(logits).item() == pytest.approx(expected.item(), rel=1e-12)
    assert undecided(torch.zeros(2, 1)).item() == pytest.approx(math.log(2))
    assert torch.autograd.gradcheck(undecided, (logits.requires_grad_(),))


def test_kl_to_normal_is_the_divergence_summed_over_batch_and_dimensions():
    mean, log_variance = seeded(3, 8), seeded(3, 8, seed=1)
    coded = Normal(mean, (0.5 * log_variance).exp())
    expected = kl_divergence(coded, Normal(torch.zeros(8).double(), torch.ones(8).double())).sum()
    assert kl_to_normal(mean, log_variance).item() == pytest.approx(expected.item(), rel=1e-12)
    assert torch.autograd.gradcheck(kl_to_normal, (mean.requires_grad_(), log_variance.requires_grad_()))


def test_kl_to_normal_by_hand():
    assert kl_to_normal(torch.zeros(2, 3), torch.zeros(2, 3)).item() == 0
    # Two dimensions with mean 1 and unit variance: 1/2 each.
    assert kl_to_normal(torch.ones(1, 2), torch.zeros(1, 2)).item() == pytest.approx(1.0)
