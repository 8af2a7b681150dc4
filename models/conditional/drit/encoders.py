"""What DRIT reads from a picture: its content, which the domains share, and its attributes.

`B` batch, `N` latent dimension, `S` side of the pictures, `w` the width (64 published). Domains are 0 and 1.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from models.conditional.drit.layers import DOMAINS, ResidualBlock, checked, reflected
from models.conditional.drit.layers import SLOPE as CONTENT_SLOPE
from models.conditional.layers import SLOPE as ATTRIBUTE_SLOPE
from models.conditional.layers import ResidualDown


def content_layers(width: int) -> nn.Sequential:
    """One domain's own part: conv7, LReLU; two halvings with instance norm, ReLU; three residual blocks."""
    layers: list[nn.Module] = [reflected(3, width, 7, padding=3), nn.LeakyReLU(CONTENT_SLOPE, inplace=True)]
    for inputs in (width, 2 * width):
        layers += [reflected(inputs, 2 * inputs, 3, stride=2), nn.InstanceNorm2d(2 * inputs)]
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers, *[ResidualBlock(4 * width) for _ in range(3)])


class ContentEncoder(nn.Module):
    """Both domains' encoders, and the block they share."""

    def __init__(self, size: int, width: int = 64) -> None:
        super().__init__()
        side = checked(size) // 4
        self.content_shape = (4 * width, side, side)
        self.own = nn.ModuleList([content_layers(width) for _ in range(DOMAINS)])
        self.shared = ResidualBlock(4 * width)

    def forward(self, x: Tensor, domain: int, noise: Tensor | None = None) -> Tensor:
        """x [B, 3, S, S] of one domain -> [B, *content_shape].

        noise [B, *content_shape] is added to the content: standard normal in training, None otherwise (as
        released).
        """
        content: Tensor = self.shared(self.own[domain](x))
        return content if noise is None else content + noise


class VariationalAttributes(nn.Module):
    """One domain's part of `VariationalAttributeEncoder`."""

    def __init__(self, latent_dim: int, width: int) -> None:
        super().__init__()
        self.first = reflected(3, width, 4, stride=2)
        steps = [(i * width, (i + 1) * width) for i in (1, 2, 3)]
        self.blocks = nn.Sequential(*[ResidualDown(i, o, nn.Identity, "reflect") for i, o in steps])
        self.mean = nn.Linear(4 * width, latent_dim)
        self.log_variance = nn.Linear(4 * width, latent_dim)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = F.leaky_relu(self.blocks(self.first(x)), ATTRIBUTE_SLOPE).mean(dim=(2, 3))
        return self.mean(features), self.log_variance(features)


class VariationalAttributeEncoder(nn.Module):
    """Goes with `ConcatGenerator` (seasons, light). Slope 0.2, unlike the rest; no norm: as released."""

    def __init__(self, size: int, latent_dim: int = 8, width: int = 64) -> None:
        super().__init__()
        checked(size)
        self.own = nn.ModuleList([VariationalAttributes(latent_dim, width) for _ in range(DOMAINS)])

    def forward(self, x: Tensor, domain: int) -> tuple[Tensor, Tensor]:
        """x [B, 3, S, S] of one domain -> mean [B, N], log-variance [B, N]."""
        mean, log_variance = self.own[domain](x)
        return mean, log_variance


def plain_layers(latent_dim: int, width: int) -> nn.Sequential:
    """One domain's own part: conv7, four halvings, all with ReLU; mean over the pixels; 1x1 to the code."""
    layers: list[nn.Module] = [reflected(3, width, 7, padding=3), nn.ReLU(inplace=True)]
    for inputs, outputs in ((1, 2), (2, 4), (4, 4), (4, 4)):
        layers += [reflected(inputs * width, outputs * width, 4, stride=2), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Conv2d(4 * width, latent_dim, 1), nn.Flatten())


class PlainAttributeEncoder(nn.Module):
    """Goes with `FeaturewiseGenerator` (changes of shape): a code without a variance."""

    def __init__(self, size: int, latent_dim: int = 8, width: int = 64) -> None:
        super().__init__()
        checked(size)
        self.own = nn.ModuleList([plain_layers(latent_dim, width) for _ in range(DOMAINS)])

    def forward(self, x: Tensor, domain: int) -> Tensor:
        """x [B, 3, S, S] of one domain -> code [B, N]."""
        code: Tensor = self.own[domain](x)
        return code
