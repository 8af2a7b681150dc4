"""DRIT's two generators: content and code in, pictures of a domain out.

`B` contents, `K` blocks of codes for the same contents, `N` latent dimension, `C` channels (4w), `H W` pixels
of the content, `S` = 4H side of the pictures, `w` the width (64 published). Domains are 0 and 1.

Both take a content once with K codes, z [K B, N] with row k B + b for content b, and compute once what no
code enters. That is exact: every norm here is of one picture alone.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from models.conditional.drit.layers import DOMAINS, ResidualBlock, Up, reflected
from models.conditional.layers import beside, blocks, repeated


class ConcatDecoder(nn.Module):
    """One domain's part of `ConcatGenerator`; the code is appended again at every side."""

    def __init__(self, latent_dim: int, width: int) -> None:
        super().__init__()
        coded = 4 * width + latent_dim
        half = (coded + latent_dim) // 2
        whole = (half + latent_dim) // 2
        self.blocks = nn.Sequential(*[ResidualBlock(coded) for _ in range(3)])
        self.up1 = Up(coded + latent_dim, half)
        self.up2 = Up(half + latent_dim, whole)
        self.to_rgb = nn.ConvTranspose2d(whole + latent_dim, 3, 1)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        x = self.blocks(beside(x, z))
        x = self.up1(beside(x, z))
        x = self.up2(beside(x, z))
        pictures: Tensor = self.to_rgb(beside(x, z)).tanh()
        return pictures


class ConcatGenerator(nn.Module):
    """The code as planes beside the features (seasons, light). Once a content: the shared first block."""

    def __init__(self, latent_dim: int = 8, width: int = 64) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        self.shared = ResidualBlock(4 * width)
        self.own = nn.ModuleList([ConcatDecoder(latent_dim, width) for _ in range(DOMAINS)])

    def forward(self, content: Tensor, z: Tensor, domain: int) -> Tensor:
        """content [B, C, H, W], z [K B, N] -> pictures of `domain` [K B, 3, S, S] in [-1, 1]."""
        count = blocks(content, z)
        pictures: Tensor = self.own[domain](repeated(self.shared(content), count), z)
        return pictures


class Mixing(nn.Module):
    """Two 1x1 convolutions, both with ReLU, of features beside a code of the same width.

    The first one's share of the code is the same at every pixel, so it is a linear layer of the code: half
    of that convolution's work, and no code is ever spread over the pixels.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.both = nn.Conv2d(2 * channels, 2 * channels, 1)
        self.last = nn.Conv2d(2 * channels, channels, 1)

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        """x [B, C, H, W], code [K B, C] -> [K B, C, H, W]."""
        weight = self.both.weight
        share = F.linear(code, weight[:, self.channels :, 0, 0], self.both.bias)
        y = repeated(F.conv2d(x, weight[:, : self.channels]), blocks(x, code))
        return F.relu(self.last(F.relu(y + share[:, :, None, None])))


class CodedBlock(nn.Module):
    """(conv3, norm, mixing) twice, plus the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = reflected(channels, channels, 3), reflected(channels, channels, 3)
        self.mix1, self.mix2 = Mixing(channels), Mixing(channels)

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        """x [B, C, H, W], code [K B, C] -> [K B, C, H, W]."""
        y = self.mix1(F.instance_norm(self.conv1(x)), code)
        mixed: Tensor = self.mix2(F.instance_norm(self.conv2(y)), code)
        return mixed + repeated(x, blocks(x, code))


class FeaturewiseDecoder(nn.Module):
    """One domain's part of `FeaturewiseGenerator`; three linear layers give each of four blocks its code."""

    def __init__(self, latent_dim: int, width: int) -> None:
        super().__init__()
        channels = 4 * width
        self.codes = nn.Sequential(
            nn.Linear(latent_dim, channels),
            nn.ReLU(inplace=True),
            nn.Linear(channels, channels),
            nn.ReLU(inplace=True),
            nn.Linear(channels, 4 * channels),
        )
        self.blocks = nn.ModuleList([CodedBlock(channels) for _ in range(4)])
        self.up1, self.up2 = Up(channels, channels // 2), Up(channels // 2, channels // 4)
        self.to_rgb = nn.ConvTranspose2d(channels // 4, 3, 1)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        for block, code in zip(self.blocks, self.codes(z).chunk(4, dim=1), strict=True):
            x = block(x, code)
        pictures: Tensor = self.to_rgb(self.up2(self.up1(x))).tanh()
        return pictures


class FeaturewiseGenerator(nn.Module):
    """The code mixed into every pixel's features (changes of shape).

    Once a content: the first block's conv3, and its mixing up to where the code comes in.
    """

    def __init__(self, latent_dim: int = 8, width: int = 64) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        self.own = nn.ModuleList([FeaturewiseDecoder(latent_dim, width) for _ in range(DOMAINS)])

    def forward(self, content: Tensor, z: Tensor, domain: int) -> Tensor:
        """content [B, C, H, W], z [K B, N] -> pictures of `domain` [K B, 3, S, S] in [-1, 1]."""
        pictures: Tensor = self.own[domain](content, z)
        return pictures
