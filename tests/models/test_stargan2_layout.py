"""Names, sizes and counts of StarGAN v2 against the published table; layouts and networks out of state dicts."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from models.stargan2 import (
    Discriminator,
    Generator,
    Layout,
    MappingNetwork,
    StyleEncoder,
)

TINY = Layout(32, 3, style_dim=5, latent_dim=3, hidden_dim=6, base=2**8, widest=16, high_pass=0.75)

State = dict[str, dict[str, Tensor]]
Table = dict[str, list[int]]


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("size", "without", "high_pass", "encoders", "discriminators"),
    [
        (32, 28_740_099, 38_314_499, (18_433_664, 18_466_496), (18_369_026, 18_369_539)),
        (64, 32_634_883, 42_209_283, (20_327_808, 20_360_640), (20_263_170, 20_263_683)),
        (128, 33_632_003, 43_206_403, (20_799_744, 20_832_576), (20_735_106, 20_735_619)),
        (256, 33_892_995, 43_467_395, (20_916_928, 20_949_760), (20_852_290, 20_852_803)),
        (512, 33_964_099, 43_538_499, (20_945_824, 20_978_656), (20_881_186, 20_881_699)),
    ],
)
def test_the_published_sizes_have_the_published_numbers_of_parameters(
    size: int, without: int, high_pass: int, encoders: tuple[int, int], discriminators: tuple[int, int]
) -> None:
    with torch.device("meta"):
        for domains, mapping in ((2, 2_438_272), (3, 3_259_072)):
            layout = Layout(size, domains)
            assert parameters(Generator(layout)) == without
            assert parameters(Generator(replace(layout, high_pass=1.0))) == high_pass
            assert parameters(MappingNetwork(layout)) == mapping
            assert parameters(StyleEncoder(layout)) == encoders[domains - 2]
            assert parameters(Discriminator(layout)) == discriminators[domains - 2]


def test_what_is_trained_for_faces_and_for_animals_is_as_large_as_published() -> None:
    with torch.device("meta"):
        for layout, whole in ((Layout(256, 2, high_pass=1.0), 87_674_885), (Layout(256, 3), 78_954_630)):
            kinds = (Generator, MappingNetwork, StyleEncoder, Discriminator)
            assert sum(parameters(kind(layout)) for kind in kinds) == whole
        generator = Generator(Layout(256, 2, high_pass=1.0))
    shortcuts = [p for name, p in generator.named_parameters() if name.startswith("decode") and "1x1" in name]
    assert (len(shortcuts), sum(p.numel() for p in shortcuts)) == (3, 172_032)


def conv(name: str, inputs: int, outputs: int, side: int, bias: bool = True) -> Table:
    return {f"{name}.weight": [outputs, inputs, side, side]} | ({f"{name}.bias": [outputs]} if bias else {})


def linear(name: str, inputs: int, outputs: int) -> Table:
    return {f"{name}.weight": [outputs, inputs], f"{name}.bias": [outputs]}


def norm(name: str, channels: int) -> Table:
    return {f"{name}.weight": [channels], f"{name}.bias": [channels]}


def down_block(name: str, inputs: int, outputs: int) -> Table:
    table = conv(f"{name}.conv1", inputs, inputs, 3) | conv(f"{name}.conv2", inputs, outputs, 3)
    return table | (conv(f"{name}.conv1x1", inputs, outputs, 1, bias=False) if inputs != outputs else {})


def up_block(name: str, inputs: int, outputs: int, dim: int) -> Table:
    table = conv(f"{name}.conv1", inputs, outputs, 3) | conv(f"{name}.conv2", outputs, outputs, 3)
    table |= linear(f"{name}.norm1.fc", dim, 2 * inputs) | linear(f"{name}.norm2.fc", dim, 2 * outputs)
    return table | (conv(f"{name}.conv1x1", inputs, outputs, 1, bias=False) if inputs != outputs else {})


def generator_table(widths: list[int], dim: int, high_pass: bool) -> Table:
    """widths: from the full side down to the bottleneck."""
    pairs = list(pairwise(widths))
    flat = [(widths[-1], widths[-1])] * 2
    table = (
        conv("from_rgb", 3, widths[0], 3) | norm("to_rgb.0", widths[0]) | conv("to_rgb.2", widths[0], 3, 1)
    )
    for i, (inputs, outputs) in enumerate(pairs + flat):
        table |= down_block(f"encode.{i}", inputs, outputs)
        table |= norm(f"encode.{i}.norm1", inputs) | norm(f"encode.{i}.norm2", inputs)
    for i, (outputs, inputs) in enumerate(flat + pairs[::-1]):
        table |= up_block(f"decode.{i}", inputs, outputs, dim)
    return table | ({"hpf.filter": [3, 3]} if high_pass else {})


def trunk_table(stem: str, widths: list[int]) -> Table:
    """widths: from the full side down to 4."""
    table = conv(f"{stem}.0", 3, widths[0], 3)
    for i, (inputs, outputs) in enumerate(pairwise(widths), start=1):
        table |= down_block(f"{stem}.{i}", inputs, outputs)
    return table | conv(f"{stem}.{len(widths) + 1}", widths[-1], widths[-1], 4)


def mapping_table(latent: int, hidden: int, dim: int, domains: int) -> Table:
    table: Table = {}
    for i in (0, 2, 4, 6):
        table |= linear(f"shared.{i}", latent if i == 0 else hidden, hidden)
        for k in range(domains):
            table |= linear(f"unshared.{k}.{i}", hidden, dim if i == 6 else hidden)
    return table


def shapes(module: nn.Module) -> Table:
    return {name: list(value.shape) for name, value in module.state_dict().items()}


@pytest.mark.parametrize("folded", [False, True])
@pytest.mark.parametrize("domains", [2, 3])
@pytest.mark.parametrize(
    ("size", "high_pass", "inner", "trunk"),
    [
        (32, 0.0, [512, 512], [512] * 4),
        (32, 1.0, [512, 512, 512], [512] * 4),
        (64, 1.0, [256, 512, 512, 512], [256, 512, 512, 512, 512]),
        (256, 0.0, [64, 128, 256, 512, 512], [64, 128, 256, 512, 512, 512, 512]),
        (256, 1.0, [64, 128, 256, 512, 512, 512], [64, 128, 256, 512, 512, 512, 512]),
    ],
)
def test_state_dicts_have_the_published_names_and_shapes(
    size: int, high_pass: float, inner: list[int], trunk: list[int], domains: int, folded: bool
) -> None:
    layout = Layout(size, domains, high_pass=high_pass)
    with torch.device("meta"):
        assert shapes(Generator(layout, folded)) == generator_table(inner, 64, high_pass > 0)
        assert shapes(MappingNetwork(layout)) == mapping_table(16, 512, 64, domains)
        heads: Table = {}
        for k in range(domains):
            heads |= linear(f"unshared.{k}", 512, 64)
        assert shapes(StyleEncoder(layout, folded)) == trunk_table("shared", trunk) | heads
        head = conv(f"main.{len(trunk) + 3}", 512, domains, 1)
        assert shapes(Discriminator(layout, folded)) == trunk_table("main", trunk) | head


def test_names_at_256_px_are_those_that_the_published_files_are_known_to_hold() -> None:
    with torch.device("meta"):
        found = shapes(Generator(Layout(256, 2, high_pass=1.0)))
        style, real = shapes(StyleEncoder(Layout(256, 2))), shapes(Discriminator(Layout(256, 2)))
    assert found["from_rgb.weight"] == [64, 3, 3, 3]
    assert found["encode.0.conv2.weight"] == [128, 64, 3, 3]
    assert {name for name in found if name.startswith("decode") and "1x1" in name} == {
        f"decode.{i}.conv1x1.weight" for i in (4, 5, 6)
    }
    assert style["shared.8.weight"] == [512, 512, 4, 4]
    assert real["main.10.weight"] == [2, 512, 1, 1]


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"size": 48}, "size 48: expected a power of two from 32 to 1024"),
        ({"size": 16}, "size 16: expected a power of two from 32 to 1024"),
        ({"domains": 0}, "domains, style_dim, latent_dim, hidden_dim and widest must be at least 1"),
        ({"base": 1000}, "base 1000: expected a multiple of size 64"),
        ({"widest": 128}, "base 16384 makes the first width 256, more than widest 128"),
        ({"high_pass": -1.0}, r"high_pass -1.0: expected 0 \(off\) or a positive number"),
        ({"high_pass": float("nan")}, r"high_pass nan: expected 0 \(off\) or a positive number"),
    ],
)
def test_a_layout_that_cannot_be_built_is_refused_in_one_sentence(
    values: dict[str, float], sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        Layout.from_dict({"size": 64, "domains": 2} | values)


def test_a_layout_survives_json() -> None:
    assert Layout.from_dict(TINY.as_dict()) == TINY
    assert (TINY.first, TINY.downs, TINY.encoder_widths, TINY.trunk_widths) == (
        8,
        2,
        (8, 16, 16),
        (8, 16, 16, 16),
    )
