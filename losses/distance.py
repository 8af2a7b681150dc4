"""Distance consistency of CDC: pictures keep their distances to each other.

N latents (the method's own group, 4 in the release), features [N, C, H, W] of one layer.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, softmax

from losses.correlation import at_least_float32, full_precision

Direction = Literal["forward", "reverse"]
Features = Sequence[Tensor | None]
_LEAST_NORM = 1e-8


def distance_consistency(
    adapted: Features, source: Features, layers: Tensor, direction: Direction = "forward"
) -> Tensor:
    """KL between the softmaxed cosine similarities of the source's and the adapted features. Scalar.

    adapted, source: per layer [N, ...], same latents row by row; entries that no row drew may be None, and
    entries beyond the largest drawn layer may be missing. The source carries no gradient.
    layers: [N] integers, the layer in which row b is compared with all other rows; keep it on the CPU.
    Row b: p_b = softmax over the N - 1 others, temperature 1, of cos(f_b, f_j); cosine over all of C H W.
    Elementwise mean over the N (N - 1) entries, as in the release: 1 / (N - 1) of the mean over rows.
    direction: "forward" is KL(source || adapted), the release; "reverse" is KL(adapted || source), the paper.
    Ojha et al. 2021, Eq. 2-3. The paper's sum over layers is one call per layer with a constant `layers`.
    """
    drawn = _checked(adapted, source, layers)
    target_log = _log_rows(adapted, drawn)
    with torch.no_grad():
        source_log = _log_rows(source, drawn)
    if direction == "forward":
        return (source_log.exp() * (source_log - target_log)).mean()
    if direction == "reverse":
        return (target_log.exp() * (target_log - source_log)).mean()
    raise ValueError(f"direction is {direction!r}; expected 'forward' or 'reverse'")


def _log_rows(features: Features, drawn: list[int]) -> Tensor:
    """[N, N - 1] log-softmax of each row's cosines; one Gram matrix per distinct layer."""
    similarities = {layer: _cosines(features[layer]) for layer in sorted(set(drawn))}
    rows = torch.stack([similarities[layer][b] for b, layer in enumerate(drawn)])
    count = len(drawn)
    others = ~torch.eye(count, dtype=torch.bool, device=rows.device)
    return rows[others].view(count, count - 1).log_softmax(1)


def _cosines(feature: Tensor | None) -> Tensor:
    """[N, ...] -> [N, N] cosines, each norm held above 1e-8, accumulated in float32 or wider."""
    assert feature is not None  # _checked has seen it
    vectors = at_least_float32(feature).flatten(1)
    with full_precision(vectors.device):
        gram = vectors @ vectors.T
    scale = gram.diagonal().clamp_min(_LEAST_NORM**2).rsqrt()
    return gram * scale[:, None] * scale[None, :]


def _checked(adapted: Features, source: Features, layers: Tensor) -> list[int]:
    """The drawn layers as numbers; ValueError if a row has no features in its layer."""
    drawn: list[int] = layers.tolist()
    if len(drawn) < 2:
        raise ValueError(f"distance consistency compares at least 2 pictures; layers names {len(drawn)}")
    for layer in drawn:
        for name, features in (("adapted", adapted), ("source", source)):
            found = features[layer] if 0 <= layer < len(features) else None
            if found is None or len(found) != len(drawn):
                held = "none" if found is None else f"those of {len(found)} pictures"
                raise ValueError(
                    f"layer {layer} was drawn for {len(drawn)} pictures, but {name} holds {held}"
                )
    return drawn


def distance_consistency_plain(
    adapted: Features, source: Features, layers: Tensor, direction: Direction = "forward"
) -> Tensor:
    """`distance_consistency` as the release computes it, pair by pair."""
    drawn = _checked(adapted, source, layers)
    target = _rows_plain(adapted, drawn)
    kept = _rows_plain(source, drawn).detach()
    if direction == "forward":
        return (kept * (kept.log() - target.log())).mean()
    return (target * (target.log() - kept.log())).mean()


def _rows_plain(features: Features, drawn: list[int]) -> Tensor:
    rows = []
    for b, layer in enumerate(drawn):
        feature = features[layer]
        assert feature is not None
        cosines = [
            cosine_similarity(feature[b].reshape(-1), feature[j].reshape(-1), dim=0, eps=_LEAST_NORM)
            for j in range(len(drawn))
            if j != b
        ]
        rows.append(softmax(torch.stack(cosines), dim=0))
    return torch.stack(rows)
