"""The high-pass and its masks in the literal StarGAN v2."""

import pytest
import torch

from benchmarks.literal.stargan2 import LiteralStarGAN2
from benchmarks.literal.stargan2_networks import Generator, HighPass
from tests.benchmarks.test_literal_stargan2 import masks


def test_the_high_pass_is_weaker_for_a_larger_weight_and_blind_to_flat_places():
    x = torch.zeros(1, 2, 5, 5)
    x[:, 1] = 1
    x[0, 0, 2, 2] = 1
    out = HighPass(4.0)(x)
    assert out[0, 0, 1:4, 1:4].tolist() == [[-0.25] * 3, [-0.25, 2.0, -0.25], [-0.25] * 3]
    assert out[0, 1, 1:4, 1:4].abs().max() == 0
    assert HighPass(2.0)(x).equal(2 * out)


def test_each_mask_lets_through_at_its_own_sides():
    torch.manual_seed(0)
    generator = Generator(64, 256, 8, 4, 1.0)
    x, s = torch.randn(1, 3, 64, 64), torch.randn(1, 4)
    none, full = torch.zeros(1, 1, 8, 8), torch.ones(1, 1, 8, 8)
    plain = generator(x, s)
    assert generator(x, s, (none, none)).equal(plain)
    sides = []
    generator.hpf.register_forward_hook(
        lambda module, given, out: sides.append((out.shape[2], out.abs().max().item() > 0))
    )
    assert not generator(x, s, (full, none)).equal(plain)
    assert not generator(x, s, (none, full)).equal(plain)
    assert sides == [(32, True), (64, False), (32, False), (64, True)]


def test_masks_without_a_high_pass_are_refused():
    with pytest.raises(ValueError, match="no use for masks"):
        LiteralStarGAN2(32, 2, 128, 8, masks_of_x=masks)
