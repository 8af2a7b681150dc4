"""Trained conditional generators, and how they are read from their folders: one for classes, one for pairs.

Keys of their tensors: `G.*` the generator as it was last; `E.*` the encoder of pairs. `b` pictures, `Z` latent
dimension, `S` side.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from models.conditional import bicycle, dcgan
from models.files import load_into, read_tensors, sha256_of
from pipeline.errors import INPUT, GraftError
from pipeline.exporting import Sheet
from pipeline.load import card_values
from pipeline.pictures import fixed_latents

CLASSES, PAIRS = "dcgan", "bicycle"
WANTED = "B"  # what pairs are called here: A is given, B is wanted
COLUMNS = 10  # latents in a grid of classes


@dataclass
class ClassModel:
    """A generator that draws pictures of a class, in eval mode, and the names of its classes in label order."""

    generator: dcgan.Generator
    width: int
    names: Sequence[str]
    about: dict[str, Any] = field(default_factory=dict)
    sha256: str = ""
    folder: Path = Path()
    kind: ClassVar[str] = CLASSES

    @property
    def title(self) -> str:
        """What it is, in a few words."""
        return f"class-conditional DCGAN at {self.generator.size} px of {', '.join(self.names)}"

    @property
    def latent_dim(self) -> int:
        """Z."""
        return self.generator.latent_dim

    def label(self, name: str) -> int:
        """The label of a class. GraftError names the classes there are."""
        return label_of(name, self.names, "class")

    @property
    def device(self) -> torch.device:
        """Where the generator is."""
        return device_of(self.generator)

    @torch.no_grad()
    def draw(self, z: Tensor, y: Tensor) -> Tensor:
        """[b, 3, S, S] in [-1, 1] of latents [b, Z] and labels int64 [b]."""
        pictures: Tensor = self.generator(z, y)
        return pictures

    def network(self) -> dict[str, Any]:
        """The sizes, and the classes, by which it is built again."""
        sizes = {"size": self.generator.size, "latent_dim": self.latent_dim, "width": self.width}
        return {**sizes, "names": list(self.names)}

    def facts(self) -> list[str]:
        """Lines of its card on its networks."""
        return [f"networks: width {self.width}, latent {self.latent_dim}, batch norm by running statistics"]

    def tensors(self) -> dict[str, Tensor]:
        """Everything that it needs to be read back."""
        return under({"G": self.generator})

    def sheet(self) -> Sheet:
        """One row of each class, of the same latents."""
        z = fixed_latents(COLUMNS, self.latent_dim).to(self.device)
        labels = [torch.full((COLUMNS,), label, device=self.device) for label in range(len(self.names))]
        return [self.draw(z, y) for y in labels], list(self.names)

    def to(self, device: torch.device) -> "ClassModel":
        """Move the generator."""
        self.generator.to(device)
        return self


@dataclass
class PairModel:
    """A translator that learned from pairs A and B; its one target is B, and its codes are latents [b, Z].

    Meets judging's Translator. shown: rows and labels of its grid, where it has just been trained.
    """

    generator: bicycle.Generator
    encoder: bicycle.Encoder
    width: int
    about: dict[str, Any] = field(default_factory=dict)
    sha256: str = ""
    folder: Path = Path()
    shown: Sheet | None = None
    kind: ClassVar[str] = PAIRS
    within: ClassVar[bool] = False

    @property
    def title(self) -> str:
        """What it is, in a few words."""
        return f"BicycleGAN at {self.size} px"

    @property
    def names(self) -> Sequence[str]:
        """Its one target."""
        return (WANTED,)

    @property
    def size(self) -> int:
        """The side of its pictures, in pixels."""
        return self.generator.size

    @property
    def device(self) -> torch.device:
        """Where its networks are."""
        return device_of(self.generator)

    def label(self, name: str) -> int:
        """The label of its target. GraftError for any other name."""
        return label_of(name, self.names, "domain")

    @property
    def latent_dim(self) -> int:
        """Z."""
        return self.generator.latent_dim

    @torch.no_grad()
    def draw(self, pictures: Tensor, z: Tensor) -> Tensor:
        """[b, 3, S, S] in [-1, 1] of sources [b, 3, S, S] in [-1, 1] and codes [b, Z]; without dropout."""
        drawn: Tensor = self.generator(pictures, z)
        return drawn

    @torch.no_grad()
    def code(self, pictures: Tensor) -> Tensor:
        """The mean codes [b, Z] of pictures like those wanted."""
        mean: Tensor = self.encoder(pictures)[0]
        return mean

    def encode(self, pictures: Tensor) -> Tensor:
        """The pictures themselves: codes enter at every level, so nothing is the same for two of them."""
        return pictures

    def latent_codes(self, z: Tensor, target: int, psi: float = 1.0) -> Tensor:
        """Latents [b, Z] as they are; psi below 1 draws them to 0, their mean."""
        return z if psi == 1 else psi * z

    def reference_codes(self, pictures: Tensor, target: int) -> Tensor:
        """The mean codes [b, Z] of pictures of B."""
        return self.code(pictures)

    def truncated(self, codes: Tensor, target: int, psi: float) -> Tensor:
        """psi times each code."""
        return psi * codes

    def decode(self, source: Tensor, codes: Tensor) -> Tensor:
        """[b, 3, S, S] in [-1, 1] of sources and codes [b, Z]."""
        return self.draw(source, codes)

    def network(self) -> dict[str, Any]:
        """The sizes by which it is built again."""
        return {"size": self.generator.size, "latent_dim": self.latent_dim, "width": self.width}

    def facts(self) -> list[str]:
        """Lines of its card on its networks."""
        return [f"networks: width {self.width}, latent {self.latent_dim}"]

    def parts(self) -> dict[str, nn.Module]:
        """Its networks by the names that they have in training."""
        return {"G": self.generator, "E": self.encoder}

    def tensors(self) -> dict[str, Tensor]:
        """Everything that it needs to be read back."""
        return under(self.parts())

    def sheet(self) -> Sheet:
        """The last grid of its training."""
        if self.shown is None:
            raise GraftError(
                f"{self.folder}: this model keeps no pictures to translate; name some with --pictures"
            )
        return self.shown

    def to(self, device: torch.device) -> "PairModel":
        """Move both parts."""
        for part in self.parts().values():
            part.to(device)
        return self


def load_class_model(name: str) -> ClassModel:
    """The folder of an exported class-conditional generator."""
    folder, about = card_values(name, CLASSES)
    weights, network = folder / "model.safetensors", about["network"]
    try:
        names, width = [str(each) for each in network["names"]], int(network["width"])
        generator = dcgan.Generator(int(network["size"]), len(names), int(network["latent_dim"]), width)
    except (KeyError, ValueError, TypeError) as error:
        raise cannot_be_built(folder, error) from error
    read_into({"G": generator}, weights)
    return ClassModel(generator, width, names, about, sha256_of(weights), folder)


def load_pair_model(name: str) -> PairModel:
    """The folder of an exported translator that learned from pairs."""
    folder, about = card_values(name, PAIRS)
    weights = folder / "model.safetensors"
    try:
        sizes = {key: int(about["network"][key]) for key in ("size", "latent_dim", "width")}
        generator, encoder = bicycle.Generator(**sizes), bicycle.Encoder(**sizes)
    except (KeyError, ValueError, TypeError) as error:
        raise cannot_be_built(folder, error) from error
    read_into({"G": generator, "E": encoder}, weights)
    return PairModel(generator, encoder, sizes["width"], about, sha256_of(weights), folder)


def under(parts: dict[str, nn.Module]) -> dict[str, Tensor]:
    """The tensors of several networks, each under its name."""
    return {f"{name}.{key}": each for name, part in parts.items() for key, each in part.state_dict().items()}


def read_into(parts: dict[str, nn.Module], weights: Path) -> None:
    """Fill networks from a file, and hold them still."""
    tensors = read_tensors(weights)
    for name, part in parts.items():
        load_into(part, tensors, f"{name}.", weights, "the network in config.json")
        part.requires_grad_(False).eval()


def device_of(network: nn.Module) -> torch.device:
    """Where a network is."""
    return next(network.parameters()).device


def label_of(name: str, names: Sequence[str], what: str) -> int:
    """The place of a name. GraftError says which names there are."""
    if name not in names:
        raise GraftError(f"no {what} '{name}' in this model; it has {', '.join(names)}")
    return list(names).index(name)


def cannot_be_built(folder: Path, error: Exception) -> GraftError:
    """What to say of a card whose sizes make no network."""
    return GraftError(f"{folder / 'config.json'}: its network cannot be built: {error}", INPUT)
