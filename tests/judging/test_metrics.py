"""The metrics against loops, brute force and numbers worked by hand."""

import itertools

import numpy as np
import pytest
import torch

from pipeline.judging.intra import Clusters, evenness, intra_score
from pipeline.judging.kid import by_subsets, interval_over_z, kernels, kid_score, per_z, whole
from pipeline.judging.memorised import memorised_score, ratios, to_pictures
from pipeline.judging.perceptual import distances, pairs
from pipeline.judging.settings import Judging
from pipeline.judging.structure import consistency, structure_score

SETTINGS = Judging(n=12, resamples=200)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def kid_by_loops(x, y) -> float:
    """Gretton et al. 2012, equation 3, pair by pair."""

    def k(a, b):
        return (sum(float(p) * float(q) for p, q in zip(a, b, strict=True)) / len(a) + 1) ** 3

    n, m = len(x), len(y)
    xx = sum(k(x[i], x[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    yy = sum(k(y[i], y[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    return xx + yy - 2 * sum(k(a, b) for a in x for b in y) / (n * m)


def test_kid_is_the_unbiased_kernel_distance():
    x, y = normal(9, 5).double().numpy(), normal(7, 5, seed=1).double().numpy() + 0.5
    assert whole(kernels(x, y)) == pytest.approx(kid_by_loops(x, y), rel=1e-12)


def test_kids_per_z_values_are_the_jackknifes_and_average_to_it():
    x, y = normal(9, 5).double().numpy(), normal(7, 5, seed=1).double().numpy() + 0.5
    each = per_z(kernels(x, y))
    without = [kid_by_loops(np.delete(x, i, 0), y) for i in range(9)]
    np.testing.assert_allclose(each, [9 * kid_by_loops(x, y) - 8 * u for u in without], rtol=1e-10)
    assert each.mean() == pytest.approx(kid_by_loops(x, y))


def test_kid_subsets_are_as_large_as_the_smaller_set_and_near_the_whole():
    x, y = normal(60, 8).numpy(), normal(40, 8, seed=1).numpy() + 0.3
    score, _ = kid_score(x, y, "an eye", Judging(n=60, kid_subsets=50))
    assert score.protocol["subset_size"] == 40
    assert score.protocol["subsets"] == 50
    assert score.value == pytest.approx(score.detail["whole"], abs=0.1)
    assert score.low < score.detail["whole"] < score.high


def test_a_subset_that_is_everything_is_drawn_once():
    k = kernels(normal(10, 4).numpy(), normal(10, 4, seed=1).numpy())
    assert by_subsets(k, 10, 100, 0).tolist() == [whole(k)]


def test_kids_interval_holds_the_distance_of_the_distributions():
    """Same normal, so the truth is 0: of 60 nominal 90 % intervals over z and y, most hold it."""
    settings = Judging(n=80, resamples=200, level=0.9)
    held = 0
    for seed in range(60):
        y = normal(2000, 3, seed=1000 + seed).double().numpy()
        low, high = interval_over_z(kernels(normal(80, 3, seed=seed).double().numpy(), y), settings)
        held += low <= 0 <= high
    assert held >= 45


def test_structure_is_worked_by_hand():
    source = torch.tensor([[[1.0, 0.0], [0.5, 0.0]]])[None]
    adapted = torch.tensor([[[0.5, 0.0], [0.5, 1.0]]])[None]
    # sum(s t) = 0.5 + 0.25; sum(s^2) = 1.25; sum(t^2) = 1.5
    assert consistency(adapted, source).item() == pytest.approx(2 * 0.75 / 2.75)


def test_structure_of_equal_maps_is_one_of_disjoint_ones_zero_and_of_nothing_one():
    one = torch.rand(1, 1, 4, 4)
    left = torch.zeros(1, 1, 4, 4)
    left[..., :2] = 1
    maps = torch.cat([one, left, 0 * one])
    others = torch.cat([one, left.flip(3), 0 * one])
    assert consistency(maps, others).tolist() == pytest.approx([1.0, 0.0, 1.0])


def test_structure_score_is_the_mean_over_z():
    score = structure_score(torch.tensor([0.2, 0.4, 0.9]), "sobel", SETTINGS)
    assert score.value == pytest.approx(0.5)
    assert (score.name, score.network, score.n, score.better) == ("structure", "sobel", 3, "higher")
    assert score.low < 0.5 < score.high


def taps_of(pictures: torch.Tensor) -> list[torch.Tensor]:
    """Two maps of different size; no need for unit length here."""
    return [pictures, pictures[..., ::2, ::2] * 2]


def distance_by_loops(a: torch.Tensor, b: torch.Tensor) -> float:
    total = 0.0
    for one, other in zip(taps_of(a[None]), taps_of(b[None]), strict=True):
        square = (one.double() - other.double()).square().sum(1)
        total += float(square.mean())
    return total


def test_perceptual_distances_sum_spatial_means_over_taps():
    x, y = normal(3, 2, 4, 4), normal(4, 2, 4, 4, seed=1)
    found = distances(taps_of(x), taps_of(y))
    expected = [[distance_by_loops(a, b) for b in y] for a in x]
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5)
    assert distances(taps_of(x), taps_of(x)).diagonal().tolist() == [0, 0, 0]


def test_pairs_are_every_pair_once():
    square = torch.arange(9.0).view(3, 3)
    assert pairs(square).tolist() == [1, 2, 5]


def filled(pictures: torch.Tensor, nearest: list[int], most: int, batch: int, count: int = 3) -> Clusters:
    order = torch.randperm(len(pictures), generator=torch.Generator().manual_seed(3))
    clusters = Clusters(count, most, order)
    for first in range(0, len(pictures), batch):
        part = slice(first, first + batch)
        clusters.add(first, torch.tensor(nearest[part]), taps_of(pictures[part]))
    return clusters


def test_intra_is_the_mean_of_the_clusters_mean_pairwise_distances():
    pictures, nearest = normal(7, 2, 4, 4), [0, 1, 0, 0, 1, 0, 2]
    score, each = intra_score(filled(pictures, nearest, 50, 3), 7, "an eye", SETTINGS)
    means = []
    for cluster in (0, 1):
        members = [pictures[i] for i in range(7) if nearest[i] == cluster]
        means.append(np.mean([distance_by_loops(a, b) for a, b in itertools.combinations(members, 2)]))
    assert score.value == pytest.approx(np.mean(means), rel=1e-5)
    assert score.detail["sizes"] == [4, 2, 1]
    assert score.detail["valid_clusters"] == 2
    assert each.mean() == pytest.approx(score.value)
    assert each[6] == pytest.approx(score.value)


def test_intra_without_two_pictures_in_a_cluster_says_so():
    score, each = intra_score(filled(normal(2, 2, 4, 4), [0, 1], 50, 2), 2, "an eye", SETTINGS)
    assert score.value is None
    assert each is None
    assert "two members" in score.detail["reason"]


@pytest.mark.parametrize("batch", [1, 4, 12])
def test_the_members_kept_do_not_depend_on_batches(batch):
    pictures, nearest = normal(12, 2, 4, 4), [0] * 9 + [1] * 3
    score, _ = intra_score(filled(pictures, nearest, 4, batch), 12, "an eye", SETTINGS)
    whole_batch, _ = intra_score(filled(pictures, nearest, 4, 5), 12, "an eye", SETTINGS)
    assert score == whole_batch
    assert score.detail["sizes"] == [9, 3, 0]


def test_at_most_so_many_members_are_kept():
    clusters = filled(normal(12, 2, 4, 4), [0] * 12, 4, 5)
    assert len(clusters.kept[0]) == 4


def test_evenness_is_one_when_even_and_zero_when_collapsed():
    assert evenness([5, 5, 5, 5]) == pytest.approx(1)
    assert evenness([20, 0, 0, 0]) == pytest.approx(0)
    assert evenness([5, 5, 0, 0]) == pytest.approx(0.5)
    assert evenness([9]) == 1


def test_the_entropy_weighted_variant_falls_when_one_cluster_takes_all():
    pictures = normal(12, 2, 4, 4)
    even, _ = intra_score(filled(pictures, [0, 1, 2] * 4, 50, 4), 12, "an eye", SETTINGS)
    alone, _ = intra_score(filled(pictures, [0] * 12, 50, 4), 12, "an eye", SETTINGS)
    assert alone.detail["entropy_weighted"] == pytest.approx(0)
    assert even.detail["entropy_weighted"] == pytest.approx(even.value)


def test_a_mirrored_copy_is_a_copy_of_the_same_picture():
    apart = torch.tensor([[3.0, 4.0, 0.0, 5.0]])
    assert to_pictures(apart).tolist() == [[0.0, 4.0]]


def test_memorisation_is_nearest_over_second_nearest():
    nearest = torch.tensor([[1.0, 4.0, 9.0], [2.0, 8.0, 3.0], [0.0, 0.0, 5.0]])
    assert ratios(nearest, 1.0).tolist() == pytest.approx([0.25, 2 / 3, 1.0])


def test_with_one_training_picture_the_sources_spread_is_the_yardstick():
    nearest = torch.tensor([[1.0], [2.0], [9.0]])
    score, each = memorised_score(nearest, 6.0, "an eye", SETTINGS)
    assert ratios(nearest, 6.0).tolist() == pytest.approx([1 / 6, 1 / 3, 1.5])
    assert "source" in score.protocol["ratio"]
    assert score.detail["nearest_over_spread"] == pytest.approx(2 / 6)
    assert each[0] == 1
    assert each[2] == 0


def test_copies_are_counted_and_none_still_has_an_interval():
    copied = torch.tensor([[0.1, 4.0]] * 3 + [[2.0, 3.0]])
    score, each = memorised_score(copied, 1.0, "an eye", SETTINGS)
    assert score.value == pytest.approx(0.75)
    assert each.tolist() == [1, 1, 1, 0]
    assert score.better == "lower"
    none, _ = memorised_score(torch.tensor([[2.0, 3.0]] * 50), 1.0, "an eye", SETTINGS)
    assert (none.value, none.low) == (0, 0)
    assert 0.05 < none.high < 0.09  # Wilson: 3.84 / (50 + 3.84)
