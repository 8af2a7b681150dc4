"""Disturbance correlation consistency of RSSA: what in one picture answers to what in its neighbour.

N pictures (the method's own group, 4 in the release), C channels, S side of a feature, K windows of a map,
P positions of a window, M pictures after picture j, R rows in work.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import normalize, pad

from losses.correlation import check_pairs, full_precision, unit_channels

# Elements of one correlation block: windows are split before rows, since products of few rows are slow. On a
# CPU less than this makes 1024-position windows slower than the plain form, and more gains nothing.
_BLOCK = {"cpu": 1 << 19, "cuda": 1 << 23}


def disturbance_windows(side: int, picture_size: int) -> int:
    """How many windows per axis a feature of this side is cut into: 1 up to picture_size / 8, else 4.

    The release has this for 256 pixels: sides up to 32 whole, 64 and 128 in 16 windows.
    """
    return 1 if 8 * side <= picture_size else 4


def disturbance(adapted: Sequence[Tensor], source: Sequence[Tensor], windows: Sequence[int]) -> Tensor:
    """L1 between the softmaxed cross-correlations of picture pairs, source against adapted. Scalar.

    adapted, source: per layer [N, C, S, S], N >= 2, same latents row by row; the source carries no gradient.
    windows: per layer, windows per axis (see `disturbance_windows`), non-overlapping; must divide S.
    Channel vectors of length 1; for a pair j < k and a window, row x is softmax over y of <f_j(x), f_k(y)>.
    Sum over layers of the mean over pairs (their true number), windows and positions x of the sum over y of
    |adapted - source|: each layer adds 0 to 2. Xiao et al. 2022; windows as released.
    Once differentiable. Value and gradient are made together, block of rows by block of rows, so no whole
    correlation is kept: what waits for backward is one tensor of the features' size.
    """
    _check(adapted, source, windows)
    total = adapted[0].new_zeros((), dtype=torch.promote_types(adapted[0].dtype, torch.float32))
    for ours, theirs, cuts in zip(adapted, source, windows, strict=True):
        with torch.no_grad():
            kept = _cut(unit_channels(theirs), cuts)
        mine = _cut(unit_channels(ours), cuts)
        total = total + _Disturbance.apply(mine, kept)  # type: ignore[no-untyped-call]
    return total


def _cut(feature: Tensor, windows: int) -> Tensor:
    """[N, C, S, S] -> [N, K, C, P]."""
    count, channels, side, _ = feature.shape
    part = side // windows
    split = feature.reshape(count, channels, windows, part, windows, part)
    return split.permute(0, 2, 4, 1, 3, 5).reshape(count, windows * windows, channels, part * part)


class _Disturbance(torch.autograd.Function):
    """One layer's loss of [N, K, C, P] unit vectors; the gradient is made in the forward pass.

    The loss is a scalar, so its gradient is known up to a factor as soon as a block is: making it at once
    saves the second computation of every logit that recomputing in backward would cost.
    """

    @staticmethod
    def forward(ctx: Any, adapted: Tensor, source: Tensor) -> Tensor:
        count, cuts, _, places = adapted.shape
        scale = 1.0 / (count * (count - 1) // 2 * cuts * places)
        slope = torch.zeros_like(adapted) if ctx.needs_input_grad[0] else None
        total = adapted.new_zeros(())
        block = _BLOCK.get(adapted.device.type, _BLOCK["cpu"])
        with full_precision(adapted.device):
            for j in range(count - 1):
                row = (count - 1 - j) * places
                step = max(1, block // (row * places))
                rows = max(1, block // (row * step))
                for at in range(0, cuts, step):
                    some = slice(at, at + step)
                    part = None if slope is None else slope[:, some]
                    for start in range(0, places, rows):
                        tile = slice(start, start + rows)
                        total += _rows(adapted[:, some], source[:, some], j, tile, part)
        ctx.slope = None if slope is None else slope.mul_(scale)
        return total * scale

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None]:
        return ctx.slope * upstream, None


def _rows(adapted: Tensor, source: Tensor, j: int, rows: slice, slope: Tensor | None) -> Tensor:
    """Sum of |adapted - source| over rows x of picture j against every later picture; adds to slope."""
    ours, theirs = _softmaxed(adapted, j, rows), _softmaxed(source, j, rows)
    theirs.sub_(ours)
    total = theirs.abs().sum()
    if slope is not None:
        # d|ours - theirs| / d logits, through the softmax: ours * (sign - sum over y of ours * sign).
        sign = theirs.sign_().neg_()
        mean = (ours * sign).sum(-1, keepdim=True)
        logits = sign.sub_(mean).mul_(ours)
        slope[j][..., rows] += (adapted[j + 1 :] @ logits.mT).sum(0)
        slope[j + 1 :] += adapted[j][..., rows] @ logits
    return total


def _softmaxed(vectors: Tensor, j: int, rows: slice) -> Tensor:
    """[M, K, R, P], softmax over P; no maximum is taken off, the logits are cosines."""
    powers = (vectors[j][..., rows].mT @ vectors[j + 1 :]).exp_()
    return powers.div_(powers.sum(-1, keepdim=True))


def disturbance_plain(adapted: Sequence[Tensor], source: Sequence[Tensor], windows: Sequence[int]) -> Tensor:
    """`disturbance` read literally: every pair's whole softmaxed correlation, differentiated by autograd."""
    _check(adapted, source, windows)
    terms = []
    for ours, theirs, cuts in zip(adapted, source, windows, strict=True):
        pairs = _pairs_plain(ours, cuts) - _pairs_plain(theirs.detach(), cuts)
        terms.append(pairs.abs().sum(-1).mean())
    return torch.stack(terms).sum()


def _pairs_plain(feature: Tensor, windows: int) -> Tensor:
    """[pairs, K, P, P]."""
    vectors = _cut(normalize(feature, dim=1), windows)
    count = len(vectors)
    pairs = [vectors[j].mT @ vectors[k] for j in range(count) for k in range(j + 1, count)]
    return torch.stack(pairs).softmax(-1)


def disturbance_sliding(adapted: Sequence[Tensor], source: Sequence[Tensor], widths: Sequence[int]) -> Tensor:
    """The paper's sliding window: position (x, y) of picture j against the offsets around it in picture k.

    adapted, source: per layer [N, C, H, W], N >= 2; the source carries no gradient. widths: per layer, delta:
    offsets (u, v) with |u|, |v| < delta / 2; offsets that leave the map do not take part in the softmax.
    Sum over layers of the mean over pairs and positions of the sum over offsets of |adapted - source|.
    Xiao et al. 2022; the paper sums over positions, and gives no delta. Keeps [offsets, H, W] per pair
    instead of delta^2 copies of the features.
    """
    check_pairs(adapted, source)
    terms = []
    for ours, theirs, width in zip(adapted, source, widths, strict=True):
        with torch.no_grad():
            kept = _sliding(unit_channels(theirs), width)
        terms.append((_sliding(unit_channels(ours), width) - kept).abs().sum(1).mean())
    return torch.stack(terms).sum()


def _sliding(vectors: Tensor, width: int) -> Tensor:
    """[N, C, H, W] -> [pairs, offsets, H, W], softmax over the offsets."""
    count, _, height, across = vectors.shape
    reach = (width - 1) // 2
    wide = pad(vectors, (reach, reach, reach, reach))
    inside = pad(vectors.new_ones(1, height, across), (reach, reach, reach, reach))
    pairs = []
    for j in range(count - 1):
        logits = []
        for u in range(2 * reach + 1):
            for v in range(2 * reach + 1):
                shifted = wide[j + 1 :, :, u : u + height, v : v + across]
                product = (vectors[j] * shifted).sum(1)
                outside = inside[:, u : u + height, v : v + across] == 0
                logits.append(product.masked_fill(outside, -torch.inf))
        pairs.append(torch.stack(logits, 1).softmax(1))
    return torch.cat(pairs)


def _check(adapted: Sequence[Tensor], source: Sequence[Tensor], windows: Sequence[int]) -> None:
    check_pairs(adapted, source)
    for feature, cuts in zip(adapted, windows, strict=True):
        if len(feature) < 2:
            raise ValueError("disturbance correlation compares at least 2 pictures; the features hold 1")
        if cuts < 1 or feature.shape[-1] % cuts or feature.shape[-2] != feature.shape[-1]:
            raise ValueError(
                f"{tuple(feature.shape[2:])} positions cannot be cut into {cuts} by {cuts} windows"
            )
