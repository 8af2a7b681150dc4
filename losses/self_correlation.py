"""Self-correlation consistency of RSSA: what in a picture resembles what else in it.

N pictures, C channels, S side of a feature, q side of a window, P = q^2 its positions, G windows in work.
"""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import avg_pool2d, normalize, smooth_l1_loss

from losses.correlation import at_least_float32, average_2x2, check_pairs, full_precision, unit_channels
from losses.window_gap import window_gap

Similarity = Literal["pooled", "cosine", "unpooled"]
# Elements of the windows taken at once: small maps in one batch, large ones corner by corner.
_GATHER = {"cpu": 1 << 20, "cuda": 1 << 24}


def self_correlation(
    adapted: Sequence[Tensor], source: Sequence[Tensor], similarity: Similarity = "pooled"
) -> Tensor:
    """Smooth L1 (beta 1) between the Gram matrices of the source's and the adapted features' windows. Scalar.

    adapted, source: per layer [N, C, S, S], same latents row by row, S >= 8 and a multiple of 4; the source
    carries no gradient. similarity says which vectors are multiplied:
    "pooled": channel vectors of length 1, then averaged 2x2, as released: products are not cosines;
    "cosine": averaged 2x2, then of length 1, the paper's cosine of pooled neighbours;
    "unpooled": of length 1 at every position, the paper's form for layers that need no pooling.
    The map of these vectors is cut into 2x2 windows, and once more in its centre; sides are half the map's
    (S / 4 when pooled). Each layer adds the mean over N, the 4 windows, P and P, and the mean over N, P and P
    of the central one; layers are summed. Xiao et al. 2022; windows, means and beta as released (the paper
    sums over positions). Once differentiable; no P x P matrix is kept for backward.
    """
    check_pairs(adapted, source)
    total = adapted[0].new_zeros((), dtype=torch.promote_types(adapted[0].dtype, torch.float32))
    for ours, theirs in zip(adapted, source, strict=True):
        _check_side(ours)
        with torch.no_grad():
            kept = _vectors(theirs, similarity)
        mine = _vectors(ours, similarity)
        total = total + _Layer.apply(mine, kept)  # type: ignore[no-untyped-call]
    return total


def _vectors(feature: Tensor, similarity: Similarity) -> Tensor:
    """[N, C, S, S] -> the map whose vectors are multiplied; its side is S / 2 or, unpooled, S."""
    if similarity == "pooled":
        return average_2x2(unit_channels(feature))
    if similarity == "cosine":
        return unit_channels(average_2x2(at_least_float32(feature)))
    if similarity == "unpooled":
        return unit_channels(feature)
    raise ValueError(f"similarity is {similarity!r}; expected 'pooled', 'cosine' or 'unpooled'")


def _corners(side: int) -> list[tuple[int, int]]:
    """Upper left corners of the four tiles and of the central window of a map of this side."""
    half = side // 2
    return [(0, 0), (0, half), (half, 0), (half, half), (half // 2, half // 2)]


class _Layer(torch.autograd.Function):
    """One layer's loss of two maps [N, C, 2q, 2q]; the gradient is made in the forward pass.

    The loss is a scalar, so its gradient is known up to a factor as soon as a window is done: nothing has to
    be computed again in backward, and all that waits for it is one map. Windows are cut from shared maps.
    """

    @staticmethod
    def forward(ctx: Any, adapted: Tensor, source: Tensor) -> Tensor:
        count, channels, side, _ = adapted.shape
        half, places = side // 2, (side // 2) ** 2
        slope = torch.zeros_like(adapted) if ctx.needs_input_grad[0] else None
        total = adapted.new_zeros(())
        corners = _corners(side)
        shares = [0.25 / (count * places**2)] * 4 + [1.0 / (count * places**2)]
        room = _GATHER.get(adapted.device.type, _GATHER["cpu"])
        step = max(1, room // (count * channels * places))
        with full_precision(adapted.device):
            for at in range(0, len(corners), step):
                some = corners[at : at + step]
                ours, theirs = _cut(adapted, some, half), _cut(source, some, half)
                gaps, slopes = window_gap(ours, theirs, slope is not None)
                for i, (row, column) in enumerate(some):
                    share, part = shares[at + i], slice(i * count, (i + 1) * count)
                    total += share * gaps[part].sum()
                    if slope is not None and slopes is not None:
                        piece = slopes[part].view(count, channels, half, half)
                        slope[:, :, row : row + half, column : column + half].add_(piece, alpha=share)
        ctx.slope = slope
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None]:
        return ctx.slope * upstream, None


def _cut(vectors: Tensor, corners: Sequence[tuple[int, int]], half: int) -> Tensor:
    """[N, C, 2q, 2q] -> [G, C, P], corner by corner, the pictures of a corner together."""
    pieces = [vectors[:, :, row : row + half, column : column + half] for row, column in corners]
    return torch.stack(pieces).flatten(0, 1).flatten(2)


def self_correlation_plain(
    adapted: Sequence[Tensor], source: Sequence[Tensor], similarity: Similarity = "pooled"
) -> Tensor:
    """`self_correlation` read literally: every P x P matrix whole, differentiated by autograd."""
    check_pairs(adapted, source)
    terms = []
    for ours, theirs in zip(adapted, source, strict=True):
        _check_side(ours)
        pairs = [_vectors_plain(x, similarity) for x in (ours, theirs.detach())]
        half = pairs[0].shape[-1] // 2
        for corners in (_corners(2 * half)[:4], _corners(2 * half)[4:]):
            mine, kept = (_grams_plain(x, corners, half) for x in pairs)
            terms.append(smooth_l1_loss(mine, kept))
    return torch.stack(terms).sum()


def _vectors_plain(feature: Tensor, similarity: Similarity) -> Tensor:
    if similarity == "pooled":
        return avg_pool2d(normalize(feature, dim=1), 2)
    return normalize(avg_pool2d(feature, 2) if similarity == "cosine" else feature, dim=1)


def _grams_plain(vectors: Tensor, corners: Sequence[tuple[int, int]], half: int) -> Tensor:
    windows = _cut(vectors, corners, half)
    return windows.mT @ windows


def _check_side(feature: Tensor) -> None:
    height, width = feature.shape[-2:]
    if height != width or height < 8 or height % 4:
        raise ValueError(
            f"a feature of {height}x{width} positions has no windows; its side must be 8, 12, 16..."
        )
