"""Pictures of a finished model: single ones, a model beside its source, a walk through its latents.

B pictures, D latent dimension, K corners of a walk.
"""

from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from models.files import WeightsError
from pipeline.errors import GraftError
from pipeline.load import Model
from pipeline.opening import source_of
from pipeline.pictures import as_bytes, fixed_latents, write_rows
from pipeline.report.grids import animation, grid

AT_ONCE = 16
COLUMNS = 8
OF_TRANSLATORS = ("pictures", "to", "references")
COUNT, FRAMES = 16, 16  # of a model that draws from latents, where nothing else is asked for


@dataclass(frozen=True)
class Work:
    """What `sample` is to do: the names of its files, how they are drawn into a folder, what its note says."""

    names: list[str]
    draw: Callable[[Path], list[str]]
    about: dict[str, Any] = field(default_factory=dict)


def of_latents(model: Model, given: Namespace) -> Work:
    """Pictures of some latents, and what else is asked for. GraftError for options of translators."""
    refuse_options(OF_TRANSLATORS, model.title, given)
    count = given.count or COUNT
    names = [f"{index:06d}.png" for index in range(count)]
    names += ["grid.png"] * given.grid + ["interpolation.gif"] * bool(given.interpolate)
    return Work(names, lambda out: _draw(model, given, count, out))


def refuse_options(options: Sequence[str], title: str, given: Namespace) -> None:
    """GraftError for an option that a model which draws from latents cannot follow."""
    for option in options:
        if getattr(given, option) is not None:
            raise GraftError(
                f"--{option} is for translators, and {given.model} is a {title}: it draws from latents"
            )


def _draw(model: Model, given: Namespace, count: int, out: Path) -> list[str]:
    """Write the files that were asked for; returns what to say."""
    z = fixed_latents(max(count, given.interpolate), model.shape.style_dim, given.seed)
    write_pictures(model, z[:count], given.psi, out)
    said = [f"pictures   {out}/000000.png to {count - 1:06d}.png"]
    if not (given.grid or given.interpolate):
        return said
    models, labels, note = beside(model)
    if given.grid:
        rows, names = [], []
        for part in torch.split(z[:count], COLUMNS):
            rows += [each.draw(part, given.psi) for each in models]
            names += labels
        write_rows(out / "grid.png", rows, names if len(models) > 1 else None, scale=2)
        said.append(f"grid       {out / 'grid.png'}{note}")
    if given.interpolate:
        way = loop(z[: given.interpolate], given.frames or FRAMES)
        write_loop(models, way, given.psi, out / "interpolation.gif")
        said.append(f"animation  {out / 'interpolation.gif'} ({len(way)} frames){note}")
    return said


def write_pictures(model: Model, z: Tensor, psi: float, folder: Path) -> None:
    """z [B, D] -> 000000.png, 000001.png, ... in `folder`."""
    drawn = torch.cat([as_bytes(model.draw(part, psi)) for part in torch.split(z, AT_ONCE)])
    for index, picture in enumerate(drawn.permute(0, 2, 3, 1).contiguous().numpy()):
        Image.fromarray(picture).save(folder / f"{index:06d}.png")


def beside(model: Model) -> tuple[list[Model], list[str], str]:
    """The source before the model, where it has one that can be loaded; labels; and a note where it cannot."""
    if not model.about.get("source"):
        return [model], [""], ""
    label = str(model.about.get("method", "adapted"))
    try:
        return [source_of(model), model], ["source", label], ""
    except (GraftError, WeightsError) as error:
        return [model], [label], f" (without the source's: {error})"


def slerp(a: Tensor, b: Tensor, share: float) -> Tensor:
    """Between two latents [D] on the arc between them: where normal latents lie, which a line would leave.

    White, "Sampling generative networks" (2016). Latents in one direction are mixed on a line.
    """
    cosine = torch.nn.functional.cosine_similarity(a, b, dim=0).clamp(-1, 1)
    angle = torch.arccos(cosine)
    if float(torch.sin(angle)) < 1e-6:
        return (1 - share) * a + share * b
    mixed: Tensor = (torch.sin((1 - share) * angle) * a + torch.sin(share * angle) * b) / torch.sin(angle)
    return mixed


def loop(corners: Tensor, frames: int) -> Tensor:
    """From each of the latents [K, D] to the next and back to the first: [K * frames, D]."""
    pairs = zip(corners, corners.roll(-1, 0), strict=True)
    return torch.stack([slerp(a, b, i / frames) for a, b in pairs for i in range(frames)])


def write_loop(models: Sequence[Model], way: Tensor, psi: float, path: Path) -> None:
    """The pictures of z [B, D] as an endless GIF, one column for each model."""
    columns = [
        torch.cat([as_bytes(model.draw(part, psi)) for part in torch.split(way, AT_ONCE)]) for model in models
    ]
    frames = [grid([torch.stack(together).numpy()]) for together in zip(*columns, strict=True)]
    animation(frames, path)
