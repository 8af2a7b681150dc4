"""Where the styles of StarGAN v2 come from: a mapping network (from z) and a style encoder (from a picture).

`B` batch, `Z` latent dimension, `D` style dimension, `Y` domains, `S` side of the picture.

All heads are always computed and one is picked by index: a head whose domain is absent from the batch then gets a
gradient of zero, not none, and its optimiser still takes a step with it, as released.
"""

import torch
from torch import Tensor, nn

from models.stargan2.layers import trunk
from models.stargan2.layout import Layout


def picked(heads: Tensor, y: Tensor) -> Tensor:
    """heads [B, Y, ...], y [B] whole numbers -> row b's head y[b]: [B, ...]."""
    return heads[torch.arange(len(y), device=y.device), y]


class MappingNetwork(nn.Module):
    """z [B, Z] -> styles: four shared layers, then four of each domain's own, ReLU between them."""

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self.layout = layout
        hidden = layout.hidden_dim
        inputs = [layout.latent_dim, hidden, hidden, hidden]
        self.shared = nn.Sequential(*(part for i in inputs for part in (nn.Linear(i, hidden), nn.ReLU())))
        self.unshared = nn.ModuleList(
            nn.Sequential(
                *(part for _ in range(3) for part in (nn.Linear(hidden, hidden), nn.ReLU())),
                nn.Linear(hidden, layout.style_dim),
            )
            for _ in range(layout.domains)
        )

    def all(self, z: Tensor) -> Tensor:
        """Styles of every domain [B, Y, D]."""
        h = self.shared(z)
        return torch.stack([head(h) for head in self.unshared], dim=1)

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        """Styles of domains y [B]: [B, D]."""
        return picked(self.all(z), y)


class StyleEncoder(nn.Module):
    """Pictures [B, 3, S, S] -> styles: a trunk, then one linear head a domain. `folded`: see `layers`."""

    def __init__(self, layout: Layout, folded: bool = True) -> None:
        super().__init__()
        self.layout = layout
        self.shared = nn.Sequential(*trunk(layout, folded))
        width = layout.trunk_widths[-1]
        self.unshared = nn.ModuleList(nn.Linear(width, layout.style_dim) for _ in range(layout.domains))

    def all(self, pictures: Tensor) -> Tensor:
        """Styles as every domain would see them [B, Y, D]."""
        h = self.shared(pictures).flatten(1)
        return torch.stack([head(h) for head in self.unshared], dim=1)

    def forward(self, pictures: Tensor, y: Tensor) -> Tensor:
        """Styles in domains y [B]: [B, D]."""
        return picked(self.all(pictures), y)
