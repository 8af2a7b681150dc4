"""The Frechet distance against closed forms of Gaussians and scipy's matrix root."""

import numpy as np
import pytest
from scipy import linalg

from pipeline.judging.frechet import Moments, frechet, moments, too_few


def definite(size: int, seed: int) -> np.ndarray:
    x = np.random.default_rng(seed).normal(size=(3 * size, size))
    return x.T @ x / len(x)


def test_gaussians_of_independent_coordinates_have_a_closed_form():
    a, b = np.array([1.0, 4.0, 0.25]), np.array([9.0, 1.0, 0.25])
    first = Moments(np.array([0.0, 1.0, 2.0]), np.diag(a))
    second = Moments(np.array([3.0, 1.0, 2.5]), np.diag(b))
    # Means 9 + 0.25; deviations (1 - 3)^2 + (2 - 1)^2 + 0.
    assert frechet(first, second) == pytest.approx(9.25 + 5)


def test_scaled_gaussians_have_a_closed_form():
    covariance = definite(6, 0)
    first, second = Moments(np.zeros(6), covariance), Moments(np.zeros(6), 4 * covariance)
    assert frechet(first, second) == pytest.approx(np.trace(covariance))


@pytest.mark.parametrize("seed", range(4))
def test_it_is_that_of_scipys_matrix_root(seed):
    first = Moments(np.random.default_rng(seed).normal(size=7), definite(7, seed))
    second = Moments(np.zeros(7), definite(7, seed + 10))
    root = linalg.sqrtm(first.covariance @ second.covariance).real
    expected = (first.mean**2).sum() + np.trace(first.covariance + second.covariance - 2 * root)
    assert frechet(first, second) == pytest.approx(expected, rel=1e-9)
    assert frechet(first, second) == pytest.approx(frechet(second, first), rel=1e-9)


def test_equal_moments_are_no_distance_apart_singular_ones_too():
    x = np.random.default_rng(0).normal(size=(4, 9))
    assert frechet(moments(x), moments(x)) == pytest.approx(0, abs=1e-6)
    flat = Moments(np.zeros(3), np.zeros((3, 3)))
    assert frechet(flat, Moments(np.ones(3), np.zeros((3, 3)))) == pytest.approx(3)


def test_moments_are_unbiased():
    found = moments(np.array([[0.0, 1.0], [2.0, 1.0], [4.0, 4.0]]))
    assert found.mean.tolist() == [2.0, 2.0]
    np.testing.assert_allclose(found.covariance, [[4.0, 3.0], [3.0, 3.0]])
    assert moments(np.array([[0.0], [2.0]])).covariance.shape == (1, 1)


def test_too_few_pictures_are_said_and_distinct_sources_count():
    assert too_few(24, 30, 12) == ""
    assert "23 distinct sources" in too_few(23, 30, 12)
    assert "24 pictures on both sides" in too_few(30, 3, 12)
