"""`export`: a model with its config, its card and a grid, for others to use."""

from pathlib import Path

import torch

from pipeline.job import Pretrain
from pipeline.load import Model, save_model
from pipeline.pictures import fixed_latents, write_rows


def export_source(model: Model, job: Pretrain, folder: Path, device: torch.device) -> Path:
    """Write a pretrained pair."""
    save_model(model, folder)
    z = fixed_latents(64, model.shape.style_dim).to(device)
    write_rows(folder / "grid.png", list(model.draw(z).split(8)), scale=2)
    return folder
