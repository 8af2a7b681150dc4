"""Random resized crops against a loop that reads the picture at every point of the box."""

import math

import pytest
import torch
from torch import Tensor

from models.augment import crop_boxes, cropped

SCALE, RATIO = (0.8, 1.0), (0.9, 1.1)


def boxes(count: int, chance: float, seed: int = 0) -> Tensor:
    numbers = torch.rand(count, 13, 3, generator=torch.Generator().manual_seed(seed))
    return crop_boxes(numbers, chance, SCALE, RATIO)


def test_boxes_lie_inside_and_have_the_area_and_the_ratio_asked_for() -> None:
    left, top, width, height = boxes(5000, 1.0).double().unbind(1)
    assert min(left.min(), top.min()) >= 0
    assert max((left + width).max(), (top + height).max()) <= 1 + 1e-6
    area, ratio = width * height, width / height
    assert area.min() >= 0.8 - 1e-6
    assert area.max() <= 1 + 1e-6
    assert ratio.min() >= 0.9 - 1e-6
    assert ratio.max() <= 1.1 + 1e-6
    assert 0.8 < area.mean() < 0.9  # boxes that do not fit are drawn again, so large ones are rarer
    assert abs(ratio.log().mean()) < 0.01


def test_the_share_of_cropped_pictures_is_the_chance() -> None:
    cut = (boxes(4000, 0.3)[:, 2:] < 1).any(1).double().mean().item()
    assert cut == pytest.approx(0.3, abs=0.03)
    assert bool((boxes(50, 0.0) == torch.tensor([0.0, 0.0, 1.0, 1.0])).all())


def test_the_first_try_that_fits_is_taken() -> None:
    numbers = torch.zeros(1, 13, 3)
    numbers[0, 3:, 0], numbers[0, 3:, 1] = 1.0, 1.0  # area 1 and ratio 1.1: too wide
    assert crop_boxes(numbers, 1.0, SCALE, RATIO).tolist() == [[0, 0, 1, 1]]
    numbers[0, 7] = torch.tensor([0.5, 0.5, 0.0])
    width = crop_boxes(numbers, 1.0, SCALE, RATIO)[0, 2].item()
    assert width == pytest.approx(math.sqrt(0.9 * math.sqrt(0.9 * 1.1)), abs=1e-6)


def test_a_crop_reads_the_picture_bilinearly_at_the_points_of_its_box() -> None:
    side = 6
    picture = torch.rand(1, 2, side, side, dtype=torch.float64)
    box = torch.tensor([[0.1, 0.05, 0.8, 0.9]], dtype=torch.float64)
    found = cropped(picture, box)[0]
    for row in range(side):
        for column in range(side):
            x = (0.1 + 0.8 * (column + 0.5) / side) * side - 0.5
            y = (0.05 + 0.9 * (row + 0.5) / side) * side - 0.5
            want = torch.zeros(2, dtype=torch.float64)
            for r in (math.floor(y), math.floor(y) + 1):
                for c in (math.floor(x), math.floor(x) + 1):
                    share = (1 - abs(y - r)) * (1 - abs(x - c))
                    want += share * picture[0, :, min(max(r, 0), side - 1), min(max(c, 0), side - 1)]
            assert torch.allclose(found[:, row, column], want)


def test_a_picture_that_is_not_cropped_stays_as_it_is_to_the_bit() -> None:
    pictures = torch.rand(3, 3, 8, 8)
    whole = torch.tensor([[0.0, 0.0, 1.0, 1.0], [0.1, 0.1, 0.9, 0.9], [0.0, 0.0, 1.0, 1.0]])
    found = cropped(pictures, whole)
    assert torch.equal(found[0], pictures[0])
    assert torch.equal(found[2], pictures[2])
    assert not torch.equal(found[1], pictures[1])
