"""Distance consistency against loops in float64, by hand, and between its two forms."""

import math

import pytest
import torch

from losses.distance import distance_consistency, distance_consistency_plain

FORMS = [distance_consistency, distance_consistency_plain]


def features(seed: int, count: int = 4, dtype=torch.float64, grad: bool = False) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = [(3, 4, 4), (5, 4, 4), (2, 8, 8)]
    made = [torch.randn(count, *s, dtype=torch.float64, generator=generator).to(dtype) for s in shapes]
    return [x.requires_grad_(grad) for x in made]


def looped(adapted, source, layers, direction) -> float:
    def row(maps, b):
        vectors = [x.flatten().tolist() for x in maps[layers[b]].detach()]
        cosines = []
        for j in range(len(vectors)):
            if j != b:
                dot = sum(p * q for p, q in zip(vectors[b], vectors[j], strict=True))
                norms = math.sqrt(sum(p * p for p in vectors[b])) * math.sqrt(sum(q * q for q in vectors[j]))
                cosines.append(dot / norms)
        total = sum(math.exp(c) for c in cosines)
        return [math.exp(c) / total for c in cosines]

    value = 0.0
    for b in range(len(layers)):
        target, kept = row(adapted, b), row(source, b)
        pairs = zip(kept, target, strict=True) if direction == "forward" else zip(target, kept, strict=True)
        value += sum(p * (math.log(p) - math.log(q)) for p, q in pairs)
    return value / (len(layers) * (len(layers) - 1))


@pytest.mark.parametrize("direction", ["forward", "reverse"])
@pytest.mark.parametrize("form", FORMS)
def test_is_the_elementwise_mean_kl_of_the_loops(form, direction):
    adapted, source, layers = features(0), features(1), [2, 0, 1, 2]
    value = form(adapted, source, torch.tensor(layers), direction)
    assert value.item() == pytest.approx(looped(adapted, source, layers, direction), rel=1e-10)


def test_gradient_is_that_of_finite_differences_of_the_loops():
    adapted, source, layers = features(0, grad=True), features(1), [1, 0, 1, 1]
    distance_consistency(adapted, source, torch.tensor(layers)).backward()
    step = 1e-5
    for layer, at in ((0, (2, 1, 0, 3)), (1, (0, 4, 2, 2)), (1, (3, 0, 0, 0))):
        ends = []
        for sign in (1, -1):
            moved = [x.detach().clone() for x in adapted]
            moved[layer][at] += sign * step
            ends.append(looped(moved, source, layers, "forward"))
        slope = (ends[0] - ends[1]) / (2 * step)
        assert adapted[layer].grad[at].item() == pytest.approx(slope, rel=1e-5, abs=1e-10)
    assert adapted[2].grad is None


@pytest.mark.parametrize("direction", ["forward", "reverse"])
@pytest.mark.parametrize("layers", [[2, 2, 2, 2], [0, 1, 2, 1]])
def test_both_forms_have_one_value_and_one_gradient(layers, direction):
    found = []
    for form in FORMS:
        adapted = features(0, grad=True)
        value = form(adapted, features(1), torch.tensor(layers), direction)
        slopes = torch.autograd.grad(value, adapted, materialize_grads=True)
        found.append((value, slopes))
    assert abs(found[0][0] - found[1][0]) < 1e-12
    for fast, plain in zip(found[0][1], found[1][1], strict=True):
        assert torch.allclose(fast, plain, rtol=1e-10, atol=1e-14)


def test_three_pictures_by_hand():
    # Source: all alike, so each row is (1/2, 1/2). Adapted: 0 and 1 alike, 2 at right angles to both.
    source = [torch.ones(3, 2, 1, 1)]
    adapted = [torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]).view(3, 2, 1, 1)]
    near, far = math.e / (1 + math.e), 1 / (1 + math.e)
    row = 0.5 * math.log(0.5 / near) + 0.5 * math.log(0.5 / far)
    value = distance_consistency(adapted, source, torch.tensor([0, 0, 0]))
    assert value.item() == pytest.approx(2 * row / 6, rel=1e-5)


def test_equal_features_cost_nothing_and_the_scale_of_a_picture_does_not_matter():
    source = features(1)
    scale = torch.tensor([0.5, 1.0, 3.0, 20.0]).double()[:, None, None, None]
    scaled = [x * scale for x in source]
    assert abs(distance_consistency(scaled, source, torch.tensor([0, 1, 2, 1]))) < 1e-14


def test_layers_that_no_row_drew_may_be_missing():
    adapted, source = features(0), features(1)
    layers = torch.tensor([1, 1, 0, 0])
    whole = distance_consistency(adapted, source, layers)
    assert distance_consistency(adapted[:2], source[:2], layers) == whole
    layers = torch.tensor([1, 1, 1, 1])
    whole = distance_consistency(adapted, source, layers)
    assert distance_consistency([None, adapted[1]], [None, source[1], None], layers) == whole


def test_a_drawn_layer_that_is_missing_is_named():
    with pytest.raises(ValueError, match="layer 2 was drawn for 4 pictures, but source holds none"):
        distance_consistency(features(0), features(1)[:2], torch.tensor([0, 1, 2, 1]))


def test_the_source_gets_no_gradient():
    adapted, source = features(0, grad=True), features(1, grad=True)
    distance_consistency(adapted, source, torch.tensor([0, 1, 2, 1])).backward()
    assert all(x.grad is None for x in source)


def test_half_precision_features_are_correlated_in_single():
    adapted, source = features(0, dtype=torch.bfloat16), features(1, dtype=torch.bfloat16)
    value = distance_consistency(adapted, source, torch.tensor([0, 1, 2, 1]))
    wide = [x.double() for x in adapted], [x.double() for x in source]
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(
        distance_consistency(*wide, torch.tensor([0, 1, 2, 1])).item(), rel=1e-4
    )
