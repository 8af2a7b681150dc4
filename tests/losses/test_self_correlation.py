"""Self-correlation consistency against loops in float64, by hand, and between its forms."""

import math

import pytest
import torch

from losses import window_gap as gaps
from losses.self_correlation import self_correlation, self_correlation_plain

FORMS = [self_correlation, self_correlation_plain]


def made(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def smooth(d: float) -> float:
    return 0.5 * d * d if abs(d) < 1 else abs(d) - 0.5


def unit(vector: list[float]) -> list[float]:
    norm = math.sqrt(sum(v * v for v in vector))
    return [v / norm for v in vector]


def vectors_looped(feature: torch.Tensor, similarity: str) -> list[list[list[float]]]:
    """[C, S, S] -> rows of columns of vectors."""
    raw = feature.permute(1, 2, 0).tolist()
    if similarity != "cosine":
        raw = [[unit(v) for v in row] for row in raw]
    if similarity == "unpooled":
        return raw
    half = len(raw) // 2
    pooled = [[[0.0]] * half for _ in range(half)]
    for y in range(half):
        for x in range(half):
            four = [raw[2 * y + a][2 * x + b] for a in (0, 1) for b in (0, 1)]
            pooled[y][x] = [sum(values) / 4 for values in zip(*four, strict=True)]
    if similarity == "cosine":
        pooled = [[unit(v) for v in row] for row in pooled]
    return pooled


def looped(adapted: torch.Tensor, source: torch.Tensor, similarity: str = "pooled") -> float:
    """One layer's loss, entry by entry."""
    tiles, centre = [], []
    for ours, theirs in zip(adapted.detach(), source, strict=True):
        maps = [vectors_looped(x, similarity) for x in (ours, theirs)]
        side = len(maps[0])
        q = side // 2
        corners = [(0, 0), (0, q), (q, 0), (q, q), ((side - q) // 2, (side - q) // 2)]
        for number, (top, left) in enumerate(corners):
            places = [(top + a, left + b) for a in range(q) for b in range(q)]
            for y, x in places:
                for v, u in places:
                    mine, kept = (sum(p * r for p, r in zip(m[y][x], m[v][u], strict=True)) for m in maps)
                    (tiles if number < 4 else centre).append(smooth(mine - kept))
    return sum(tiles) / len(tiles) + sum(centre) / len(centre)


@pytest.mark.parametrize("similarity", ["pooled", "cosine", "unpooled"])
@pytest.mark.parametrize("form", FORMS)
def test_is_the_mean_over_tiles_plus_the_mean_over_the_centre_of_the_loops(form, similarity):
    adapted, source = made(0, 2, 3, 8, 8), made(1, 2, 3, 8, 8)
    value = form([adapted], [source], similarity)
    assert value.item() == pytest.approx(looped(adapted, source, similarity), rel=1e-10)


def test_layers_are_summed():
    adapted = [made(0, 1, 2, 16, 16), made(2, 1, 4, 8, 8)]
    source = [made(1, 1, 2, 16, 16), made(3, 1, 4, 8, 8)]
    expected = sum(looped(a, s) for a, s in zip(adapted, source, strict=True))
    assert self_correlation(adapted, source).item() == pytest.approx(expected, rel=1e-10)


def test_gradient_is_that_of_finite_differences_of_the_loops():
    adapted, source = made(0, 1, 2, 16, 16).requires_grad_(), made(1, 1, 2, 16, 16)
    self_correlation([adapted], [source]).backward()
    step = 1e-5
    for at in ((0, 0, 0, 0), (0, 1, 7, 8), (0, 1, 15, 3)):
        ends = []
        for sign in (1, -1):
            moved = adapted.detach().clone()
            moved[at] += sign * step
            ends.append(looped(moved, source))
        assert adapted.grad[at].item() == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-5, abs=1e-11)


@pytest.mark.parametrize("similarity", ["pooled", "cosine", "unpooled"])
def test_gradcheck_by_finite_differences_of_itself(similarity):
    adapted, source = made(0, 1, 2, 8, 8).requires_grad_(), made(1, 1, 2, 8, 8)
    assert torch.autograd.gradcheck(lambda x: self_correlation([x], [source], similarity), adapted)


def test_opposite_halves_by_hand():
    # One channel: unit vectors are signs. Source all +1: every product is 1. Adapted: left half -1, right +1.
    source = torch.ones(1, 1, 8, 8)
    adapted = source.clone()
    adapted[..., :4] = -1
    # Every tile has one sign: no gap. The centre has both: 8 of its 16 products are -1, d = -2, each 1.5.
    for form in FORMS:
        assert form([adapted], [source]).item() == pytest.approx(8 * 1.5 / 16)


@pytest.mark.parametrize("moved", ["none", "some", "many", "all", "uneven"])
@pytest.mark.parametrize("shape", [(2, 3, 32, 32), (1, 2, 64, 64)])
def test_fast_equals_plain_however_many_positions_moved_far(moved, shape):
    source = made(0, *shape).abs() + 0.1
    adapted = source + 0.05 * made(1, *shape)
    far = torch.zeros(shape[-2:], dtype=torch.bool)
    if moved == "some":
        far[1::8, :2] = True
    elif moved == "many":
        far[:, ::2] = True
    elif moved == "all":
        far[:] = True
    elif moved == "uneven":
        far[: shape[-1] // 2, : shape[-1] // 2] = True
        far[-8:-6, -4:] = True
    adapted = torch.where(far, -source, adapted)
    results = []
    for form in FORMS:
        ours = adapted.clone().requires_grad_()
        value = form([ours], [source])
        results.append((value.detach(), torch.autograd.grad(value, ours)[0]))
    assert abs(results[0][0] - results[1][0]) < 1e-12
    assert torch.allclose(results[0][1], results[1][1], rtol=1e-10, atol=1e-14)


def opposite(count: int, windows: int = 3, channels: int = 4, places: int = 64):
    """Unit vectors of which `count` turned round and the others moved a little; window 1 has one fewer."""
    s = torch.nn.functional.normalize(made(0, windows, channels, places).abs(), dim=1)
    t = torch.nn.functional.normalize(s + 0.1 * made(1, windows, channels, places), dim=1)
    t[:, :, :count] *= -1
    if count:
        t[1, :, 0] *= -1
    return t, s


@pytest.mark.parametrize("count", [0, 1, 5, 64])
@pytest.mark.parametrize("block", [1 << 17, 100, 1500])
def test_channel_space_and_rows_equal_the_whole_matrix(monkeypatch, count, block):
    monkeypatch.setitem(gaps._BLOCK, "cpu", block)
    t, s = opposite(count)
    whole = t.clone().requires_grad_()
    d = whole.mT @ whole - s.mT @ s
    expected = torch.nn.functional.smooth_l1_loss(d, torch.zeros_like(d), reduction="none").sum((1, 2))
    (slope,) = torch.autograd.grad(expected.sum(), whole)
    assert (d.abs() > 1).any() == (count > 0)
    for found, slopes in (
        gaps._gap_by_channels(t, s, count, True),
        gaps._gap_by_rows(t, s, True),
        gaps.window_gap(t, s, True),
    ):
        assert torch.allclose(found, expected, rtol=1e-10, atol=1e-12)
        assert torch.allclose(slopes, slope, rtol=1e-10, atol=1e-12)


def test_only_windows_in_which_few_moved_are_done_in_channel_space(monkeypatch):
    t, s = opposite(0)
    t[2] *= torch.where(torch.arange(64) < 32, -1.0, 1.0)
    seen = []
    rows = gaps._gap_by_rows
    monkeypatch.setattr(gaps, "_gap_by_rows", lambda t, s, sloped: seen.append(len(t)) or rows(t, s, sloped))
    gaps.window_gap(t, s, True)
    assert seen == [1]


def test_float32_does_not_lose_a_small_gap():
    source = made(0, 2, 8, 32, 32)
    adapted = source + 1e-4 * made(1, 2, 8, 32, 32)
    exact = self_correlation_plain([adapted], [source]).item()
    assert self_correlation([adapted.float()], [source.float()]).item() == pytest.approx(exact, rel=1e-2)


def test_equal_features_cost_nothing_and_pull_nowhere():
    source = made(0, 2, 3, 32, 32).float()
    adapted = source.clone().requires_grad_()
    value = self_correlation([adapted], [source])
    value.backward()
    assert value.item() == 0
    assert not adapted.grad.any()


def test_the_source_gets_no_gradient_and_no_grad_needs_none():
    adapted, source = made(0, 1, 3, 16, 16).requires_grad_(), made(1, 1, 3, 16, 16).requires_grad_()
    value = self_correlation([adapted], [source])
    value.backward()
    assert source.grad is None
    with torch.no_grad():
        assert self_correlation([adapted], [source]) == value


def test_dead_positions_and_half_precision_stay_finite():
    adapted, source = made(0, 2, 3, 16, 16).bfloat16(), made(1, 2, 3, 16, 16).bfloat16()
    adapted[:, :, :3] = 0
    adapted.requires_grad_()
    value = self_correlation([adapted], [source])
    value.backward()
    assert value.dtype == torch.float32
    assert value.isfinite()
    assert adapted.grad.isfinite().all()


@pytest.mark.parametrize("side", [4, 10])
def test_a_side_without_windows_is_refused(side):
    with pytest.raises(ValueError, match=f"{side}x{side} positions has no windows"):
        self_correlation([made(0, 1, 2, side, side)], [made(1, 1, 2, side, side)])
