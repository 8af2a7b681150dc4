"""Other people's weights as models of ours, and ours as files of theirs."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from models.files import WeightsError, read_tensors, sha256_of, write_whole
from models.files.pickled import Nested, read_pickled, state_dict_in
from models.stargan2 import (
    FAN,
    Generator,
    Layout,
    MappingNetwork,
    StyleEncoder,
    nets_state,
    read_nets,
)
from models.stargan2.layout import PUBLISHED_BASE, PUBLISHED_WIDEST
from pipeline.errors import INPUT, GraftError
from pipeline.exporting import card_of, save_model
from pipeline.translation import Translation

NEEDED = ("generator", "mapping_network", "style_encoder")
KNOWN = (*NEEDED, "discriminator", "fan")
RELEASED_NAME = "nets_ema.ckpt"
PUBLISHED_HIDDEN = 512


def read_released(path: Path, names: Sequence[str] | None, fan: FAN | None = None) -> Translation:
    """A translator from a checkpoint of StarGAN v2's release, or of a program that writes the same names.

    names: of its domains, in the order of its labels (None: domain0, ...). fan: used in place of the file's.
    Sizes are read from shapes. Raises WeightsError or GraftError (exit code 3).
    """
    state = {name: weights for name, weights in _networks(path).items() if name != "fan" or fan is None}
    missing = [name for name in NEEDED if not state.get(name)]
    if len(missing) == len(NEEDED):
        raise WeightsError(f"{path}: none of the networks of StarGAN v2 in it ({', '.join(NEEDED)})")
    if missing:
        raise WeightsError(
            f"{path}: no {missing[0]} in it, which a translator needs; it holds {', '.join(sorted(state))}"
        )
    try:
        layout, networks = read_nets(state)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from error
    for network in networks.values():
        network.requires_grad_(False).eval()
    return Translation(
        layout,
        _names(path, names, layout.domains),
        cast(Generator, networks["generator"]),
        cast(MappingNetwork, networks["mapping_network"]),
        cast(StyleEncoder, networks["style_encoder"]),
        fan or cast(FAN | None, networks.get("fan")),
        {"method": "stargan2", "imported_from": path.name, "imported_sha256": sha256_of(path)},
    )


def write_imported(model: Translation, out: Path) -> Path:
    """Weights, config and card; there is no grid, since no pictures came with the weights."""
    model.about = {"name": out.name, **model.about}
    save_model(model, out)
    write_whole(out / "MODEL_CARD.md", card_of(model).encode())
    return out


def write_released(model: Translation, out: Path) -> Path:
    """OUT/nets_ema.ckpt, as the release writes its averaged networks: a dict of state dicts."""
    out.mkdir(parents=True, exist_ok=True)
    content = io.BytesIO()
    parts = nets_state(model.parts())
    torch.save(
        {name: {key: each.cpu() for key, each in part.items()} for name, part in parts.items()}, content
    )
    write_whole(out / RELEASED_NAME, content.getvalue())
    return out / RELEASED_NAME


def found_lines(model: Translation) -> list[str]:
    """What was read from the shapes."""
    layout = model.layout
    lines = [
        f"  domains    {layout.domains}: {', '.join(model.names)}",
        f"  widths     {layout.first} at {layout.size} px, {layout.widest} at most",
        f"  styles     {layout.style_dim} long, from latents of {layout.latent_dim}",
        "  high-pass  none",
    ]
    if layout.high_pass > 0:
        lines[-1] = f"  high-pass  {layout.high_pass:g}, with masks of a face alignment network"
    if layout.high_pass > 0 and model.fan is None:
        lines[-1] = (
            f"  high-pass  {layout.high_pass:g}, but there is no face alignment network in the file to make "
            "its masks, so these skips are off; --fan FILE gives one"
        )
    return lines


def strange_to_release(layout: Layout) -> list[str]:
    """Sizes that the released program cannot be told."""
    published = {"base": PUBLISHED_BASE, "widest": PUBLISHED_WIDEST, "hidden_dim": PUBLISHED_HIDDEN}
    return [
        f"{name} {getattr(layout, name)} (there: {value})"
        for name, value in published.items()
        if getattr(layout, name) != value
    ]


def _networks(path: Path) -> dict[str, dict[str, Tensor]]:
    """State dicts by the name of their network."""
    if path.suffix.lower() == ".safetensors":
        found: dict[str, dict[str, Tensor]] = {}
        for key, value in read_tensors(path).items():
            name, _, rest = key.partition(".")
            found.setdefault(name, {})[rest] = value
        return {name: part for name, part in found.items() if name in KNOWN}
    nested: Mapping[str, Tensor | Nested] = read_pickled(path)
    return {name: state_dict_in(part) for name, part in nested.items() if isinstance(part, dict)}


def _names(path: Path, names: Sequence[str] | None, domains: int) -> list[str]:
    if names is None:
        return [f"domain{label}" for label in range(domains)]
    if len(names) != domains:
        raise GraftError(
            f"{path}: has {domains} domains, but --domains names {len(names)}: {', '.join(names)}",
            INPUT,
        )
    if len(set(names)) != len(names) or not all(names):
        raise GraftError(f"--domains {','.join(names)}: give every domain a name of its own")
    return list(names)
