"""The quick StyleGAN2 against the literal one, in float64; its names, sizes and counts against the published table."""

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


def published(size: int, multiplier: int) -> Shape:
    """The widths of the published networks: 512 up to 32 px, then halved; multiplier 2 is config F."""
    high = {64: 256, 128: 128, 256: 64, 512: 32, 1024: 16}
    sides = [4 << i for i in range(size.bit_length() - 2)]
    return Shape(size, {s: 512 if s <= 32 else high[s] * multiplier for s in sides}, 512, 8)


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


@pytest.mark.parametrize(
    ("size", "multiplier", "generator", "discriminator", "noises"),
    [
        (256, 2, 30_034_338, 28_864_129, 174_736),
        (256, 1, 24_767_458, 24_001_089, 174_736),
        (512, 2, 30_276_583, 28_982_849, 699_024),
        (1024, 2, 30_370_060, 29_012_513, 2_796_176),
        (1024, 1, 24_900_764, 24_038_161, 2_796_176),
    ],
)
def test_the_published_sizes_have_the_published_numbers_of_parameters(
    size: int, multiplier: int, generator: int, discriminator: int, noises: int
) -> None:
    with torch.device("meta"):
        g, d = Generator(published(size, multiplier)), Discriminator(published(size, multiplier))
    assert sum(p.numel() for p in g.parameters()) == generator
    assert sum(p.numel() for p in g.style.parameters()) == 2_101_248
    assert sum(p.numel() for p in d.parameters()) == discriminator
    assert sum(n.numel() for n in g.fixed_noise()) == noises


def generator_table(widths: dict[int, int], dim: int, depth: int) -> dict[str, list[int]]:
    """Names and shapes as the widely used PyTorch layout has them; blur kernels are rebuilt, not stored."""

    def layer(name: str, inputs: int, outputs: int) -> dict[str, list[int]]:
        return {
            f"{name}.conv.weight": [1, outputs, inputs, 3, 3],
            f"{name}.conv.modulation.weight": [inputs, dim],
            f"{name}.conv.modulation.bias": [inputs],
            f"{name}.noise.weight": [1],
            f"{name}.activate.bias": [outputs],
        }

    def colour(name: str, inputs: int) -> dict[str, list[int]]:
        return {
            f"{name}.conv.weight": [1, 3, inputs, 1, 1],
            f"{name}.conv.modulation.weight": [inputs, dim],
            f"{name}.conv.modulation.bias": [inputs],
            f"{name}.bias": [1, 3, 1, 1],
        }

    table = {f"style.{i}.weight": [dim, dim] for i in range(1, depth + 1)}
    table |= {f"style.{i}.bias": [dim] for i in range(1, depth + 1)}
    table |= {"input.input": [1, widths[4], 4, 4], "noises.noise_0": [1, 1, 4, 4]}
    table |= layer("conv1", widths[4], widths[4]) | colour("to_rgb1", widths[4])
    for b, side in enumerate(sorted(widths)[1:]):
        table |= layer(f"convs.{2 * b}", widths[side // 2], widths[side])
        table |= layer(f"convs.{2 * b + 1}", widths[side], widths[side])
        table |= colour(f"to_rgbs.{b}", widths[side])
        table |= {f"noises.noise_{i}": [1, 1, side, side] for i in (2 * b + 1, 2 * b + 2)}
    return table


def discriminator_table(widths: dict[int, int]) -> dict[str, list[int]]:
    sides = sorted(widths, reverse=True)
    table = {"convs.0.0.weight": [widths[sides[0]], 3, 1, 1], "convs.0.1.bias": [widths[sides[0]]]}
    for k, side in enumerate(sides[:-1], start=1):
        inputs, outputs = widths[side], widths[side // 2]
        table |= {
            f"convs.{k}.conv1.0.weight": [inputs, inputs, 3, 3],
            f"convs.{k}.conv1.1.bias": [inputs],
            f"convs.{k}.conv2.1.weight": [outputs, inputs, 3, 3],
            f"convs.{k}.conv2.2.bias": [outputs],
            f"convs.{k}.skip.1.weight": [outputs, inputs, 1, 1],
        }
    last = widths[4]
    table |= {"final_conv.0.weight": [last, last + 1, 3, 3], "final_conv.1.bias": [last]}
    table |= {"final_linear.0.weight": [last, last * 16], "final_linear.0.bias": [last]}
    return table | {"final_linear.1.weight": [1, last], "final_linear.1.bias": [1]}


@pytest.mark.parametrize("shape", [ODD32, ODD64, published(256, 2)])
def test_state_dicts_have_the_published_names_and_shapes(shape: Shape) -> None:
    with torch.device("meta"):
        g, d = Generator(shape), Discriminator(shape)
    found = {name: list(value.shape) for name, value in g.state_dict().items()}
    assert found == generator_table(dict(shape.widths), shape.style_dim, shape.mapping_layers)
    assert {n: list(v.shape) for n, v in d.state_dict().items()} == discriminator_table(dict(shape.widths))


@pytest.mark.parametrize(
    ("size", "where"),
    [
        (32, [(0, 1, 32), (0, 2, 16), (1, 1, 16)]),
        (64, [(0, 2, 32), (1, 1, 32), (1, 2, 16), (2, 1, 16)]),
        (256, [(2, 2, 32), (3, 1, 32), (3, 2, 16), (4, 1, 16)]),
    ],
)
def test_patch_heads_read_sides_32_and_16_before_the_skip_is_added(
    size: int, where: list[tuple[int, int, int]]
) -> None:
    with torch.device("meta"):
        taps = Discriminator(published(size, 2)).taps
    assert [(tap.block, tap.conv, tap.side) for tap in taps] == where
    assert {tap.channels for tap in taps} == {512}


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


@pytest.mark.parametrize(
    ("size", "widths", "dim", "depth", "sentence"),
    [
        (48, {4: 1, 8: 1, 16: 1, 32: 1}, 4, 1, "size 48: expected a power of two from 32 to 1024"),
        (16, {4: 1, 8: 1, 16: 1}, 4, 1, "size 16: expected a power of two from 32 to 1024"),
        (
            32,
            {4: 1, 8: 1, 32: 1},
            4,
            1,
            r"widths are given for \[4, 8, 32\], expected exactly \[4, 8, 16, 32\]",
        ),
        (32, {4: 1, 8: 1, 16: 0, 32: 1}, 4, 1, "widths, style_dim and mapping_layers must be at least 1"),
        (32, {4: 1, 8: 1, 16: 1, 32: 1}, 0, 1, "widths, style_dim and mapping_layers must be at least 1"),
    ],
)
def test_a_shape_that_cannot_be_built_is_refused_in_one_sentence(
    size: int, widths: dict[int, int], dim: int, depth: int, sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        Shape(size, widths, dim, depth)


def test_a_shape_survives_json() -> None:
    assert Shape.from_dict(ODD64.as_dict()) == ODD64
    assert ODD64.layers == 10
    assert ODD64.noise_sides == [4, 8, 8, 16, 16, 32, 32, 64, 64]
