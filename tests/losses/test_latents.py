"""Draws near and apart from a latent against scipy's normal and the release's rejection."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import ks_2samp, kstest, norm

from losses.latents import apart, near

COUNT = 4000


def uniform(*shape: int, seed: int = 0, dtype=torch.float64) -> torch.Tensor:
    return torch.rand(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def cut_normal(x: np.ndarray, z: float, radius: float) -> np.ndarray:
    """Distribution function of a normal that stays at least radius from z."""
    below, above = norm.cdf(z - radius), norm.sf(z + radius)
    passed = above - norm.sf(np.maximum(x, z + radius))
    return (norm.cdf(np.minimum(x, z - radius)) + passed) / (below + above)


def rejected(z: torch.Tensor, radius: float, count: int, generator: torch.Generator) -> torch.Tensor:
    """The release: a whole batch of normals, again until its nearest entry is far enough."""
    found = []
    while len(found) < count:
        drawn = torch.randn(z.shape, dtype=z.dtype, generator=generator)
        if (drawn - z).abs().min() >= radius:
            found.append(drawn)
    return torch.stack(found)


@pytest.mark.parametrize("radius", [0.0, 0.01, 0.5, 2.0, 6.0])
def test_each_coordinate_has_the_normal_with_the_interval_cut_out(radius):
    z = torch.tensor([[0.0, -1.3, 3.0]], dtype=torch.float64)
    drawn = apart(z, uniform(COUNT, 1, 3), radius)
    for column, query in enumerate(z[0].tolist()):
        found = kstest(drawn[:, 0, column].numpy(), lambda x, q=query: cut_normal(x, q, radius))
        assert found.pvalue > 1e-3, (radius, query)


def test_the_distribution_is_that_of_the_release():
    z, radius = torch.tensor([[0.2, -0.9], [1.4, 0.1]], dtype=torch.float64), 0.3
    ours = apart(z, uniform(COUNT, 2, 2), radius)
    theirs = rejected(z, radius, COUNT, torch.Generator().manual_seed(1))
    for row in range(2):
        for column in range(2):
            assert ks_2samp(ours[:, row, column], theirs[:, row, column]).pvalue > 1e-3
    # No coordinate knows of another, in either.
    for drawn in (ours, theirs):
        correlations = np.corrcoef(drawn.flatten(1).T.numpy()) - np.eye(4)
        assert np.abs(correlations).max() < 4.5 / math.sqrt(COUNT)


def test_draws_are_scipys_quantiles():
    z, radius = 0.7, 0.4
    levels = [1e-9, 0.05, 0.3, 0.6, 0.9, 1 - 1e-9]
    below, above = norm.cdf(z - radius), norm.sf(z + radius)
    expected = []
    for level in levels:
        mass = level * (below + above)
        expected.append(norm.ppf(mass) if mass < below else norm.isf((1 - level) * (below + above)))
    drawn = apart(
        torch.full((1, 6), z, dtype=torch.float64), torch.tensor([levels], dtype=torch.float64), radius
    )
    assert drawn[0].tolist() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("radius", [0.001, 0.1, 1.0, 5.0, 40.0, 1e4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_draw_is_finite_and_at_least_the_radius_away(radius, dtype):
    z = torch.tensor([[-6.0, -3.0, 0.0, 0.5, 6.0]], dtype=dtype)
    ends = torch.tensor([0.0, 1e-7, 0.25, 0.5, 0.75, 1 - 1e-7, 1.0], dtype=dtype)
    drawn = apart(z, ends[:, None, None].expand(7, 1, 5), radius)
    assert drawn.shape == (7, 1, 5)
    assert drawn.dtype == dtype
    assert drawn.isfinite().all()
    assert ((drawn - z).abs() >= radius * (1 - 1e-6) - torch.finfo(dtype).eps * 8).all()
    assert (drawn.diff(dim=0) >= 0).all()


def test_both_far_tails_are_drawn_and_decay_as_a_normal_does():
    # Beyond 40 the normal is exp(-40 x) to 1 part in 1600: a mean excess of 1 / 40.
    drawn = apart(torch.zeros(1, 1).double(), uniform(COUNT, 1, 1), 40.0).flatten()
    assert (drawn > 0).double().mean().item() == pytest.approx(0.5, abs=0.03)
    excess = drawn.abs() - 40
    assert kstest(excess.numpy(), lambda x: 1 - np.exp(norm.logsf(40 + x) - norm.logsf(40))).pvalue > 1e-3


def test_with_no_radius_a_draw_forgets_its_query():
    levels = uniform(20, 1, 3)
    first, second = (apart(normal(1, 3, seed=s), levels, 0.0) for s in (1, 2))
    torch.testing.assert_close(first, torch.from_numpy(norm.ppf(levels.numpy())), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(first, second, rtol=1e-9, atol=1e-9)


def test_a_near_latent_is_uniform_in_a_cube():
    z, radius = normal(1, 2), 0.25
    drawn = near(z, uniform(COUNT, 1, 2), radius)
    for column in range(2):
        start = z[0, column].item() - radius
        assert kstest(drawn[:, 0, column].numpy(), "uniform", args=(start, 2 * radius)).pvalue > 1e-3
    assert np.abs(np.corrcoef(drawn[:, 0].T.numpy())[0, 1]) < 4.5 / math.sqrt(COUNT)


def test_a_near_latent_by_hand():
    z = torch.tensor([[1.0, 2.0, 3.0]])
    assert near(z, torch.tensor([[0.0, 0.5, 1.0]]), 0.5).tolist() == [[0.5, 2.0, 3.5]]
    assert near(z, uniform(1, 3, dtype=torch.float32), 0.0).equal(z)


@pytest.mark.parametrize("draw", [near, apart])
def test_no_draw_carries_a_gradient(draw):
    assert not draw(normal(2, 3).requires_grad_(), uniform(5, 2, 3), 0.1).requires_grad


@pytest.mark.parametrize("draw", [near, apart])
@pytest.mark.parametrize("radius", [-0.1, math.nan, math.inf])
def test_a_radius_that_is_none_is_refused(draw, radius):
    with pytest.raises(ValueError, match="must be a number from 0 up"):
        draw(normal(2, 3), uniform(2, 3), radius)
