"""DRIT, trained: a translator between two domains, and how it is read from its folder.

Keys of its tensors: `content_encoder.*`, `attribute_encoder.*`, `generator.*`, names inside as in models.conditional.
`b` pictures, `Z` latent dimension. Codes are [b, Z + 1]: the latent, and the target they are meant for.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from models.conditional.drit import (
    ConcatGenerator,
    ContentEncoder,
    FeaturewiseGenerator,
    PlainAttributeEncoder,
    VariationalAttributeEncoder,
)
from models.files import load_into, read_tensors, sha256_of
from pipeline.errors import INPUT, GraftError
from pipeline.exporting import Sheet
from pipeline.load import card_values

KIND = "drit"
GENERATORS = {"concat": ConcatGenerator, "featurewise": FeaturewiseGenerator}
ATTRIBUTES = {"concat": VariationalAttributeEncoder, "featurewise": PlainAttributeEncoder}


@dataclass(frozen=True)
class Layout:
    """Sizes, and how codes enter the generator. ValueError for what no network has."""

    size: int
    latent_dim: int = 8
    width: int = 64
    generator: str = "concat"

    def __post_init__(self) -> None:
        if self.generator not in GENERATORS:
            raise ValueError(f"codes enter {self.generator}, expected one of {', '.join(GENERATORS)}")
        with torch.device("meta"):
            ContentEncoder(self.size, 1)

    def content_encoder(self) -> ContentEncoder:
        """E_c of both domains."""
        return ContentEncoder(self.size, self.width)

    def attribute_encoder(self) -> nn.Module:
        """E_a of both domains, of the kind that goes with the generator."""
        return ATTRIBUTES[self.generator](self.size, self.latent_dim, self.width)

    def made_generator(self) -> nn.Module:
        """G of both domains."""
        return GENERATORS[self.generator](self.latent_dim, self.width)


@dataclass(frozen=True)
class Source:
    """Pictures [b, 3, H, W], and their contents by domain, as far as a target has said from which they are."""

    pictures: Tensor
    contents: dict[int, Tensor] = field(default_factory=dict)


@dataclass
class DRIT:
    """The networks of the last step, frozen, and the names of the two domains in the order of their labels.

    Meets judging's Translator. A picture that is drawn as one of a domain is taken for one of the other: there are two.
    shown: rows and labels of its grid, where it has just been trained.
    """

    layout: Layout
    names: Sequence[str]
    content_encoder: ContentEncoder
    attribute_encoder: nn.Module
    generator: nn.Module
    about: dict[str, Any] = field(default_factory=dict)
    sha256: str = ""
    folder: Path = Path()
    shown: Sheet | None = None
    kind: ClassVar[str] = KIND
    within: ClassVar[bool] = False

    @property
    def title(self) -> str:
        """What it is, in a few words."""
        return f"DRIT at {self.layout.size} px between {self.names[0]} and {self.names[1]}"

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
        return next(self.generator.parameters()).device

    def label(self, name: str) -> int:
        """The label of a domain. GraftError names the domains there are."""
        if name not in self.names:
            raise GraftError(f"no domain '{name}' in this model; its domains are {' and '.join(self.names)}")
        return list(self.names).index(name)

    def encode(self, pictures: Tensor) -> Source:
        """[b, 3, H, W] in [-1, 1] -> what `decode` takes, and encodes once for any number of codes of a target."""
        return Source(pictures)

    def latent_codes(self, z: Tensor, target: int, psi: float = 1.0) -> Tensor:
        """Codes [b, Z + 1] of latents [b, Z]; psi below 1 draws them to 0, the mean of latents."""
        return meant_for(z if psi == 1 else psi * z, target)

    @torch.no_grad()
    def reference_codes(self, pictures: Tensor, target: int) -> Tensor:
        """Codes [b, Z + 1] of pictures [b, 3, H, W] of the target domain: the mean that E_a reads."""
        read = self.attribute_encoder(pictures, target)
        return meant_for(read if isinstance(read, Tensor) else read[0], target)

    def truncated(self, codes: Tensor, target: int, psi: float) -> Tensor:
        """psi times the latent of each code."""
        return meant_for(psi * codes[:, :-1], target)

    @torch.no_grad()
    def decode(self, source: Source, codes: Tensor) -> Tensor:
        """[b, 3, H, W] in [-1, 1] of codes [b, Z + 1], each drawn as one of the domain that its code is meant for."""
        targets = codes[:, -1].round().long()
        pictures = torch.empty_like(source.pictures)
        for target in sorted(set(targets.tolist())):
            rows = targets == target
            contents = self._contents(source, 1 - target)
            pictures[rows] = self.generator(contents[rows], codes[rows, :-1], target)
        return pictures

    def _contents(self, source: Source, domain: int) -> Tensor:
        """Contents [b, C, H/4, W/4] of the pictures as those of a domain, without noise."""
        if domain not in source.contents:
            source.contents[domain] = self.content_encoder(source.pictures, domain)
        return source.contents[domain]

    def network(self) -> dict[str, Any]:
        """The sizes, and the domains, by which it is built again."""
        return {**asdict(self.layout), "names": list(self.names)}

    def facts(self) -> list[str]:
        """Lines of its card on its networks."""
        layout = self.layout
        return [f"networks: width {layout.width}, latent {layout.latent_dim}, {layout.generator} generator"]

    def parts(self) -> dict[str, nn.Module]:
        """Its networks by name."""
        return {
            "content_encoder": self.content_encoder,
            "attribute_encoder": self.attribute_encoder,
            "generator": self.generator,
        }

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

    def to(self, device: torch.device) -> "DRIT":
        """Move every part."""
        for part in self.parts().values():
            part.to(device)
        return self


def meant_for(latents: Tensor, target: int) -> Tensor:
    """[b, Z] -> [b, Z + 1], the target behind each latent."""
    return torch.cat([latents, torch.full_like(latents[:, :1], target)], dim=1)


def load_drit(name: str) -> DRIT:
    """The folder of an exported translator, or a shipped one by its name."""
    folder, about = card_values(name, KIND)
    weights = folder / "model.safetensors"
    network = dict(about["network"])
    try:
        first, second = (str(each) for each in network.pop("names"))
        layout = Layout(**network)
        parts = layout.content_encoder(), layout.attribute_encoder(), layout.made_generator()
    except (KeyError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        raise GraftError(f"{folder / 'config.json'}: its network cannot be built: {error}", INPUT) from error
    model = DRIT(layout, (first, second), *parts, about, sha256_of(weights), folder)
    tensors = read_tensors(weights)
    for part_name, part in model.parts().items():
        load_into(part, tensors, f"{part_name}.", weights, "the network in config.json")
        part.requires_grad_(False).eval()
    return model
