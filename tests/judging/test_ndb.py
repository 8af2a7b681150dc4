"""NDB and JSD against bins counted by hand, scipy's tests and scipy's K-means."""

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.cluster.vq import kmeans2
from scipy.spatial.distance import cdist, jensenshannon

from pipeline.judging.ndb import Bins, binned, bins_for, different, divergence, fit_bins, flattened, protocol
from pipeline.judging.settings import Binning

SETTINGS = Binning(bins=3)


def blobs(sizes: tuple[int, ...], size: int = 5, seed: int = 0, spread: float = 0.02) -> np.ndarray:
    """Rows about far apart corners, so many about each."""
    rng = np.random.default_rng(seed)
    corners = np.eye(len(sizes), size)
    rows = np.concatenate([corners[[at] * count] for at, count in enumerate(sizes)])
    return (rows + rng.normal(scale=spread, size=rows.shape)).astype(np.float32)


def test_bins_are_the_blobs_and_the_fullest_comes_first():
    bins = fit_bins(blobs((6, 20, 10)), SETTINGS)
    assert bins.counts.tolist() == [20, 10, 6]
    np.testing.assert_allclose(bins.centres, np.eye(3, 5)[[1, 2, 0]], atol=0.05)
    assert bins.count(blobs((1, 2, 3), seed=1)).tolist() == [2, 3, 1]


def test_every_bin_tests_two_proportions_as_scipys_contingency_table_does():
    first, second = np.array([50, 30, 15, 5]), np.array([25, 40, 10, 5])
    expected = []
    for a, b in zip(first, second, strict=True):
        table = [[a, 100 - a], [b, 80 - b]]
        expected.append(stats.chi2_contingency(table, correction=False).pvalue < 0.05)
    assert different(first, second, 0.05).tolist() == expected == [True, True, False, False]


def test_a_bin_is_worked_by_hand():
    """Shares 0.5 and 0.3 of 100 each: pooled 0.4, error sqrt(0.24 / 50) = 0.0693, z 2.887, p 0.0039."""
    first, second = np.array([50, 50]), np.array([30, 70])
    assert different(first, second, 0.0040).all()
    assert not different(first, second, 0.0038).any()


def test_a_bin_that_is_empty_or_holds_all_on_both_sides_is_not_different():
    assert different(np.array([10, 10, 0]), np.array([10, 10, 0]), 0.05).tolist() == [False] * 3
    assert different(np.array([20, 0]), np.array([7, 0]), 0.05).tolist() == [False, False]
    assert different(np.array([20, 0]), np.array([0, 20]), 0.05).tolist() == [True, True]


def test_the_divergence_is_scipys_squared_distance_and_empty_bins_add_nothing():
    first, second = np.array([5, 0, 3, 2]), np.array([1, 4, 0, 15])
    assert divergence(first, second) == pytest.approx(jensenshannon(first / 10, second / 20) ** 2)
    assert divergence(np.array([4, 0]), np.array([9, 0])) == 0
    assert divergence(np.array([4, 0]), np.array([0, 9])) == pytest.approx(np.log(2))


def test_kmeans_ends_where_scipys_ends_that_starts_from_its_centres():
    flat = np.random.default_rng(3).normal(size=(60, 4)).astype(np.float32)
    bins = fit_bins(flat, SETTINGS)
    centres, labels = kmeans2(flat.astype(np.float64), bins.centres, iter=20, minit="matrix")
    np.testing.assert_allclose(centres, bins.centres, atol=1e-6)
    assert np.bincount(labels).tolist() == bins.counts.tolist()


def test_large_pictures_are_binned_by_a_sixth_of_their_pixels():
    flat = blobs((9, 4, 5), size=1206)
    bins = fit_bins(flat, SETTINGS)
    assert (len(bins.dimensions), bins.centres.shape) == (201, (3, 1206))
    nearest = cdist(flat[:, bins.dimensions], bins.centres[:, bins.dimensions]).argmin(1)
    assert bins.count(flat).tolist() == np.bincount(nearest, minlength=3).tolist()
    other = fit_bins(flat, SETTINGS.model_copy(update={"seed": 1})).dimensions
    assert not np.array_equal(bins.dimensions, other)
    assert len(fit_bins(blobs((9, 4, 5), size=1000), SETTINGS).dimensions) == 1000


def test_whitening_undoes_the_scale_of_a_pixel():
    flat = blobs((6, 20, 10))
    whiten = SETTINGS.model_copy(update={"whiten": True})
    stretched = flat * np.array([1, 1, 1, 1, 1000], dtype=np.float32)
    assert fit_bins(stretched, SETTINGS).counts.tolist() != [20, 10, 6]
    one, other = fit_bins(flat, whiten), fit_bins(stretched, whiten)
    assert one.counts.tolist() == other.counts.tolist()
    assert other.count(stretched).tolist() == one.count(flat).tolist()
    np.testing.assert_allclose(one.whitening[1], flat.std(0) + 1e-6)


def test_the_same_seed_gives_the_same_bins_and_counts_add_up_over_batches():
    flat = np.random.default_rng(3).normal(size=(60, 4)).astype(np.float32)
    one, other = fit_bins(flat, SETTINGS), fit_bins(flat, SETTINGS)
    assert one.sha256 == other.sha256
    assert (one.count(flat[:25]) + one.count(flat[25:])).tolist() == one.count(flat).tolist()


def test_the_number_of_bins_is_a_twentieth_of_the_training_pictures():
    rule = Binning()
    assert [bins_for(count, rule) for count in (5, 40, 700, 5000)] == [1, 2, 35, 250]
    assert bins_for(7, Binning(bins=50)) == 7


def test_duplicates_leave_fewer_bins_and_one_bin_is_no_measure():
    same = np.ones((30, 4), dtype=np.float32)
    assert fit_bins(same, SETTINGS).counts.tolist() == [30]
    measured = binned(fit_bins(same, SETTINGS), np.array([9]), 9, "z", SETTINGS)
    assert measured["ndb"].value is None
    assert "1 bin" in measured["jsd"].reason
    two = np.concatenate([same, same * 2])
    assert fit_bins(two, SETTINGS).counts.tolist() == [30, 30]


def test_what_is_measured_says_what_it_depends_on():
    bins = Bins(np.eye(2), np.arange(2), np.array([30, 10]), None, 4)
    measured = binned(bins, np.array([10, 30]), 8, "z", SETTINGS)
    assert (measured["ndb"].value, measured["ndb"].detail["share"]) == (2, 1)
    assert measured["jsd"].value == pytest.approx(jensenshannon([0.75, 0.25], [0.25, 0.75]) ** 2)
    assert {"bins", "training", "dimensions", "of", "iterations", "centres"} <= set(measured["jsd"].detail)
    needed = {"bins", "dimensions", "whitening", "kmeans", "seed", "test", "significance", "logarithm"}
    assert needed <= set(protocol(SETTINGS))


def test_pictures_become_rows_of_pixels_from_0_to_1():
    drawn = torch.tensor([-1.0, 0, 1]).view(1, 3, 1, 1).expand(2, 3, 2, 2)
    assert flattened(drawn).shape == (2, 12)
    assert flattened(drawn)[0, ::4].tolist() == [0, 0.5, 1]
