"""The consistency terms of RSSA and CDC, and RSSA's projection, in their released form.

`N` pictures of a group, `C` channels, `S` side, `q` side of a window, `P` its positions, `L` style layers,
`D` style dimension, `n` inverted pictures.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from models.projector import Projector, orthonormal_bases


def unfolded(x: Tensor, side: int) -> Tensor:
    """[M, C, S, S] -> [M, windows, C, P]: an unfold and a permuted copy of it."""
    count, channels = x.shape[:2]
    windows = x.unfold(2, side, side).unfold(3, side, side).contiguous()
    return windows.permute(0, 2, 3, 1, 4, 5).contiguous().view(count, -1, channels, side * side)


def gram_gap(windows: Tensor) -> Tensor:
    """Source and target as halves of [2N, windows, C, P]; mean smooth L1 of their P x P matrices."""
    grams = windows.transpose(2, 3) @ windows
    before, after = grams.chunk(2)
    return F.smooth_l1_loss(before, after)


def self_correlation(adapted: Sequence[Tensor], source: Sequence[Tensor]) -> Tensor:
    """Per layer the mean over four windows and the mean over the central one, summed. Scalar."""
    total = adapted[0].new_zeros(())
    for after, before in zip(adapted, source, strict=True):
        both = F.avg_pool2d(F.normalize(torch.cat([before, after]), dim=1), 2)
        side = both.shape[-1] // 2
        total = total + gram_gap(unfolded(both, side))
        edge = side // 2
        total = total + gram_gap(unfolded(both[:, :, edge : edge + side, edge : edge + side], side))
    return total


def disturbance(adapted: Sequence[Tensor], source: Sequence[Tensor], cuts: Sequence[int]) -> Tensor:
    """Every pair's softmax over all windows at once, source and target together. Scalar.

    Per layer the mean |.| times P of each pair, summed over pairs; all layers by the number of pairs.
    """
    count = len(adapted[0])
    pairs = [(j, k) for j in range(count) for k in range(j + 1, count)]
    total = adapted[0].new_zeros(())
    for after, before, cut in zip(adapted, source, cuts, strict=True):
        both = F.normalize(torch.cat([before, after]), dim=1)
        windows = unfolded(both, both.shape[-1] // cut)
        for j, k in pairs:
            first, second = windows[[j, count + j]], windows[[k, count + k]]
            kept, moved = (first.transpose(2, 3) @ second).softmax(dim=3)
            total = total + (moved - kept.detach()).abs().mean() * windows.shape[3]
    return total / len(pairs)


def distance(adapted: Sequence[Tensor], source: Sequence[Tensor], layers: Sequence[int]) -> Tensor:
    """Row by row, pair by pair: KL(source || adapted), elementwise mean. Scalar."""
    kept: list[Tensor] = []
    moved: list[Tensor] = []
    for row, layer in enumerate(layers):
        for features, rows in ((source[layer], kept), (adapted[layer], moved)):
            cosines = [
                F.cosine_similarity(features[row].reshape(1, -1), features[other].reshape(1, -1))
                for other in range(len(layers))
                if other != row
            ]
            rows.append(torch.cat(cosines).softmax(0))
    return F.kl_div(torch.log(torch.stack(moved)), torch.stack(kept), reduction="none").mean()


class ReleasedProjector(Projector):
    """Layer by layer A (A^T A)^-1 A^T w, from the codes themselves."""

    codes: Tensor
    inverses: Tensor

    def __init__(self, codes: Tensor, alphas: Tensor) -> None:
        """codes [n, L, D], alphas [L]."""
        super().__init__(orthonormal_bases(codes), alphas)
        spans = codes.permute(1, 2, 0).contiguous()
        self.register_buffer("codes", spans)
        self.register_buffer("inverses", torch.linalg.inv(spans.transpose(1, 2) @ spans))

    def forward(self, styles: Tensor) -> Tensor:
        """[B, L, D] -> [B, L, D]."""
        drawn = []
        for layer, alpha in enumerate(self.alphas):
            w, span = styles[:, layer], self.codes[layer]
            inside = (span @ (self.inverses[layer] @ (span.T @ w.T))).T
            length = w.norm(dim=1, keepdim=True) / inside.norm(dim=1, keepdim=True)
            drawn.append(alpha * inside * length + (1 - alpha) * w)
        return torch.stack(drawn, 1)
