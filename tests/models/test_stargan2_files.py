"""Layouts and networks of StarGAN v2 out of state dicts."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from models.files import WeightsError
from models.stargan2 import (
    FAN,
    Discriminator,
    Generator,
    Layout,
    MappingNetwork,
    StyleEncoder,
    layout_of,
    nets_state,
    read_nets,
)

TINY = Layout(32, 3, style_dim=5, latent_dim=3, hidden_dim=6, base=2**8, widest=16, high_pass=0.75)
FLAT = Layout(64, 2, style_dim=7, latent_dim=4, hidden_dim=5, base=2**9, widest=32)

State = dict[str, dict[str, Tensor]]


def state_of(layout: Layout, fan: bool = False) -> State:
    """Every network's state dict, random."""
    torch.manual_seed(1)
    networks: dict[str, nn.Module] = {
        "generator": Generator(layout),
        "mapping_network": MappingNetwork(layout),
        "style_encoder": StyleEncoder(layout),
        "discriminator": Discriminator(layout),
    }
    return nets_state(networks | ({"fan": FAN()} if fan else {}))


def without(state: State, network: str, *names: str) -> State:
    return state | {network: {k: v for k, v in state[network].items() if k not in names}}


@pytest.mark.parametrize(
    "layout",
    [
        Layout(32, 2),
        Layout(64, 3, high_pass=1.0),
        Layout(256, 2, high_pass=1.0),
        Layout(512, 3),
        Layout(64, 3, base=2**10, widest=32),
        Layout(32, 1, base=2**8, widest=32, high_pass=1.0),
        TINY,
        FLAT,
    ],
    ids=str,
)
def test_the_layout_is_read_from_shapes(layout: Layout) -> None:
    with torch.device("meta"):
        state = state_of(replace(layout, high_pass=0.0)) if not layout.high_pass else state_of(layout)
    if layout.high_pass:
        state["generator"]["hpf.filter"] = torch.full((3, 3), 8 / layout.high_pass)
    assert layout_of(state) == layout
    prefixed = {name: {f"module.{k}": v for k, v in each.items()} for name, each in state.items()}
    assert layout_of(prefixed) == layout
    assert layout_of({name: each for name, each in state.items() if name != "discriminator"}) == layout
    trunkless = layout_of({name: state[name] for name in ("generator", "mapping_network")})
    assert trunkless.encoder_widths == layout.encoder_widths  # its own widths need not reach the widest
    assert replace(trunkless, widest=layout.widest) == layout
    bare = layout_of(without(state, "generator", "hpf.filter"))
    assert bare == replace(layout, high_pass=1.0 if layout.high_pass else 0.0)


def test_a_discriminator_tells_the_domains_too() -> None:
    state = state_of(TINY)
    read = layout_of({"generator": state["generator"], "discriminator": state["discriminator"]})
    assert read == replace(TINY, latent_dim=16, hidden_dim=512)


def test_widths_that_never_reach_the_widest_are_read_as_published() -> None:
    assert layout_of(state_of(Layout(32, 2, base=2**6, widest=100))).widest == 512


@pytest.mark.parametrize("layout", [TINY, FLAT], ids=["high_pass", "without"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_networks_come_back_from_their_state_dicts_bit_for_bit(layout: Layout, prefix: str) -> None:
    state = state_of(layout)
    before = torch.get_rng_state()
    given = {name: {prefix + k: v for k, v in each.items()} for name, each in state.items()}
    found, networks = read_nets(given)
    assert torch.equal(torch.get_rng_state(), before)
    assert found == layout
    assert list(networks) == list(state)
    again = nets_state(networks)
    for name, each in state.items():
        assert again[name].keys() == each.keys()
        assert all(torch.equal(again[name][key], value) for key, value in each.items())
        assert all(p.requires_grad for p in networks[name].parameters())
    generator = networks["generator"]
    assert isinstance(generator, Generator)
    s = torch.randn(1, layout.style_dim)
    twin = Generator(layout)
    twin.load_state_dict(state["generator"])
    x = torch.randn(1, 3, layout.size, layout.size)
    assert torch.equal(generator(x, s), twin(x, s))


def test_a_filter_that_is_none_is_told() -> None:
    state = state_of(TINY)
    with pytest.raises(
        WeightsError, match=r"hpf\.filter is \[0\], but .* makes it \[3, 3\]; no setting would fit"
    ):
        read_nets(renamed(state, "generator", "hpf.filter", torch.zeros(0)))
    with pytest.raises(WeightsError, match=r"hpf\.filter has 0\.0 at its centre; expected 8 / high_pass"):
        read_nets(renamed(state, "generator", "hpf.filter", torch.zeros(3, 3)))


def test_half_precision_is_read_into_single() -> None:
    state = {name: {k: v.half() for k, v in each.items()} for name, each in state_of(FLAT).items()}
    _, networks = read_nets(state)
    assert {p.dtype for network in networks.values() for p in network.parameters()} == {torch.float32}


def test_a_published_generator_without_its_filter_gets_it() -> None:
    layout = replace(TINY, high_pass=1.0)
    state = state_of(layout)
    found, networks = read_nets(without(state, "generator", "hpf.filter"))
    assert found == layout
    expected = torch.tensor([[-1.0, -1.0, -1.0], [-1.0, 8.0, -1.0], [-1.0, -1.0, -1.0]])
    assert torch.equal(networks["generator"].state_dict()["hpf.filter"], expected)


def renamed(state: State, network: str, name: str, value: Tensor | None) -> State:
    """One tensor replaced, added, or taken away."""
    each = {k: v for k, v in state[network].items() if k != name}
    return state | {network: each | ({} if value is None else {name: value})}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            lambda s: renamed(s, "generator", "decode.1.norm2.fc.weight", torch.zeros(64, 9)),
            "generator: tensor decode.1.norm2.fc.weight is [64, 9], but style_dim: 7 makes it [64, 7]; "
            "style_dim: 9 would fit",
        ),
        (
            lambda s: renamed(s, "style_encoder", "unshared.1.weight", torch.zeros(9, 32)),
            "style_encoder: tensor unshared.1.weight is [9, 32], but style_dim: 7 makes it [7, 32]; "
            "style_dim: 9 would fit",
        ),
        (
            lambda s: renamed(s, "discriminator", "main.8.weight", torch.zeros(4, 32, 1, 1)),
            "discriminator: tensor main.8.weight is [4, 32, 1, 1], but domains: 2 makes it [2, 32, 1, 1]; "
            "domains: 4 would fit",
        ),
        (
            lambda s: renamed(s, "mapping_network", "shared.2.weight", torch.zeros(8, 8)),
            "mapping_network: tensor shared.2.weight is [8, 8], but hidden_dim: 5 makes it [5, 5]; "
            "hidden_dim: 8 would fit",
        ),
        (
            lambda s: renamed(s, "generator", "decode.3.conv2.weight", torch.zeros(16, 16, 3, 3)),
            "generator: tensor decode.3.conv2.weight is [16, 16, 3, 3], but base: 512 makes it [8, 8, 3, 3]; "
            "base: 1024 would fit",
        ),
        (
            lambda s: renamed(s, "discriminator", "main.6.weight", torch.zeros(64, 64, 4, 4)),
            "discriminator: tensor main.6.weight is [64, 64, 4, 4], but widest: 32 makes it [32, 32, 4, 4]; "
            "widest: 64 would fit",
        ),
        (
            lambda s: renamed(s, "generator", "to_rgb.2.weight", torch.zeros(3, 8, 3, 3)),
            "generator: tensor to_rgb.2.weight is [3, 8, 3, 3], but size: 64, base: 512, widest: 32 and "
            "high_pass: 0 makes it [3, 8, 1, 1]; no setting would fit",
        ),
        (
            lambda s: renamed(s, "style_encoder", "unshared.1.bias", None),
            "style_encoder: tensor unshared.1.bias is missing; size: 64, base: 512, widest: 32 and "
            "high_pass: 0 ask for it",
        ),
        (
            lambda s: renamed(s, "style_encoder", "unshared.2.weight", torch.zeros(7, 32)),
            "style_encoder: tensor unshared.2.weight has no place under domains: 2; domains: 3 would fit",
        ),
        (
            lambda s: renamed(s, "generator", "to_rgb.0.bias", None),
            "generator: tensor to_rgb.0.bias is missing; size: 64, base: 512, widest: 32 and high_pass: 0 "
            "ask for it",
        ),
        (
            lambda s: renamed(s, "discriminator", "main.1.conv3.weight", torch.zeros(1)),
            "discriminator: tensor main.1.conv3.weight has no place under size: 64, base: 512, widest: 32 and "
            "high_pass: 0",
        ),
        (
            lambda s: renamed(s, "mapping_network", f"unshared.{10**12}.0.weight", torch.zeros(1)),
            "mapping_network: tensor unshared.2.0.weight is missing; size: 64, base: 512, widest: 32 and "
            "high_pass: 0 ask for it",
        ),
        (
            lambda s: s | {"judge": {}},
            "judge is no network of StarGAN v2; it has generator, mapping_network, style_encoder, "
            "discriminator and fan",
        ),
        (
            lambda s: {"mapping_network": s["mapping_network"]},
            "the weights hold ['mapping_network'], but no generator",
        ),
        (
            lambda s: renamed(s, "generator", "from_rgb.weight", None),
            "generator: tensor from_rgb.weight is missing; StarGAN v2 has it in every layout",
        ),
        (
            lambda s: renamed(s, "generator", "from_rgb.weight", torch.tensor(1.0)),
            "generator: tensor from_rgb.weight is []; expected at least 1 dimensions",
        ),
        (
            lambda s: without(s, "generator", *(k for k in s["generator"] if k.startswith("encode.3"))),
            "generator: encode has 3 blocks, but size: 64 makes it 4, or 5 with high_pass",
        ),
    ],
)
def test_what_does_not_fit_is_told_with_both_shapes_and_the_setting_that_would(
    change: Callable[[State], State], sentence: str
) -> None:
    with pytest.raises(WeightsError) as caught:
        read_nets(change(state_of(FLAT)))
    assert str(caught.value) == sentence
