"""A trained translator between domains, and how it is read from its folder.

Keys of its tensors: `generator.*`, `mapping_network.*`, `style_encoder.*` (averages), `fan.*` where the high-pass skips
have masks; names inside as published. `b` pictures, `Z` latent dimension, `S` style dimension.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from models.files import load_into, read_tensors, sha256_of
from models.stargan2 import FAN, Encoded, Generator, Layout, MappingNetwork, StyleEncoder, masks_of
from pipeline.errors import INPUT, GraftError
from pipeline.exporting import Sheet
from pipeline.load import card_values

KIND = "stargan2"
MEAN_OF = 10_000  # latents behind the mean style of a domain, as released


@dataclass(frozen=True)
class Source:
    """Encoded pictures with the masks of their high-pass skips."""

    encoded: Encoded
    masks: tuple[Tensor, Tensor] | None


@dataclass
class Translation:
    """Averaged networks, frozen, and the names of the domains in the order of their labels.

    Meets judging's Translator. shown: rows and labels of its grid, where it has just been trained.
    """

    layout: Layout
    names: Sequence[str]
    generator: Generator
    mapping: MappingNetwork
    encoder: StyleEncoder
    fan: FAN | None = None
    about: dict[str, Any] = field(default_factory=dict)
    sha256: str = ""
    folder: Path = Path()
    shown: Sheet | None = None
    kind: ClassVar[str] = KIND
    within: ClassVar[bool] = True

    @property
    def title(self) -> str:
        """What it is, in a few words."""
        return f"StarGAN v2 at {self.layout.size} px between {', '.join(self.names)}"

    @property
    def size(self) -> int:
        """The side of its pictures, in pixels."""
        return self.layout.size

    @property
    def latent_dim(self) -> int:
        """Z."""
        return self.layout.latent_dim

    @property
    def device(self) -> torch.device:
        """Where its networks are."""
        return self.generator.from_rgb.weight.device

    def label(self, name: str) -> int:
        """The label of a domain. GraftError names the domains there are."""
        if name not in self.names:
            raise GraftError(f"no domain '{name}' in this model; its domains are {', '.join(self.names)}")
        return list(self.names).index(name)

    @torch.no_grad()
    def encode(self, pictures: Tensor) -> Source:
        """[b, 3, H, W] in [-1, 1] -> what `decode` takes; done once for any number of codes."""
        masks = None if self.fan is None else masks_of(self.fan, pictures)
        return Source(self.generator.encode(pictures), masks)

    @torch.no_grad()
    def latent_codes(self, z: Tensor, target: int, psi: float = 1.0) -> Tensor:
        """Styles [b, S] of latents [b, Z]; psi below 1 draws them to the domain's mean style."""
        codes: Tensor = self.mapping(z, torch.full((len(z),), target, device=z.device))
        return codes if psi == 1 else self.truncated(codes, target, psi)

    @torch.no_grad()
    def reference_codes(self, pictures: Tensor, target: int) -> Tensor:
        """Styles [b, S] of pictures [b, 3, H, W] of the target domain."""
        codes: Tensor = self.encoder(pictures, torch.full((len(pictures),), target, device=pictures.device))
        return codes

    def truncated(self, codes: Tensor, target: int, psi: float) -> Tensor:
        """m + psi (code - m), m the mean style of the domain."""
        mean = self.mean_styles[target]
        return mean + psi * (codes - mean)

    @torch.no_grad()
    def decode(self, source: Source, codes: Tensor) -> Tensor:
        """[b, 3, H, W], about [-1, 1], from styles [b, S]."""
        pictures: Tensor = self.generator.decode(source.encoded, codes, source.masks)
        return pictures

    @cached_property
    def mean_styles(self) -> Tensor:
        """The mean style of every domain: [domains, S], over latents of a fixed seed."""
        z = torch.randn(MEAN_OF, self.latent_dim, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            return self.mapping.all(z.to(self.device)).mean(0)

    def network(self) -> dict[str, Any]:
        """The sizes, and the domains, by which it is built again."""
        return {**self.layout.as_dict(), "names": list(self.names), "fan": self.fan is not None}

    def facts(self) -> list[str]:
        """Lines of its card on its networks."""
        layout = self.layout
        masks = ", masks from a face alignment network" if self.fan is not None else ""
        sizes = f"first width {layout.first}, widest {layout.widest}, style {layout.style_dim}"
        return [f"networks: {sizes}, latent {layout.latent_dim}, high-pass {layout.high_pass:g}{masks}"]

    def parts(self) -> dict[str, torch.nn.Module]:
        """Its networks by their published names."""
        found: dict[str, torch.nn.Module] = {
            "generator": self.generator,
            "mapping_network": self.mapping,
            "style_encoder": self.encoder,
        }
        return found if self.fan is None else {**found, "fan": self.fan}

    def tensors(self) -> dict[str, Tensor]:
        """Everything that it needs to be read back."""
        return {
            f"{name}.{key}": each
            for name, part in self.parts().items()
            for key, each in part.state_dict().items()
        }

    def sheet(self) -> Sheet:
        """The last grid of its training."""
        if self.shown is None:
            raise GraftError(
                f"{self.folder}: this model keeps no pictures to translate; name some with --pictures"
            )
        return self.shown

    def to(self, device: torch.device) -> "Translation":
        """Move every part."""
        for part in self.parts().values():
            part.to(device)
        self.__dict__.pop("mean_styles", None)
        return self


def load_translation(name: str) -> Translation:
    """The folder of an exported translator, or a shipped one by its name."""
    folder, about = card_values(name, KIND)
    weights = folder / "model.safetensors"
    network = dict(about["network"])
    try:
        names, has_fan = [str(each) for each in network.pop("names")], bool(network.pop("fan"))
        layout = Layout.from_dict(network)
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise GraftError(f"{folder / 'config.json'}: its network cannot be built: {error}", INPUT) from error
    model = Translation(
        layout,
        names,
        Generator(layout),
        MappingNetwork(layout),
        StyleEncoder(layout),
        FAN() if has_fan else None,
        about,
        sha256_of(weights),
        folder,
    )
    tensors = read_tensors(weights)
    for part_name, part in model.parts().items():
        load_into(part, tensors, f"{part_name}.", weights, "the network in config.json")
        part.requires_grad_(False).eval()
    return model
