"""Names, sizes and counts of StyleGAN2 against the published table."""

import pytest
import torch

from models.stylegan2 import Discriminator, Generator, Shape

ODD32 = Shape(32, {4: 7, 8: 5, 16: 9, 32: 3}, 11, 3)
ODD64 = Shape(64, {4: 5, 8: 6, 16: 3, 32: 7, 64: 4}, 6, 2)


def published(size: int, multiplier: int) -> Shape:
    """The widths of the published networks: 512 up to 32 px, then halved; multiplier 2 is config F."""
    high = {64: 256, 128: 128, 256: 64, 512: 32, 1024: 16}
    sides = [4 << i for i in range(size.bit_length() - 2)]
    return Shape(size, {s: 512 if s <= 32 else high[s] * multiplier for s in sides}, 512, 8)


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
