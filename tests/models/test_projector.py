"""Latent compression against least squares, layer by layer in float64."""

import pytest
import torch
from torch import Tensor

from models.projector import Projector, orthonormal_bases

LAYERS, DIM, COUNT = 5, 9, 3


def codes(count: int = COUNT) -> Tensor:
    rng = torch.Generator().manual_seed(1)
    return torch.randn(count, LAYERS, DIM, generator=rng, dtype=torch.float64)


def styles(batch: int = 4) -> Tensor:
    rng = torch.Generator().manual_seed(2)
    return torch.randn(batch, LAYERS, DIM, generator=rng, dtype=torch.float64)


def nearest(codes: Tensor, w: Tensor) -> Tensor:
    """The point of the span of codes [n, D] next to w [D], by the normal equations."""
    a = codes.t()
    return a @ torch.linalg.solve(a.t() @ a, a.t() @ w)


def test_styles_move_towards_the_span_at_their_old_length() -> None:
    alphas = torch.tensor([0.0, 0.3, 0.5, 0.85, 1.0], dtype=torch.float64)
    found = Projector.from_codes(codes(), alphas)(styles())
    for b, row in enumerate(styles()):
        for layer, w in enumerate(row):
            inside = nearest(codes()[:, layer], w)
            moved = inside * (w.norm() / inside.norm())
            expected = alphas[layer] * moved + (1 - alphas[layer]) * w
            torch.testing.assert_close(found[b, layer], expected, rtol=0, atol=1e-10)


def test_alpha_zero_changes_nothing_and_alpha_one_keeps_every_length() -> None:
    ones = torch.ones(LAYERS, dtype=torch.float64)
    torch.testing.assert_close(Projector.from_codes(codes(), 0 * ones)(styles()), styles())
    moved = Projector.from_codes(codes(), ones)(styles())
    torch.testing.assert_close(moved.norm(dim=-1), styles().norm(dim=-1))
    torch.testing.assert_close(Projector.from_codes(codes(), ones)(moved), moved)


def test_a_code_stays_where_it_is() -> None:
    ones = torch.ones(LAYERS, dtype=torch.float64)
    torch.testing.assert_close(Projector.from_codes(codes(), ones)(codes()), codes())


def test_bases_are_orthonormal_in_every_layer() -> None:
    bases = orthonormal_bases(codes())
    assert bases.shape == (LAYERS, DIM, COUNT)
    identity = torch.eye(COUNT, dtype=torch.float64).expand(LAYERS, -1, -1)
    torch.testing.assert_close(bases.mT @ bases, identity)


def test_equal_pictures_do_no_harm() -> None:
    ones = torch.ones(LAYERS, dtype=torch.float64)
    twice = torch.cat([codes(), codes()[:1]])
    torch.testing.assert_close(
        Projector.from_codes(twice, ones)(styles()), Projector.from_codes(codes(), ones)(styles())
    )


def test_one_picture_spans_a_line() -> None:
    ones = torch.ones(LAYERS, dtype=torch.float64)
    found = Projector.from_codes(codes(1), ones)(styles())
    direction = codes(1)[0] / codes(1)[0].norm(dim=-1, keepdim=True)
    torch.testing.assert_close((found * direction).sum(-1).abs(), styles().norm(dim=-1))


def test_more_pictures_than_dimensions_span_everything() -> None:
    ones = torch.ones(LAYERS, dtype=torch.float64)
    torch.testing.assert_close(Projector.from_codes(codes(DIM + 3), ones)(styles()), styles())


def test_a_style_at_right_angles_to_the_span_gives_no_nan() -> None:
    alphas = torch.ones(1)
    made = Projector.from_codes(torch.tensor([[[1.0, 0.0, 0.0]]]), alphas)
    assert bool(made(torch.tensor([[[0.0, 2.0, 0.0]]])).isfinite().all())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_bases_and_alphas_travel_in_the_state_dict(dtype: torch.dtype) -> None:
    alphas = torch.linspace(0, 1, LAYERS, dtype=dtype)
    made = Projector.from_codes(codes().to(dtype), alphas)
    state = made.state_dict()
    assert set(state) == {"bases", "alphas"}
    again = Projector(state["bases"], state["alphas"])
    assert torch.equal(again(styles().to(dtype)), made(styles().to(dtype)))
