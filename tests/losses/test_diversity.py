"""Diversity terms against loops over Python numbers, by hand, and by finite differences."""

import math

import pytest
import torch

from losses.diversity import (
    Moments,
    contrast,
    distance_moments,
    distance_preservation,
    diversity_sensitive,
    gaps,
    half_gaps,
    latent_regression,
    mode_seeking,
    pair_gaps,
)


def seeded(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def gap(a: torch.Tensor, b: torch.Tensor) -> float:
    pairs = list(zip(a.flatten().tolist(), b.flatten().tolist(), strict=True))
    return sum(abs(p - q) for p, q in pairs) / len(pairs)


def looped_contrast(features: torch.Tensor, temperature: float, normalise: bool) -> list[float]:
    losses = []
    for b in range(features.shape[1]):
        rows = [x.flatten().tolist() for x in features[:, b]]
        if normalise:
            lengths = [math.sqrt(sum(v * v for v in row)) for row in rows]
            rows = [[v / n for v in row] for row, n in zip(rows, lengths, strict=True)]
        products = [sum(p * q for p, q in zip(rows[0], row, strict=True)) for row in rows[1:]]
        powers = [math.exp(p / temperature) for p in products]
        losses.append(-math.log(powers[0] / sum(powers)))
    return losses


def test_diversity_sensitive_is_minus_the_mean_gap_and_moves_only_the_first():
    first, second = seeded(3, 2, 4, 4).requires_grad_(), seeded(3, 2, 4, 4, seed=1).requires_grad_()
    value = diversity_sensitive(first, second)
    assert value.item() == pytest.approx(-gap(first.detach(), second.detach()), rel=1e-12)
    value.backward()
    expected = -(first.detach() - second.detach()).sign() / first.numel()
    assert torch.allclose(first.grad, expected, rtol=1e-12, atol=0)
    assert second.grad is None


def test_gaps_are_means_over_what_belongs_to_a_sample():
    a, b = seeded(3, 2, 4, 4), seeded(3, 2, 4, 4, seed=1)
    assert gaps(a, b).tolist() == pytest.approx([gap(p, q) for p, q in zip(a, b, strict=True)], rel=1e-12)
    assert torch.autograd.gradcheck(gaps, (a.requires_grad_(), b.requires_grad_()))
    assert gaps(a.bfloat16(), b.bfloat16()).dtype == torch.float32


def test_mode_seeking_is_the_reciprocal_of_a_ratio_of_means():
    pictures, codes, eps = seeded(5).abs(), seeded(5, seed=1).abs(), 0.01
    ratio = (sum(pictures.tolist()) / 5) / (sum(codes.tolist()) / 5)
    assert mode_seeking(pictures, codes, eps).item() == pytest.approx(1 / (ratio + eps), rel=1e-12)
    each = [1 / (p / c + eps) for p, c in zip(pictures.tolist(), codes.tolist(), strict=True)]
    assert abs(mode_seeking(pictures, codes, eps).item() - sum(each) / 5) > 1e-3


def test_mode_seeking_by_hand():
    # Pictures 0.5 apart, codes 2 apart: 1 / (1/4 + 1/4).
    assert mode_seeking(torch.tensor([0.25, 0.75]), torch.tensor([1.0, 3.0]), 0.25).item() == 2.0


def test_mode_seeking_moves_both_pictures_and_no_code():
    first, second = seeded(2, 3, 2, 2).requires_grad_(), seeded(2, 3, 2, 2, seed=1).requires_grad_()
    codes = seeded(2, seed=2).abs().requires_grad_()

    def loss(a, b):
        return mode_seeking(gaps(a, b), codes, 1e-5)

    assert torch.autograd.gradcheck(loss, (first, second))
    loss(first, second).backward()
    assert first.grad.equal(-second.grad)
    assert codes.grad is None


def test_mode_seeking_of_gathered_parts_is_that_of_the_whole():
    first, second = seeded(6, 3, 2, 2).requires_grad_(), seeded(6, 3, 2, 2, seed=1)
    codes = gaps(seeded(6, 8, seed=2), seeded(6, 8, seed=3))
    whole = mode_seeking(gaps(first, second), codes, 1e-5)
    (expected,) = torch.autograd.grad(whole, first)
    parts = [gaps(first[at : at + 2], second[at : at + 2]) for at in (0, 2, 4)]
    for rank in range(3):
        # What a process holds: its own part with gradient, those of the others without.
        held = [part if r == rank else part.detach() for r, part in enumerate(parts)]
        value = mode_seeking(torch.cat(held), codes, 1e-5)
        (slope,) = torch.autograd.grad(value, first, retain_graph=True)
        assert value == whole
        assert torch.allclose(slope[2 * rank : 2 * rank + 2], expected[2 * rank : 2 * rank + 2], rtol=1e-12)


@pytest.mark.parametrize("apart", [0.0, 1e-6])
@pytest.mark.parametrize("codes", [0.0, 1.0])
def test_mode_seeking_of_a_collapsed_generator_is_finite(apart, codes):
    first = torch.zeros(2, 3, 4, 4, requires_grad=True)
    second = torch.full((2, 3, 4, 4), apart, requires_grad=True)
    value = mode_seeking(gaps(first, second), torch.full((2,), codes), 1e-5)
    value.backward()
    assert value.isfinite()
    assert first.grad.isfinite().all()
    assert second.grad.isfinite().all()
    if codes:
        assert value.item() == pytest.approx(1 / (apart + 1e-5), rel=1e-5)
    else:
        assert value.item() == 0


@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("shape", [(3, 4, 5), (6, 2, 3), (5, 1, 2, 2, 2)])
def test_contrast_is_the_cross_entropy_of_the_loops(shape, normalise):
    features = 0.7 * seeded(*shape)
    found = contrast(features, 0.3, normalise)
    assert found.shape == (shape[1],)
    assert found.tolist() == pytest.approx(looped_contrast(features, 0.3, normalise), rel=1e-10)


@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("negatives", [1, 3])
def test_contrast_has_the_gradient_of_finite_differences_in_every_picture(normalise, negatives):
    features = seeded(negatives + 2, 2, 4).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: contrast(x, 0.5, normalise), (features,))
    slopes = torch.autograd.grad(contrast(features, 0.5, normalise).sum(), features)[0]
    assert (slopes.abs().sum(2) > 0).all()


@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("negatives", [1, 10])
def test_equal_features_leave_only_guessing(negatives, normalise):
    features = seeded(1, 4, 6).expand(negatives + 2, 4, 6)
    expected = [math.log(negatives + 1)] * 4
    assert contrast(features, 1.0, normalise).tolist() == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("temperature", [0.07, 1.0])
def test_unit_features_have_a_least_contrast(temperature):
    query = torch.nn.functional.normalize(seeded(3, 6), dim=1)
    features = torch.stack([query, query, *[-query] * 10])
    least = math.log1p(10 * math.exp(-2 / temperature))
    assert contrast(features, temperature, True).tolist() == pytest.approx([least] * 3, abs=1e-12)
    assert contrast(50 * features, temperature, True).tolist() == pytest.approx([least] * 3, abs=1e-12)
    assert (contrast(50 * features, temperature, False) < 1e-12).all()
    if temperature == 1:
        assert least == pytest.approx(0.85584, abs=5e-6)


def test_contrast_of_a_batch_is_that_of_its_parts():
    features = seeded(4, 6, 3)
    parts = torch.cat([contrast(features[:, :2], 0.2, True), contrast(features[:, 2:], 0.2, True)])
    assert torch.allclose(contrast(features, 0.2, True), parts, rtol=1e-12, atol=0)


def test_contrast_of_vanished_or_huge_features_is_finite():
    for features in (torch.zeros(3, 2, 4), 1e3 * seeded(3, 2, 4).float()):
        for normalise in (True, False):
            leaf = features.clone().requires_grad_()
            value = contrast(leaf, 0.07, normalise)
            value.sum().backward()
            assert value.isfinite().all()
            assert leaf.grad.isfinite().all()


def test_contrast_of_half_precision_is_computed_in_single():
    features = seeded(4, 2, 8).bfloat16()
    found = contrast(features, 0.1, True)
    assert found.dtype == torch.float32
    assert found.tolist() == pytest.approx(looped_contrast(features.double(), 0.1, True), rel=1e-4)


def test_contrast_without_negatives_or_temperature_is_refused():
    with pytest.raises(ValueError, match="it got 2 of them"):
        contrast(seeded(2, 3, 4), 1.0, True)
    with pytest.raises(ValueError, match="must be above 0"):
        contrast(seeded(3, 3, 4), 0.0, True)


def test_latent_regression_is_the_mean_gap_and_leaves_the_code():
    found, code = seeded(3, 8).requires_grad_(), seeded(3, 8, seed=1).requires_grad_()
    value = latent_regression(found, code)
    assert value.item() == pytest.approx(gap(found.detach(), code.detach()), rel=1e-12)
    value.backward()
    assert torch.allclose(found.grad, (found - code).detach().sign() / 24)
    assert code.grad is None


def test_distances_are_kept_pair_by_pair():
    sources, images = seeded(4, 3, 2, 2), seeded(4, 3, 4, 4, seed=1)
    before, after = Moments(0.9, 0.2), Moments(0.4, 0.7)
    expected = []
    for i in range(4):
        for j in range(i + 1, 4):
            p = (gap(sources[i], sources[j]) - 0.9) / 0.2
            q = (gap(images[i], images[j]) - 0.4) / 0.7
            expected.append(abs(p - q))
    value = distance_preservation(pair_gaps(sources), pair_gaps(images), before, after)
    assert value.item() == pytest.approx(sum(expected) / 6, rel=1e-12)


def test_distance_preservation_moves_the_images_alone():
    sources, images = seeded(3, 4).requires_grad_(), seeded(3, 5, seed=1).requires_grad_()

    def loss(made):
        return distance_preservation(pair_gaps(sources), pair_gaps(made), Moments(1, 1), Moments(0, 2))

    assert torch.autograd.gradcheck(loss, (images,))
    loss(images).backward()
    assert sources.grad is None


def test_a_rescaled_domain_keeps_its_distances():
    sources = seeded(5, 3, 2, 2)
    images = 3 * sources + 1
    pairs = [(i, j) for i in range(5) for j in range(i + 1, 5)]
    before, after = distance_moments(sources, pairs), distance_moments(images, pairs)
    assert distance_preservation(pair_gaps(sources), pair_gaps(images), before, after).item() < 1e-12


def test_half_gaps_compare_the_halves_of_a_picture():
    pictures = seeded(2, 3, 5, 4)
    expected = [gap(x[:, :2], x[:, 3:]) for x in pictures]
    assert half_gaps(pictures).tolist() == pytest.approx(expected, rel=1e-12)


def test_two_pictures_make_one_pair_and_one_makes_none():
    assert pair_gaps(torch.tensor([[0.0, 0.0], [1.0, 3.0]])).tolist() == [2.0]
    with pytest.raises(ValueError, match="a batch of one has none"):
        pair_gaps(seeded(1, 3, 4, 4))


def test_moments_are_those_of_the_listed_pairs_however_they_are_cut(monkeypatch):
    pictures = seeded(6, 3, 2, 2)
    pairs = [(0, 1), (0, 5), (2, 3), (4, 1), (5, 2)]
    distances = [gap(pictures[i], pictures[j]) for i, j in pairs]
    mean = sum(distances) / 5
    deviation = math.sqrt(sum((d - mean) ** 2 for d in distances) / 5)
    for block in (1 << 24, 24, 1):
        monkeypatch.setattr("losses.diversity._BLOCK", block)
        found = distance_moments(pictures, pairs)
        assert found.mean == pytest.approx(mean, rel=1e-12)
        assert found.deviation == pytest.approx(deviation, rel=1e-12)


def test_moments_without_a_scale_are_refused():
    with pytest.raises(ValueError, match="none were listed"):
        distance_moments(seeded(3, 4), [])
    with pytest.raises(ValueError, match="they have no scale"):
        distance_moments(torch.zeros(3, 4), [(0, 1), (1, 2)])
