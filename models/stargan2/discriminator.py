"""The StarGAN v2 discriminator: one real-or-not logit a domain (Choi et al. 2020).

`B` batch, `Y` domains, `S` side of the picture.
"""

from torch import Tensor, nn

from models.stargan2.layers import trunk
from models.stargan2.layout import Layout
from models.stargan2.styles import picked


class Discriminator(nn.Module):
    """Pictures [B, 3, S, S] -> raw logits. `folded`: see `layers`."""

    def __init__(self, layout: Layout, folded: bool = True) -> None:
        super().__init__()
        self.layout = layout
        self.main = nn.Sequential(
            *trunk(layout, folded), nn.Conv2d(layout.trunk_widths[-1], layout.domains, 1)
        )

    def all(self, pictures: Tensor) -> Tensor:
        """Logits of every domain [B, Y]."""
        logits: Tensor = self.main(pictures).flatten(1)
        return logits

    def forward(self, pictures: Tensor, y: Tensor) -> Tensor:
        """Logits of domains y [B]: [B]."""
        return picked(self.all(pictures), y)
