"""Pictures of a finished model: single ones, a model beside its source, a walk through its latents.

B pictures, D latent dimension, K corners of a walk.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from models.files import WeightsError
from pipeline.errors import GraftError
from pipeline.load import Model
from pipeline.opening import source_of
from pipeline.pictures import as_bytes
from pipeline.report.grids import animation, grid

AT_ONCE = 16


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
