"""From a model's output to pictures on disk, and fixed latents to watch a run by."""

from pathlib import Path

import torch
from torch import Tensor

from models.projector import Projector
from models.stylegan2 import Generator
from pipeline.nets import Nets
from pipeline.report.grids import grid, save


def as_bytes(pictures: Tensor) -> Tensor:
    """[-1, 1] -> uint8 on the CPU, rounded, clamped."""
    return (pictures.detach().float().clamp(-1, 1) * 127.5 + 127.5).round().to(torch.uint8).cpu()


def fixed_latents(count: int, dim: int, seed: int = 7) -> Tensor:
    """z [count, dim], the same for ever: drawn on the CPU from `seed`."""
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def averaged_pictures(nets: Nets, z: Tensor, device: torch.device) -> Tensor:
    """Pictures [N, 3, H, W] in [-1, 1] of the averaged generator, stored noise, compressed if the method does."""
    generator = nets.averaged(Generator, "G")
    styles = generator.styles(generator.mapping(z.to(device)))
    if "projector" in nets.modules:
        styles = nets.of(Projector, "projector")(styles)
    return generator.synthesis(styles).picture.clamp(-1, 1)


def write_rows(
    path: Path, rows: list[Tensor], labels: list[str] | None = None, scale: int | None = None
) -> Path:
    """Rows of pictures [N, 3, H, W] in [-1, 1] as one PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save(grid([as_bytes(row).numpy() for row in rows], labels, scale), path)
    return path
