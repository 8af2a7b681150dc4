"""Networks of StarGAN v2 out of the published files' state dicts, and into them."""

import re
from collections.abc import Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn

from models.files import WeightsError
from models.stargan2.discriminator import Discriminator
from models.stargan2.fan import FAN
from models.stargan2.generator import Generator
from models.stargan2.layers import high_pass_filter
from models.stargan2.layout import Layout, StateDict, bare, layout_of, numbered
from models.stargan2.styles import MappingNetwork, StyleEncoder

N = TypeVar("N", bound=nn.Module)

NETWORKS: dict[str, type[Generator | MappingNetwork | StyleEncoder | Discriminator]] = {
    "generator": Generator,
    "mapping_network": MappingNetwork,
    "style_encoder": StyleEncoder,
    "discriminator": Discriminator,
}
# Where the axis of a tensor says more than a width: (network, name of the tensor, axis, the setting it is).
SETTINGS = (
    ("generator", r"decode\.\d+\.norm[12]\.fc\.weight", 1, "style_dim"),
    ("mapping_network", r"unshared\.\d+\.6\.(weight|bias)", 0, "style_dim"),
    ("style_encoder", r"unshared\.\d+\.(weight|bias)", 0, "style_dim"),
    ("mapping_network", r"shared\.0\.weight", 1, "latent_dim"),
    ("mapping_network", r".*", 0, "hidden_dim"),
    ("mapping_network", r".*", 1, "hidden_dim"),
)


def read_nets(state: Mapping[str, StateDict]) -> tuple[Layout, dict[str, nn.Module]]:
    """State dicts by published name -> the layout, and a network for each name given (`fan` too), on the CPU.

    A `module.` before names is dropped, and a high-pass generator without `hpf.filter` gets it: published files
    differ in both. For the rest every name and every shape must fit, or WeightsError says which does not.
    """
    unknown = sorted(set(state) - {*NETWORKS, "fan"})
    if unknown:
        raise WeightsError(f"{unknown[0]} is no network of StarGAN v2; it has {', '.join(NETWORKS)} and fan")
    layout = layout_of(state)
    networks: dict[str, nn.Module] = {}
    for name, weights in state.items():
        given = bare(weights)
        if name == "fan":
            networks[name] = fan_of(given, strict=True)
            continue
        if name == "generator" and layout.high_pass > 0:
            given.setdefault("hpf.filter", high_pass_filter(layout.high_pass))
        with torch.device("meta"):  # nothing is drawn for weights that are replaced at once
            module = NETWORKS[name](layout)
        _fit(name, module, given, layout)
        networks[name] = _filled(module, given)
    return layout, networks


def fan_of(weights: StateDict, strict: bool = False) -> FAN:
    """The face alignment network from its state dict, frozen.

    The file it was first published in holds a larger model: unless `strict`, names of no place here are passed over.
    """
    given = bare(weights)
    with torch.device("meta"):
        module = FAN()
    wanted = module.state_dict()
    for key, value in wanted.items():
        if key not in given:
            raise WeightsError(f"fan: tensor {key} is missing; the face alignment network has it")
        if given[key].shape != value.shape:
            raise WeightsError(
                f"fan: tensor {key} is {list(given[key].shape)}, but the face alignment network "
                f"makes it {list(value.shape)}"
            )
    extra = sorted(set(given) - set(wanted))
    if strict and extra:
        raise WeightsError(f"fan: tensor {extra[0]} has no place in the face alignment network")
    return _filled(module, {key: given[key] for key in wanted})


def nets_state(networks: Mapping[str, nn.Module]) -> dict[str, dict[str, Tensor]]:
    """The inverse of `read_nets`: the published layout, names without a prefix; tensors detached, not copied."""
    return {
        name: {key: value.detach() for key, value in module.state_dict().items()}
        for name, module in networks.items()
    }


def _filled(module: N, given: StateDict) -> N:
    """`module`, built without memory, with memory and the given values in single precision."""
    module.to_empty(device="cpu")
    module.load_state_dict(dict(given))
    return module


def _fit(name: str, module: nn.Module, given: StateDict, layout: Layout) -> None:
    """Say of the first tensor that does not fit what it is, what it would have to be, and what setting would do."""
    wanted = module.state_dict()
    heads = numbered(given, r"unshared\.(\d+)\.")
    for key, value in wanted.items():
        if key not in given:
            if key.startswith("unshared.") and 0 < heads != layout.domains:
                raise WeightsError(
                    f"{name}: tensor {key} is missing; domains: {layout.domains} asks for it, "
                    f"domains: {heads} would fit"
                )
            raise WeightsError(f"{name}: tensor {key} is missing; {_sizes(layout)} ask for it")
        found, expected = list(given[key].shape), list(value.shape)
        if found != expected:
            asked, fitting = _setting(name, key, found, expected, layout)
            raise WeightsError(
                f"{name}: tensor {key} is {found}, but {asked} makes it {expected}; {fitting} would fit"
            )
    extra = sorted(set(given) - set(wanted))
    if extra and extra[0].startswith("unshared."):
        raise WeightsError(
            f"{name}: tensor {extra[0]} has no place under domains: {layout.domains}; domains: {heads} would fit"
        )
    if extra:
        raise WeightsError(f"{name}: tensor {extra[0]} has no place under {_sizes(layout)}")


def _sizes(layout: Layout) -> str:
    return (
        f"size: {layout.size}, base: {layout.base}, widest: {layout.widest} "
        f"and high_pass: {layout.high_pass:g}"
    )


def _setting(name: str, key: str, found: list[int], expected: list[int], layout: Layout) -> tuple[str, str]:
    """The setting that a tensor's shape hangs on, as it is, and as the found shape would have it."""
    axes = [axis for axis, (a, b) in enumerate(zip(found, expected, strict=False)) if a != b]
    if len(found) != len(expected) or not axes or max(axes) > 1:
        return _sizes(layout), "no setting"
    for network, pattern, axis, setting in SETTINGS:
        if network == name and axis in axes and re.fullmatch(pattern, key):
            return f"{setting}: {getattr(layout, setting)}", f"{setting}: {found[axis]}"
    axis = axes[0]
    head = len(layout.trunk_widths) + 3
    if name == "discriminator" and axis == 0 and key.startswith(f"main.{head}."):
        return f"domains: {layout.domains}", f"domains: {found[axis]}"
    # Widths go as base until they reach widest; an AdaIN's projection has two entries a channel.
    width = expected[axis] // (2 if ".fc." in key else 1)
    setting = "widest" if width == layout.widest else "base"
    now = int(getattr(layout, setting))
    return f"{setting}: {now}", f"{setting}: {now * found[axis] // expected[axis]}"
