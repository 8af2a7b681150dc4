"""Smooth L1 between two Gram matrices of one window, without keeping either.

G windows, C channels, P positions. t, s: [G, C, P], columns of norm <= 1 (unit vectors, or averages of such).
With d = t^T t - s^T s the gap of a window is the sum over P x P of smooth L1 (beta 1) of d, and its gradient
in t is 2 t clip(d, -1, 1), d being symmetric. Exact ways, chosen per window by their multiplications.
"""

import torch
from torch import Tensor

# Elements of one block of d: a few blocks must stay in a CPU's cache, and be worth their launches on a GPU.
_BLOCK = {"cpu": 1 << 17, "cuda": 1 << 23}


def window_gap(t: Tensor, s: Tensor, sloped: bool) -> tuple[Tensor, Tensor | None]:
    """The gap of every window, [G], and, if sloped, its gradient in t, [G, C, P].

    d whole costs 2 C P^2 and its gradient C P^2 more. In channel space 0.5 d^2 and its gradient cost 5 C^2 P,
    and what smooth L1 takes off where |d| > 1 costs 4 C P for each position that has moved by more than 0.5:
    |d_ij| <= |t_i - s_i| + |t_j - s_j|, so no other row can hold such an entry. Past an eighth of the
    positions the whole d is taken, which also bounds the memory of those rows.
    """
    channels, places = t.shape[1:]
    if 5 * channels >= 3 * places:
        return _gap_by_rows(t, s, sloped)
    moved = ((t - s).square().sum(1) > 0.25).sum(1).tolist()
    limit = min(places // 8, (3 * places - 5 * channels) // 4)
    crowded = [g for g, count in enumerate(moved) if count > limit]
    if not crowded:
        return _gap_by_channels(t, s, max(moved), sloped)
    if len(crowded) == len(moved):
        return _gap_by_rows(t, s, sloped)
    quiet = [g for g, count in enumerate(moved) if count <= limit]
    gaps, slopes = t.new_empty(len(t)), torch.empty_like(t) if sloped else None
    most = max(moved[g] for g in quiet)
    for which, (found, slope) in (
        (quiet, _gap_by_channels(t[quiet], s[quiet], most, sloped)),
        (crowded, _gap_by_rows(t[crowded], s[crowded], sloped)),
    ):
        gaps[which] = found
        if slopes is not None and slope is not None:
            slopes[which] = slope
    return gaps, slopes


def _gap_by_rows(t: Tensor, s: Tensor, sloped: bool) -> tuple[Tensor, Tensor | None]:
    """d in blocks of rows, on and above the diagonal only; small windows many at once, each in one block."""
    places = t.shape[2]
    block = _BLOCK.get(t.device.type, _BLOCK["cpu"])
    rows = min(places, max(1, block // places))
    step = max(1, block // (rows * places))
    apart = t - s
    # d = apart^T t + s^T apart: no large equal numbers are subtracted, and it is one product.
    left, right = torch.cat([apart, s], 1), torch.cat([t, apart], 1)
    gaps, slopes = t.new_zeros(len(t)), torch.zeros_like(t) if sloped else None
    for at in range(0, len(t), step):
        part = slice(at, at + step)
        for start in range(0, places, rows):
            end = min(start + rows, places)
            d = left[part, :, start:end].mT @ right[part, :, start:]
            clipped = d.clamp(-1, 1)
            if slopes is not None:
                slopes[part, :, start:] += t[part, :, start:end] @ clipped
                if end < places:
                    slopes[part, :, start:end] += t[part, :, end:] @ clipped[:, :, end - start :].mT
            # Smooth L1 is clipped * (d - clipped / 2). What is off the diagonal block stands for two.
            d.sub_(clipped, alpha=0.5).mul_(clipped)
            gaps[part] += 2 * d.sum((1, 2)) - d[:, :, : end - start].sum((1, 2))
    return gaps, None if slopes is None else slopes.mul_(2)


def _gap_by_channels(t: Tensor, s: Tensor, moved: int, sloped: bool) -> tuple[Tensor, Tensor | None]:
    """0.5 sum d^2 from C x C products, less what smooth L1 forgives in the `moved` rows that went farthest.

    With D = t - s, K = D D^T, T = t t^T, S = s s^T, M = D t^T, N = D s^T:
    sum d^2 = <K, T> + <K, S> + 2 tr(M N). Every term carries D twice, so float32 loses no small
    differences.
    """
    channels = t.shape[1]
    apart = t - s
    both = torch.cat([apart, t], 1)
    products = apart @ both.mT
    k, m = products[:, :, :channels], products[:, :, channels:]
    own = t @ t.mT
    n = m - k
    gaps = 0.5 * (k * (2 * own - m - m.mT + k)).sum((1, 2)) + (m * n.mT).sum((1, 2))
    slopes = torch.cat([own - m.mT, m.mT], 2) @ both * 2 if sloped else None
    if moved:
        block = _BLOCK.get(t.device.type, _BLOCK["cpu"])
        step = max(1, block // (moved * t.shape[2]))
        for at in range(0, len(t), step):
            part = slice(at, at + step)
            slope = None if slopes is None else slopes[part]
            gaps[part] -= _forgiven(t[part], s[part], moved, slope)
    return gaps, slopes


def _forgiven(t: Tensor, s: Tensor, moved: int, slopes: Tensor | None) -> Tensor:
    """0.5 sum of (|d| - 1)^2 where |d| > 1, [G], given that the `moved` farthest rows hold every such entry.

    Takes its gradient off slopes. A row too many (windows differ in how many moved) adds nothing wrong.
    """
    apart = t - s
    rows = apart.square().sum(1).topk(moved, 1).indices
    columns = rows[:, None, :].expand(-1, t.shape[1], -1)
    own, own_apart = t.gather(2, columns), apart.gather(2, columns)
    left = torch.cat([own_apart, s.gather(2, columns)], 1)
    d = left.mT @ torch.cat([t, apart], 1)
    over = d - d.clamp(-1, 1)
    outside = t.new_ones(t.shape[0], 1, t.shape[2]).scatter_(2, rows[:, None, :], 0)
    if slopes is not None:
        slopes -= 2 * own @ over
        slopes.scatter_(2, columns, slopes.gather(2, columns) - 2 * (t * outside) @ over.mT)
    # The matrix is symmetric: an entry whose column is not among the rows stands for two.
    return 0.5 * (over.square() * (1 + outside)).sum((1, 2))
