"""Pictures of a class-conditional generator: CLASS-CODE.png, the same latents in every class.

B pictures, K latents, Z latent dimension.
"""

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from cluster.engine import pick_device
from pipeline.conditional_model import COLUMNS, ClassModel
from pipeline.data.singles import fit_for_files
from pipeline.drawing import AT_ONCE, FRAMES, Work, loop, refuse_options
from pipeline.pictures import as_bytes, fixed_latents, write_rows
from pipeline.report.grids import animation, grid
from pipeline.translating import targets_of

OF_PICTURES = ("pictures", "references")
IN_A_ROW = 5  # classes side by side in an animation


def of_classes(model: ClassModel, given: Namespace) -> Work:
    """Pictures of the classes that --to names, of all where it names none. GraftError for options of translators."""
    refuse_options(OF_PICTURES, model.title, given)
    model.to(pick_device(given.device))
    labels = targets_of(model, given.to) or list(range(len(model.names)))
    count = given.count or COLUMNS
    called = fit_for_files([model.names[label] for label in labels])
    names = [f"{name}-{index:03d}.png" for name in called for index in range(count)]
    more = ["grid.png"] * given.grid + ["interpolation.gif"] * bool(given.interpolate)

    def draw(out: Path) -> list[str]:
        z = fixed_latents(max(count, given.interpolate), model.latent_dim, given.seed)
        rows = [pictures_of(model, z[:count], label, given.psi) for label in labels]
        together = torch.cat(rows).permute(0, 2, 3, 1).contiguous().numpy()
        for name, picture in zip(names, together, strict=True):
            Image.fromarray(picture).save(out / name)
        to = ", ".join(model.names[label] for label in labels)
        said = [f"pictures   {out}: {count} of each of {to}; CLASS-CODE.png, the same z in every class"]
        if given.grid:
            write_grid(out / "grid.png", rows, [model.names[label] for label in labels])
            said.append(f"grid       {out / 'grid.png'}")
        if given.interpolate:
            way = loop(z[: given.interpolate], given.frames or FRAMES)
            write_loop(out / "interpolation.gif", [pictures_of(model, way, y, given.psi) for y in labels])
            said.append(f"animation  {out / 'interpolation.gif'} ({len(way)} frames)")
        return said

    return Work([*names, *more], draw, {"to": [model.names[label] for label in labels], "count": count})


def pictures_of(model: ClassModel, z: Tensor, label: int, psi: float) -> Tensor:
    """uint8 [B, 3, S, S] of latents [B, Z] and one class; psi below 1 draws latents to 0, their mean."""
    drawn = []
    for part in torch.split(z.to(model.device), AT_ONCE):
        y = torch.full((len(part),), label, device=model.device)
        drawn.append(as_bytes(model.draw(part if psi == 1 else psi * part, y)))
    return torch.cat(drawn)


def write_grid(path: Path, rows: Sequence[Tensor], labels: Sequence[str]) -> None:
    """One row of each class, uint8 [K, 3, S, S]; what is more than fits in a row goes on in the next."""
    parts = [
        (part, name) for row, name in zip(rows, labels, strict=True) for part in torch.split(row, COLUMNS)
    ]
    write_rows(path, [part.float() / 127.5 - 1 for part, _ in parts], [name for _, name in parts], scale=2)


def write_loop(path: Path, classes: Sequence[Tensor]) -> None:
    """An endless GIF of all classes at once, each uint8 [frames, 3, S, S]."""
    frames = []
    for together in zip(*classes, strict=True):
        rows = torch.split(torch.stack(together), IN_A_ROW)
        frames.append(grid([row.numpy() for row in rows]))
    animation(frames, path)
