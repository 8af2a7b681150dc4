import math

import torch
from torch import Tensor

from models.patch_heads import PatchHeads


def literal(feature: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A 3 x 3 convolution with equalised scale, position by position."""
    batch, channels, side, _ = feature.shape
    wide = torch.zeros(batch, channels, side + 2, side + 2, dtype=feature.dtype)
    wide[:, :, 1:-1, 1:-1] = feature
    logits = torch.zeros(batch, 1, side, side, dtype=feature.dtype)
    for y in range(side):
        for x in range(side):
            patch = wide[:, :, y : y + 3, x : x + 3]
            logits[:, 0, y, x] = (patch * weight).sum(dim=(1, 2, 3)) / math.sqrt(9 * channels) + bias
    return logits


def heads(activate: bool) -> PatchHeads:
    torch.manual_seed(0)
    made = PatchHeads([3, 5], activate).double()
    for bias in made.biases:
        bias.data.fill_(-0.3)
    return made


def test_every_head_is_one_scaled_convolution_to_a_logit_map() -> None:
    made = heads(activate=False)
    for index, (channels, side) in enumerate(((3, 6), (5, 4))):
        feature = torch.randn(2, channels, side, side, dtype=torch.float64)
        expected = literal(feature, made.weights[index], made.biases[index])
        torch.testing.assert_close(made(feature, index), expected, rtol=0, atol=1e-12)


def test_as_released_a_negative_logit_shrinks_by_five_and_all_grow_by_the_root_of_two() -> None:
    feature = torch.randn(2, 3, 6, 6, dtype=torch.float64)
    raw, released = heads(activate=False)(feature, 0), heads(activate=True)(feature, 0)
    assert bool((raw < 0).any())
    assert bool((raw > 0).any())
    torch.testing.assert_close(released, torch.where(raw > 0, raw, raw / 5) * math.sqrt(2))


def test_four_heads_of_512_channels_have_the_published_number_of_parameters() -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in PatchHeads([512] * 4).parameters()) == 18_436


def test_biases_start_at_zero_and_weights_at_one() -> None:
    torch.manual_seed(0)
    made = PatchHeads([512])
    assert made.biases[0].tolist() == [0.0]
    assert abs(made.weights[0].std().item() - 1) < 0.05
