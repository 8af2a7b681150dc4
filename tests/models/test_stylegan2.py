"""The quick StyleGAN2 against the literal one, in float64."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from models.stylegan2 import Discriminator, Generator, Shape
from tests.references import stylegan2_plain as plain

ODD32 = Shape(32, {4: 7, 8: 5, 16: 9, 32: 3}, 11, 3)
ODD64 = Shape(64, {4: 5, 8: 6, 16: 3, 32: 7, 64: 4}, 6, 2)
CASES = [(ODD32, 4), (ODD32, 8), (ODD64, 4), (ODD64, 8)]
EXACT, GRADIENT = 1e-10, 1e-8

Pair = tuple[Generator, Discriminator]
Weights = dict[str, Tensor]


def randomise(module: nn.Module) -> None:
    """Nothing at its first value: noise strengths and biases are zero there and would hide a mistake."""
    for name, parameter in module.named_parameters():
        if name.endswith(("bias", "noise.weight")):
            parameter.data.add_(torch.randn_like(parameter) * 0.5)


def pair(shape: Shape) -> Pair:
    torch.manual_seed(shape.size)
    generator, discriminator = Generator(shape), Discriminator(shape)
    for module in (generator, discriminator):
        randomise(module)
        module.double()
    return generator, discriminator


def weights(module: nn.Module) -> Weights:
    """The state dict, copied; parameters require gradients."""
    trained = dict(module.named_parameters())
    return {k: v.detach().clone().requires_grad_(k in trained) for k, v in module.state_dict().items()}


def drawn(shape: Shape, batch: int) -> tuple[Tensor, list[Tensor]]:
    """z [B, D], and fresh noise maps."""
    rng = torch.Generator().manual_seed(batch)
    z = torch.randn(batch, shape.style_dim, generator=rng, dtype=torch.float64)
    maps = [
        torch.randn(batch, 1, side, side, generator=rng, dtype=torch.float64) for side in shape.noise_sides
    ]
    return z, maps


def spread(w: Tensor, layers: int) -> Tensor:
    """[B, L, D], every layer a little different, so that a wrong index shows."""
    factor = torch.linspace(0.5, 1.5, layers, dtype=w.dtype)
    return w[:, None] * factor[None, :, None]


def equal(ours: Tensor, theirs: Tensor, tolerance: float = EXACT) -> None:
    assert ours.shape == theirs.shape
    apart = (ours - theirs).abs().max() / theirs.abs().max().clamp_min(1e-12)
    assert apart < tolerance, f"apart by {apart:.1e} of the largest value"


def gradients_equal(module: nn.Module, ours: Tensor, p: Weights, theirs: Tensor) -> None:
    """Of a loss with respect to every parameter, by name."""
    names = [name for name, _ in module.named_parameters()]
    mine = torch.autograd.grad(ours, list(module.parameters()), retain_graph=True, materialize_grads=True)
    other = torch.autograd.grad(theirs, [p[n] for n in names], retain_graph=True, materialize_grads=True)
    whole = max(float(g.abs().max()) for g in other)
    for name, a, b in zip(names, mine, other, strict=True):
        scale = max(float(b.abs().max()), whole * 1e-6)
        assert float((a - b).abs().max()) < GRADIENT * scale, name


@pytest.mark.parametrize(("shape", "batch"), CASES)
def test_pictures_and_every_feature_equal_the_literal_network(shape: Shape, batch: int) -> None:
    generator, _ = pair(shape)
    z, noise = drawn(shape, batch)
    p = weights(generator)
    w = generator.mapping(z)
    equal(w, plain.mapping(z, p))
    for maps in (noise, None):
        ours = generator.synthesis(spread(w, shape.layers), maps)
        stored = [p[f"noises.noise_{i}"] for i in range(len(shape.noise_sides))]
        picture, features = plain.synthesis(spread(w, shape.layers), maps or stored, p)
        equal(ours.picture, picture)
        assert len(ours.features) == len(features) == shape.layers - 1
        for a, b in zip(ours.features, features, strict=True):
            equal(a, b)


@pytest.mark.parametrize(("shape", "batch"), CASES)
def test_features_alone_are_those_of_the_whole_pass(shape: Shape, batch: int) -> None:
    generator, _ = pair(shape)
    z, noise = drawn(shape, batch)
    styles = spread(generator.mapping(z), shape.layers)
    whole = generator.synthesis(styles, noise).features
    for last in (0, 1, shape.layers - 2):
        some = generator.features(styles, last, noise)
        assert len(some) == last + 1
        assert all(torch.equal(a, b) for a, b in zip(some, whole, strict=False))


@pytest.mark.parametrize(("shape", "batch"), CASES)
def test_logits_and_every_tap_equal_the_literal_network(shape: Shape, batch: int) -> None:
    _, discriminator = pair(shape)
    pictures = torch.randn(batch, 3, shape.size, shape.size, dtype=torch.float64)
    logits, inside = plain.discriminator(pictures, weights(discriminator))
    equal(discriminator(pictures), logits)
    for index, tap in enumerate(discriminator.taps):
        found = discriminator.tap(pictures, index)
        assert found.shape == (batch, tap.channels, tap.side, tap.side)
        equal(found, inside[tap.block + 1, tap.conv])


@pytest.mark.parametrize(("shape", "batch"), CASES)
def test_gradients_of_the_logistic_loss_equal_in_both_networks(shape: Shape, batch: int) -> None:
    generator, discriminator = pair(shape)
    z, noise = drawn(shape, batch)
    g, d = weights(generator), weights(discriminator)
    styles = spread(generator.mapping(z), shape.layers)
    ours = softplus(-discriminator(generator.synthesis(styles, noise).picture)).mean()
    picture, _ = plain.synthesis(spread(plain.mapping(z, g), shape.layers), noise, g)
    theirs = softplus(-plain.discriminator(picture, d)[0]).mean()
    gradients_equal(generator, ours, g, theirs)
    gradients_equal(discriminator, ours, d, theirs)


def slope(logits: Tensor, pictures: Tensor) -> Tensor:
    (gradient,) = torch.autograd.grad(logits.sum(), pictures, create_graph=True)
    return gradient.square().sum(dim=(1, 2, 3)).mean()


@pytest.mark.parametrize(("shape", "batch"), CASES)
def test_gradients_of_r1_equal_through_the_second_derivative(shape: Shape, batch: int) -> None:
    _, discriminator = pair(shape)
    d = weights(discriminator)
    pictures = torch.randn(batch, 3, shape.size, shape.size, dtype=torch.float64, requires_grad=True)
    ours = slope(discriminator(pictures), pictures)
    theirs = slope(plain.discriminator(pictures, d)[0], pictures)
    equal(ours.detach(), theirs.detach())
    gradients_equal(discriminator, ours, d, theirs)


def test_gradients_of_r1_on_a_tap_equal_through_the_second_derivative() -> None:
    _, discriminator = pair(ODD64)
    d = weights(discriminator)
    pictures = torch.randn(4, 3, 64, 64, dtype=torch.float64, requires_grad=True)
    for index, tap in enumerate(discriminator.taps):
        ours = slope(discriminator.tap(pictures, index).square(), pictures)
        theirs = slope(plain.discriminator(pictures, d)[1][tap.block + 1, tap.conv].square(), pictures)
        gradients_equal(discriminator, ours, d, theirs)


def stretch(styles: Tensor, draw: Callable[[Tensor], Tensor]) -> Tensor:
    """mean (|J^T y| - 1)^2 with one fixed direction."""
    picture = draw(styles)
    rng = torch.Generator().manual_seed(5)
    direction = torch.randn(picture.shape, generator=rng, dtype=picture.dtype) / math.sqrt(
        picture[0, 0].numel()
    )
    (j,) = torch.autograd.grad((picture * direction).sum(), styles, create_graph=True)
    return (j.square().sum(2).mean(1).sqrt() - 1).square().mean()


@pytest.mark.parametrize(("shape", "batch"), CASES)
def test_gradients_of_path_length_equal_through_the_second_derivative(shape: Shape, batch: int) -> None:
    generator, _ = pair(shape)
    z, noise = drawn(shape, batch)
    g = weights(generator)
    ours = stretch(
        spread(generator.mapping(z), shape.layers), lambda styles: generator.synthesis(styles, noise).picture
    )
    theirs = stretch(
        spread(plain.mapping(z, g), shape.layers), lambda styles: plain.synthesis(styles, noise, g)[0]
    )
    equal(ours.detach(), theirs.detach())
    gradients_equal(generator, ours, g, theirs)


def test_styles_change_at_the_crossover_and_stay_single_without_a_second() -> None:
    generator, _ = pair(ODD32)
    first, second = torch.randn(3, 11).double(), torch.randn(3, 11).double()
    assert torch.equal(generator.styles(first), first[:, None].expand(-1, ODD32.layers, -1))
    mixed = generator.styles(first, second, torch.tensor([1, 3, 7]))
    for row, crossover in enumerate((1, 3, 7)):
        for layer in range(ODD32.layers):
            assert torch.equal(mixed[row, layer], (first if layer < crossover else second)[row])


def test_truncation_moves_w_towards_the_mean() -> None:
    generator, _ = pair(ODD32)
    z, mean = torch.randn(2, 11).double(), torch.randn(11).double()
    w = mean + 0.5 * (generator.mapping(z) - mean)
    expected = generator.synthesis(generator.styles(w)).picture
    assert torch.equal(generator(z, psi=0.5, mean=mean), expected)
    assert torch.equal(generator(z, psi=1.0, mean=mean), generator(z))
    flat = generator(z, psi=0.0, mean=mean)
    equal(flat[:1], flat[1:])


@pytest.mark.parametrize("batch", [1, 2, 3, 4, 8, 12])
def test_samples_are_compared_in_groups_of_four_dealt_like_cards(batch: int) -> None:
    _, discriminator = pair(ODD32)
    pictures = torch.randn(batch, 3, 32, 32, dtype=torch.float64)
    equal(discriminator(pictures), plain.discriminator(pictures, weights(discriminator))[0])
    groups = batch // 4
    if groups > 1:
        alone = torch.cat([discriminator(pictures[t::groups]) for t in range(groups)])
        dealt = torch.cat([discriminator(pictures)[t::groups] for t in range(groups)])
        equal(dealt, alone)


def test_a_batch_that_has_no_whole_groups_is_refused() -> None:
    _, discriminator = pair(ODD32)
    with pytest.raises(ValueError, match="a batch of 6 cannot be split into groups of 4"):
        discriminator(torch.zeros(6, 3, 32, 32, dtype=torch.float64))
