"""Models on disk: a folder with model.safetensors, config.json, MODEL_CARD.md and grid.png.

Keys: `G.*` the averaged generator, `D.*` its discriminator, `projector.*` latent compression, `path_mean`,
`mean` (of w).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from cluster.object_cache import at_hand
from models.files import load_into, read_tensors, sha256_of
from models.files.tensors import PICKLED
from models.projector import Projector
from models.stylegan2 import Discriminator, Generator, Shape
from pipeline.data.shipped import shipped_sources
from pipeline.errors import INPUT, GraftError
from pipeline.nearest import did_you_mean
from pipeline.pictures import fixed_latents
from pipeline.store import read_json

KIND = "stylegan2"


@dataclass
class Model:
    """A generator and what travels with it."""

    shape: Shape
    generator: Generator
    discriminator: Discriminator | None
    projector: Projector | None
    path_mean: Tensor
    mean: Tensor
    about: dict[str, Any] = field(default_factory=dict)
    sha256: str = ""
    folder: Path = Path()
    kind: ClassVar[str] = KIND

    @property
    def title(self) -> str:
        """What it is, in a few words."""
        return f"StyleGAN2 at {self.shape.size} px"

    def network(self) -> dict[str, Any]:
        """The sizes from which its networks are built."""
        return self.shape.as_dict()

    def facts(self) -> list[str]:
        """Lines of its card on its networks."""
        widths = ", ".join(f"{side}: {width}" for side, width in sorted(self.shape.widths.items()))
        return [f"channels by side: {widths}", f"latent compression: {'yes' if self.projector else 'no'}"]

    def tensors(self) -> dict[str, Tensor]:
        """Everything that it needs to be read back."""
        parts = {"G": self.generator, "D": self.discriminator, "projector": self.projector}
        tensors = {
            f"{name}.{key}": value
            for name, part in parts.items()
            if part is not None
            for key, value in part.state_dict().items()
        }
        return tensors | {"path_mean": self.path_mean, "mean": self.mean}

    def latents(self, count: int) -> Tensor:
        """The z [count, D] of its grid."""
        return fixed_latents(count, self.shape.style_dim).to(self.mean.device)

    def sheet(self) -> tuple[list[Tensor], list[str] | None]:
        """Eight rows of eight pictures."""
        return list(torch.split(self.draw(self.latents(64)), 8)), None

    @torch.no_grad()
    def draw(self, z: Tensor, psi: float = 1.0) -> Tensor:
        """Pictures [B, 3, H, W] in [-1, 1] of z [B, D]: stored noise, truncation psi, compression."""
        w = self.generator.mapping(z)
        # m + (w - m) is not w to the last bit, and an export draws what its training drew.
        styles = self.generator.styles(w if psi == 1 else self.mean + psi * (w - self.mean))
        styles = styles if self.projector is None else self.projector(styles)
        return self.generator.synthesis(styles).picture.clamp(-1, 1)

    def critic(self) -> Discriminator:
        """The discriminator, without which nothing can be adapted; GraftError where there is none."""
        if self.discriminator is None:
            raise GraftError(
                f"{self.folder}: adapting needs the source's discriminator, and this model has none; "
                "name a pretrained source (models that were adapted are exported without theirs)",
                INPUT,
            )
        return self.discriminator

    def to(self, device: torch.device) -> "Model":
        """Move every part."""
        for part in (self.generator, self.discriminator, self.projector):
            if part is not None:
                part.to(device)
        self.path_mean, self.mean = self.path_mean.to(device), self.mean.to(device)
        return self


@torch.no_grad()
def mean_style(generator: Generator, count: int = 4096) -> Tensor:
    """Mean w [D] of `count` latents of a fixed seed."""
    device = next(generator.parameters()).device
    z = torch.randn(count, generator.shape.style_dim, generator=torch.Generator().manual_seed(0))
    return generator.mapping(z.to(device)).mean(dim=0)


def source_folder(name: str) -> Path:
    """The folder of a shipped source, or of a model anywhere, s3:// too; the sentence names what there is."""
    shipped = shipped_sources()
    folder = shipped.get(name) or at_hand(name)
    if folder.is_file():
        if folder.suffix.lower() in PICKLED:
            read_tensors(folder)  # says why such a file is refused
        raise GraftError(f"{name}: one file, but a model is a folder (config.json, model.safetensors)", INPUT)
    if not (folder / "config.json").is_file():
        raise GraftError(
            f"{name}: no model here (config.json and model.safetensors){did_you_mean(name, shipped)}", INPUT
        )
    return folder


def shape_in(tensors: Mapping[str, Tensor]) -> Shape | None:
    """The sizes that the tensors of an exported generator speak of; None where they speak of none."""
    mapping = [key for key in tensors if fnmatch(key, "G.style.*.weight")]
    try:
        widths = {4: tensors["G.input.input"].shape[1]}
        while (key := f"G.convs.{2 * (len(widths) - 1)}.conv.weight") in tensors:
            widths[4 << len(widths)] = tensors[key].shape[1]
        return Shape(max(widths), widths, tensors[mapping[0]].shape[0], len(mapping))
    except (KeyError, IndexError, ValueError):
        return None


def _asked_by(config: Path, shape: Shape, found: Shape | None) -> str:
    """What decides the network's shapes, and the value of it that would fit the tensors."""
    asked = f"the network in {config.name}"
    if found is None or found == shape:
        return asked
    mine, theirs = shape.as_dict(), found.as_dict()
    flat = [{**v, **{f"widths.{side}": w for side, w in v["widths"].items()}} for v in (mine, theirs)]
    fits = [f"network.{k}: {v}" for k, v in flat[1].items() if k != "widths" and flat[0].get(k) != v]
    return f"{asked} (where {', '.join(fits)} would fit)"


def card_values(name: str, kind: str) -> tuple[Path, dict[str, Any]]:
    """The folder of a model of one kind, shipped or anywhere, and its config.json."""
    folder = source_folder(name)
    about = about_in(folder, kind)
    if about.get("kind") != kind:
        raise GraftError(
            f"{folder / 'config.json'}: a {about.get('kind')} model, and a {kind} model is needed here", INPUT
        )
    return folder, about


def about_in(folder: Path, kind: str = "") -> dict[str, Any]:
    """config.json of a model, of any kind; `kind` is what was asked for, for the sentence."""
    config = folder / "config.json"
    try:
        about = read_json(config)
    except GraftError as error:
        raise GraftError(f"{error}; export or fetch the model again", INPUT) from error
    if not isinstance(about, dict) or "kind" not in about or "network" not in about:
        asked = f"a {kind} model" if kind else "a model"
        raise GraftError(f"{config}: not the card of {asked} (no kind and network in it)", INPUT)
    return about


def load_model(name: str) -> Model:
    """A shipped source by its name, or the folder of an exported model."""
    folder, about = card_values(name, KIND)
    config, weights = folder / "config.json", folder / "model.safetensors"
    try:
        shape = Shape.from_dict(about["network"])
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise GraftError(f"{config}: its network cannot be built: {error}", INPUT) from error
    tensors = read_tensors(weights)
    generator, setting = Generator(shape), _asked_by(config, shape, shape_in(tensors))
    load_into(generator, tensors, "G.", weights, setting)
    discriminator = projector = None
    if any(key.startswith("D.") for key in tensors):
        discriminator = Discriminator(shape, int(about.get("stddev_group", 4)))
        load_into(discriminator, tensors, "D.", weights, setting)
    if "projector.bases" in tensors:
        rank = tensors["projector.bases"].shape[-1:].numel()
        projector = Projector(torch.zeros(shape.layers, shape.style_dim, rank), torch.zeros(shape.layers))
        load_into(projector, tensors, "projector.", weights, setting)
    path_mean = tensors.get("path_mean", torch.zeros(()))
    for part in (generator, discriminator, projector):
        if part is not None:
            part.requires_grad_(False).eval()
    mean = tensors["mean"] if "mean" in tensors else mean_style(generator)
    for key, value, fits in (("mean", mean, [shape.style_dim]), ("path_mean", path_mean, [])):
        if list(value.shape) != fits:
            raise GraftError(
                f"{weights}: tensor {key} is {list(value.shape)}, but {setting} makes it {fits}", INPUT
            )
    return Model(
        shape, generator, discriminator, projector, path_mean, mean, about, sha256_of(weights), folder
    )
