"""Intervals that hold what they promise, and decisions worked by hand."""

import numpy as np
import pytest
from scipy import stats

from pipeline.judging.statistics import (
    bootstrap_interval,
    counts,
    holm,
    paired_difference,
    pareto,
    seeds_interval,
    share_interval,
)


def test_a_resample_draws_as_many_as_there_are():
    drawn = counts(7, 50, 0)
    assert drawn.shape == (50, 7)
    assert (drawn.sum(1) == 7).all()


def test_bootstrap_intervals_hold_the_mean_about_as_often_as_they_say():
    rng = np.random.default_rng(0)
    held = 0
    for trial in range(200):
        low, high = bootstrap_interval(rng.exponential(1, 80), 400, trial, 0.9)
        held += low <= 1 <= high
    assert 165 <= held <= 195


def test_bootstrap_is_the_same_for_the_same_seed():
    values = np.arange(20.0)
    assert bootstrap_interval(values, 200, 1) == bootstrap_interval(values, 200, 1)
    assert bootstrap_interval(values, 200, 1) != bootstrap_interval(values, 200, 2)


def test_wilsons_interval_is_scipys():
    expected = stats.binomtest(3, 40).proportion_ci(0.95, method="wilson")
    assert share_interval(3 / 40, 40) == pytest.approx((expected.low, expected.high))


def test_an_interval_over_seeds_is_students_and_needs_three():
    low, high = seeds_interval([1.0, 2.0, 3.0])
    assert high - 2 == pytest.approx(4.302653 / np.sqrt(3), rel=1e-5)
    assert low + high == pytest.approx(4)
    with pytest.raises(ValueError, match="at least 3"):
        seeds_interval([1.0, 2.0])


def test_holm_is_worked_by_hand():
    # Sorted 0.01 0.02 0.03 0.04: times 4, 3, 2, 1, never falling.
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.9, 0.5]) == [1.0, 1.0]
    assert holm([]) == []


def runs(seeds: int, shift: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two methods' values [seeds, 200]: z and runs vary, shared z-effects, a planted shift."""
    rng = np.random.default_rng(seed)
    of_z = rng.normal(0, 1, 200)
    first = of_z + rng.normal(0, 0.05, (seeds, 1)) + rng.normal(0, 0.3, (seeds, 200))
    second = of_z + shift + rng.normal(0, 0.05, (seeds, 1)) + rng.normal(0, 0.3, (seeds, 200))
    return first, second


@pytest.mark.parametrize("seeds", [1, 3, 5])
def test_a_planted_difference_is_found(seeds):
    found = paired_difference(*runs(seeds, 0.5, 1), 1000, 0)
    assert found.p < 0.05
    assert found.difference > 0
    # One run has its own offset, which an interval over z alone does not speak of.
    assert seeds == 1 or found.low < 0.5 < found.high
    assert (found.seeds, found.n) == (seeds, 200)


def test_without_a_difference_few_are_found():
    """5 % by design; z is shared, so pairing must not be lost either."""
    p = [paired_difference(*runs(3, 0.0, seed), 300, seed).p for seed in range(100)]
    assert sum(value < 0.05 for value in p) <= 12


def test_runs_that_disagree_widen_the_interval():
    rng = np.random.default_rng(0)
    gap = rng.normal(0, 0.1, (3, 200))
    agree = paired_difference(np.zeros((3, 200)), gap + 0.3, 1000, 0)
    disagree = paired_difference(np.zeros((3, 200)), gap + np.array([[0.0], [0.3], [0.6]]), 1000, 0)
    assert agree.p < 0.01
    assert disagree.p > 0.05
    assert disagree.high - disagree.low > 5 * (agree.high - agree.low)


def test_with_fewer_than_three_runs_the_interval_is_over_z_alone_and_says_so():
    assert paired_difference(*runs(2, 0.5, 0), 200, 0).over == "z"
    assert paired_difference(*runs(3, 0.5, 0), 200, 0).over == "seeds and z"


def test_the_seed_part_of_the_error_is_not_too_small():
    """With z of no influence, the error is the runs' own standard error."""
    gap = np.array([[0.0], [0.3], [0.9]]) * np.ones((3, 50))
    found = paired_difference(np.zeros((3, 50)), gap, 4000, 0)
    error = np.array([0.0, 0.3, 0.9]).std(ddof=1) / np.sqrt(3)
    assert (found.high - found.difference) / stats.t.ppf(0.975, 2) == pytest.approx(error, rel=0.05)


def test_equal_methods_are_never_separable():
    values = np.random.default_rng(0).normal(0, 1, (3, 20))
    assert paired_difference(values, values, 200, 0).p == 1


def test_the_pareto_front_is_what_nothing_beats():
    assert pareto([(1, 5), (2, 2), (3, 3), (5, 1), (2, 2)]) == [True, True, False, True, True]
