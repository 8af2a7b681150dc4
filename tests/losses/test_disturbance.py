"""Disturbance correlation against loops in float64, by hand, and between its forms."""

import math

import pytest
import torch

from losses import disturbance as room
from losses.disturbance import disturbance, disturbance_plain, disturbance_sliding, disturbance_windows

FORMS = [disturbance, disturbance_plain]


def made(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def unit(vector: list[float]) -> list[float]:
    norm = math.sqrt(sum(v * v for v in vector))
    return [v / norm for v in vector]


def row_gap(features: list[torch.Tensor], j: int, k: int, here, others) -> float:
    """L1 between the softmaxed rows of position `here` of picture j against `others` of picture k."""
    rows = []
    for feature in features:
        vectors = feature.detach().permute(0, 2, 3, 1).tolist()
        mine = unit(vectors[j][here[0]][here[1]])
        powers = [
            math.exp(sum(p * q for p, q in zip(mine, unit(vectors[k][y][x]), strict=True))) for y, x in others
        ]
        rows.append([p / sum(powers) for p in powers])
    return sum(abs(p - q) for p, q in zip(*rows, strict=True))


def looped(adapted: torch.Tensor, source: torch.Tensor, windows: int) -> float:
    count, _, side, _ = adapted.shape
    part = side // windows
    values = []
    for j in range(count):
        for k in range(j + 1, count):
            for top in range(0, side, part):
                for left in range(0, side, part):
                    places = [(top + a, left + b) for a in range(part) for b in range(part)]
                    values += [row_gap([adapted, source], j, k, here, places) for here in places]
    return sum(values) / len(values)


def looped_sliding(adapted: torch.Tensor, source: torch.Tensor, width: int) -> float:
    count, _, height, across = adapted.shape
    values = []
    for j in range(count):
        for k in range(j + 1, count):
            for y in range(height):
                for x in range(across):
                    near = [
                        (v, u)
                        for v in range(height)
                        for u in range(across)
                        if abs(v - y) < width / 2 and abs(u - x) < width / 2
                    ]
                    values.append(row_gap([adapted, source], j, k, (y, x), near))
    return sum(values) / len(values)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("count", "windows"), [(2, 1), (3, 1), (4, 2)])
def test_is_the_mean_over_pairs_windows_and_rows_of_the_loops(form, count, windows):
    adapted, source = made(0, count, 3, 4, 4), made(1, count, 3, 4, 4)
    value = form([adapted], [source], [windows])
    assert value.item() == pytest.approx(looped(adapted, source, windows), rel=1e-10)


def test_layers_are_summed():
    adapted = [made(0, 3, 2, 4, 4), made(2, 3, 5, 8, 8)]
    source = [made(1, 3, 2, 4, 4), made(3, 3, 5, 8, 8)]
    expected = looped(adapted[0], source[0], 1) + looped(adapted[1], source[1], 4)
    assert disturbance(adapted, source, [1, 4]).item() == pytest.approx(expected, rel=1e-10)


def test_gradient_is_that_of_finite_differences_of_the_loops():
    adapted, source = made(0, 3, 2, 4, 4).requires_grad_(), made(1, 3, 2, 4, 4)
    disturbance([adapted], [source], [2]).backward()
    step = 1e-6
    for at in ((0, 0, 0, 0), (1, 1, 2, 3), (2, 0, 1, 2)):
        ends = []
        for sign in (1, -1):
            moved = adapted.detach().clone()
            moved[at] += sign * step
            ends.append(looped(moved, source, 2))
        assert adapted.grad[at].item() == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-4, abs=1e-9)


@pytest.mark.parametrize("block", [1 << 19, 1, 300, 2000])
@pytest.mark.parametrize(("shape", "windows"), [((4, 3, 8, 8), 1), ((4, 3, 16, 16), 4), ((2, 5, 8, 8), 2)])
def test_fast_equals_plain_in_value_and_gradient_for_any_block(monkeypatch, block, shape, windows):
    monkeypatch.setitem(room._BLOCK, "cpu", block)
    results = []
    for form in FORMS:
        adapted = made(0, *shape).requires_grad_()
        value = form([adapted], [made(1, *shape)], [windows])
        results.append((value.detach(), torch.autograd.grad(value, adapted)[0]))
    assert abs(results[0][0] - results[1][0]) < 1e-12
    assert torch.allclose(results[0][1], results[1][1], rtol=1e-10, atol=1e-14)


def test_two_positions_by_hand():
    # Two positions side by side are not square; take 2x2 with one channel, so cosines are signs.
    source = torch.ones(2, 1, 2, 2)
    adapted = source.clone()
    adapted[1, :, 0, 0] = -1
    # Source rows are 1/4 each. Adapted rows: e for three, 1/e for one.
    total = 3 * math.e + 1 / math.e
    row = 3 * abs(math.e / total - 0.25) + abs(1 / math.e / total - 0.25)
    for form in FORMS:
        assert form([adapted], [source], [1]).item() == pytest.approx(row, rel=1e-6)


def test_equal_features_cost_nothing_and_pull_nowhere():
    source = made(0, 3, 4, 8, 8).float()
    adapted = source.clone().requires_grad_()
    value = disturbance([adapted], [source], [1])
    value.backward()
    assert value.item() == 0
    assert not adapted.grad.any()


def test_the_source_gets_no_gradient_and_no_grad_needs_none():
    adapted, source = made(0, 2, 3, 4, 4).requires_grad_(), made(1, 2, 3, 4, 4).requires_grad_()
    value = disturbance([adapted], [source], [1])
    value.backward()
    assert source.grad is None
    with torch.no_grad():
        assert disturbance([adapted], [source], [1]) == value


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (256, {4: 1, 8: 1, 16: 1, 32: 1, 64: 4, 128: 4}),
        (64, {4: 1, 8: 1, 16: 4, 32: 4}),
    ],
)
def test_windows_follow_the_side(size, expected):
    assert {side: disturbance_windows(side, size) for side in expected} == expected


@pytest.mark.parametrize("width", [1, 3, 4, 9])
def test_sliding_is_the_mean_over_pairs_and_positions_of_the_loops(width):
    adapted, source = made(0, 3, 2, 4, 4), made(1, 3, 2, 4, 4)
    value = disturbance_sliding([adapted], [source], [width])
    assert value.item() == pytest.approx(looped_sliding(adapted, source, width), rel=1e-10, abs=1e-14)


def test_a_sliding_window_wider_than_the_map_is_the_whole_map():
    adapted, source = made(0, 3, 2, 4, 4).requires_grad_(), made(1, 3, 2, 4, 4)
    slid = disturbance_sliding([adapted], [source], [9])
    whole = disturbance([adapted], [source], [1])
    assert abs(slid - whole) < 1e-14
    slopes = [torch.autograd.grad(x, adapted)[0] for x in (slid, whole)]
    assert torch.allclose(*slopes, rtol=1e-10, atol=1e-14)


def test_one_picture_has_no_neighbour():
    with pytest.raises(ValueError, match="at least 2 pictures"):
        disturbance([made(0, 1, 2, 4, 4)], [made(1, 1, 2, 4, 4)], [1])


def test_windows_that_do_not_divide_the_side_are_refused():
    with pytest.raises(ValueError, match="cannot be cut into 3 by 3 windows"):
        disturbance([made(0, 2, 2, 4, 4)], [made(1, 2, 2, 4, 4)], [3])
