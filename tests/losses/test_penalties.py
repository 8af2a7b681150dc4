"""R1 and path length against hand-worked gradients and finite differences."""

import math

import pytest
import torch

from losses.penalties import path_length_penalty, path_lengths, r1


def seeded(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_r1_sums_over_pixels_and_channels_and_keeps_samples_apart():
    pictures = seeded(3, 2, 4, 4).requires_grad_()
    logits = pictures.square().sum((1, 2, 3))[:, None]
    expected = [sum((2 * v) ** 2 for v in picture.flatten().tolist()) for picture in pictures.detach()]
    assert r1(logits, pictures).tolist() == pytest.approx(expected)


def test_r1_of_a_patch_map_is_that_of_its_mean():
    pictures = seeded(2, 3, 6, 6).requires_grad_()
    kernel = seeded(1, 3, 3, 3, seed=1)
    patches = torch.tanh(torch.nn.functional.conv2d(pictures, kernel))
    mapped = r1(patches, pictures)
    patches = torch.tanh(torch.nn.functional.conv2d(pictures, kernel))
    averaged = r1(patches.mean((2, 3)), pictures)
    assert mapped.shape == (2,)
    assert torch.allclose(mapped, averaged, rtol=1e-12, atol=0)


def test_r1_of_a_map_by_hand():
    pictures = torch.ones(1, 1, 2, 2, requires_grad=True)
    # Mean over 4 positions of 3 x: each pixel's slope is 3 / 4, four of them squared.
    assert r1(3 * pictures, pictures).tolist() == pytest.approx([4 * (3 / 4) ** 2])


def test_r1_is_right_to_second_order():
    kernel = seeded(1, 2, 3, 3, seed=2).requires_grad_()

    def penalty(pictures, weight):
        return r1(torch.tanh(torch.nn.functional.conv2d(pictures, weight)), pictures)

    assert torch.autograd.gradcheck(penalty, (seeded(2, 2, 4, 4).requires_grad_(), kernel))
    assert torch.autograd.gradgradcheck(penalty, (seeded(1, 2, 3, 3).requires_grad_(), kernel))


def drawn(styles: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """A little generator: [B, L, D] -> [B, 1, 2, 3]."""
    return torch.tanh(styles.flatten(1) @ weight).view(-1, 1, 2, 3)


def test_path_length_sums_over_style_dimensions_and_averages_over_layers():
    styles, weight, noise = seeded(2, 3, 4), seeded(12, 6, seed=1), seeded(2, 1, 2, 3, seed=2)
    step, expected = 1e-6, []
    for b in range(2):
        per_layer = []
        for layer in range(3):
            squares = 0.0
            for d in range(4):
                ends = []
                for sign in (1, -1):
                    moved = styles.clone()
                    moved[b, layer, d] += sign * step
                    ends.append((drawn(moved, weight)[b] * noise[b]).sum().item() / math.sqrt(6))
                squares += ((ends[0] - ends[1]) / (2 * step)) ** 2
            per_layer.append(squares)
        expected.append(math.sqrt(sum(per_layer) / 3))
    styles.requires_grad_()
    lengths = path_lengths(drawn(styles, weight), styles, noise)
    assert lengths.tolist() == pytest.approx(expected, rel=1e-7)


def test_path_lengths_are_right_to_second_order():
    noise = seeded(1, 1, 2, 3, seed=2)

    def lengths(styles, weight):
        return path_lengths(drawn(styles, weight), styles, noise)

    inputs = (seeded(1, 2, 2).requires_grad_(), seeded(4, 6, seed=1).requires_grad_())
    assert torch.autograd.gradcheck(lengths, inputs)
    assert torch.autograd.gradgradcheck(lengths, inputs)


def test_path_penalty_by_hand():
    lengths = torch.tensor([2.0, 4.0], requires_grad=True)
    penalty, mean = path_length_penalty(lengths, torch.tensor(1.0), 0.5)
    # m = 1 + 0.5 (3 - 1) = 2; mean of 0 and 4.
    assert penalty.item() == pytest.approx(2.0)
    assert mean.item() == pytest.approx(2.0)
    assert not mean.requires_grad


def test_the_mean_inside_the_path_penalty_keeps_its_graph():
    decay = 0.3
    lengths = seeded(4).requires_grad_()
    penalty, mean = path_length_penalty(lengths, torch.tensor(0.7, dtype=torch.float64), decay)
    (slope,) = torch.autograd.grad(penalty, lengths)
    apart = lengths.detach() - mean
    expected = 2 / 4 * (apart - decay * apart.mean())
    assert torch.allclose(slope, expected, rtol=1e-12, atol=0)
