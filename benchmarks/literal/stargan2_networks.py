"""The networks of StarGAN v2 as released, written out plainly, with the published names of their parameters.

`B` batch, `D` domains, `S` side, `K` size of a latent or style. Pictures [B, 3, S, S] in [-1, 1].
"""

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Masks = tuple[Tensor, Tensor]
SKIPPED_SIDES = (32, 64, 128)


def widths_of(size: int, base: int, widest: int, downs: int) -> list[int]:
    """Channels before the first block and after every further one: doubled up to the widest."""
    widths = [base // size]
    for _ in range(downs):
        widths.append(min(2 * widths[-1], widest))
    return widths


class ResBlk(nn.Module):
    """Norm, activation, convolution, twice; pooled between and on the shortcut, after its convolution."""

    def __init__(self, dim_in: int, dim_out: int, normalize: bool, downsample: bool) -> None:
        super().__init__()
        self.normalize, self.downsample = normalize, downsample
        self.conv1 = nn.Conv2d(dim_in, dim_in, 3, 1, 1)
        self.conv2 = nn.Conv2d(dim_in, dim_out, 3, 1, 1)
        if normalize:
            self.norm1 = nn.InstanceNorm2d(dim_in, affine=True)
            self.norm2 = nn.InstanceNorm2d(dim_in, affine=True)
        self.learned = dim_in != dim_out
        if self.learned:
            self.conv1x1 = nn.Conv2d(dim_in, dim_out, 1, 1, 0, bias=False)

    def _shortcut(self, x: Tensor) -> Tensor:
        if self.learned:
            x = self.conv1x1(x)
        if self.downsample:
            x = F.avg_pool2d(x, 2)
        return x

    def _residual(self, x: Tensor) -> Tensor:
        if self.normalize:
            x = self.norm1(x)
        x = self.conv1(F.leaky_relu(x, 0.2))
        if self.downsample:
            x = F.avg_pool2d(x, 2)
        if self.normalize:
            x = self.norm2(x)
        out: Tensor = self.conv2(F.leaky_relu(x, 0.2))
        return out

    def forward(self, x: Tensor) -> Tensor:
        """Of variance about one."""
        return (self._shortcut(x) + self._residual(x)) / math.sqrt(2)


class AdaIN(nn.Module):
    """Instance norm whose scale and shift a style gives; the scale is one plus what is projected."""

    def __init__(self, style_dim: int, channels: int) -> None:
        super().__init__()
        self.norm = nn.InstanceNorm2d(channels, affine=False)
        self.fc = nn.Linear(style_dim, channels * 2)

    def forward(self, x: Tensor, s: Tensor) -> Tensor:
        """x [B, C, H, W], s [B, K]."""
        gamma, beta = self.fc(s)[:, :, None, None].chunk(2, dim=1)
        out: Tensor = (1 + gamma) * self.norm(x) + beta
        return out


class AdainResBlk(nn.Module):
    """A styled block; with a high-pass filter in the generator its shortcut is there but never used."""

    def __init__(self, dim_in: int, dim_out: int, style_dim: int, high_pass: float, upsample: bool) -> None:
        super().__init__()
        self.high_pass, self.upsample = high_pass, upsample
        self.conv1 = nn.Conv2d(dim_in, dim_out, 3, 1, 1)
        self.conv2 = nn.Conv2d(dim_out, dim_out, 3, 1, 1)
        self.norm1 = AdaIN(style_dim, dim_in)
        self.norm2 = AdaIN(style_dim, dim_out)
        self.learned = dim_in != dim_out
        if self.learned:
            self.conv1x1 = nn.Conv2d(dim_in, dim_out, 1, 1, 0, bias=False)

    def _shortcut(self, x: Tensor) -> Tensor:
        if self.upsample:
            x = F.interpolate(x, scale_factor=2, mode="nearest")
        if self.learned:
            x = self.conv1x1(x)
        return x

    def _residual(self, x: Tensor, s: Tensor) -> Tensor:
        x = F.leaky_relu(self.norm1(x, s), 0.2)
        if self.upsample:
            x = F.interpolate(x, scale_factor=2, mode="nearest")
        x = self.conv1(x)
        out: Tensor = self.conv2(F.leaky_relu(self.norm2(x, s), 0.2))
        return out

    def forward(self, x: Tensor, s: Tensor) -> Tensor:
        """x [B, C, H, W], s [B, K]."""
        out = self._residual(x, s)
        if self.high_pass == 0:
            out = (out + self._shortcut(x)) / math.sqrt(2)
        return out


class HighPass(nn.Module):
    """Each channel less its neighbours; the kernel is divided, so a larger weight is a weaker skip."""

    filter: Tensor

    def __init__(self, weight: float) -> None:
        super().__init__()
        kernel = torch.tensor([[-1.0, -1.0, -1.0], [-1.0, 8.0, -1.0], [-1.0, -1.0, -1.0]])
        self.register_buffer("filter", kernel / weight)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> the same."""
        kernel = self.filter[None, None].repeat(x.shape[1], 1, 1, 1)
        return F.conv2d(x, kernel, padding=1, groups=x.shape[1])


class Generator(nn.Module):
    """Source and style to picture."""

    def __init__(self, size: int, base: int, widest: int, style_dim: int, high_pass: float) -> None:
        super().__init__()
        downs = int(math.log2(size)) - 4 + (1 if high_pass > 0 else 0)
        widths = widths_of(size, base, widest, downs)
        self.from_rgb = nn.Conv2d(3, widths[0], 3, 1, 1)
        self.encode, self.decode = nn.ModuleList(), nn.ModuleList()
        for narrow, wide in pairwise(widths):
            self.encode.append(ResBlk(narrow, wide, normalize=True, downsample=True))
            self.decode.insert(0, AdainResBlk(wide, narrow, style_dim, high_pass, upsample=True))
        for _ in range(2):
            self.encode.append(ResBlk(widths[-1], widths[-1], normalize=True, downsample=False))
            self.decode.insert(0, AdainResBlk(widths[-1], widths[-1], style_dim, high_pass, upsample=False))
        self.to_rgb = nn.Sequential(
            nn.InstanceNorm2d(widths[0], affine=True), nn.LeakyReLU(0.2), nn.Conv2d(widths[0], 3, 1, 1, 0)
        )
        if high_pass > 0:
            self.hpf = HighPass(high_pass)

    def forward(self, x: Tensor, s: Tensor, masks: Masks | None = None) -> Tensor:
        """x [B, 3, S, S], s [B, K], two masks [B, 1, h, w] in [0, 1] -> [B, 3, S, S]."""
        x = self.from_rgb(x)
        kept: dict[int, Tensor] = {}
        for block in self.encode:
            if masks is not None and x.shape[2] in SKIPPED_SIDES:
                kept[x.shape[2]] = x
            x = block(x)
        for block in self.decode:
            x = block(x, s)
            side = x.shape[2]
            if masks is not None and side in SKIPPED_SIDES:
                mask = masks[0] if side == 32 else masks[1]
                mask = F.interpolate(mask, size=(side, side), mode="bilinear", align_corners=False)
                x = x + self.hpf(mask * kept[side])
        picture: Tensor = self.to_rgb(x)
        return picture


class MappingNetwork(nn.Module):
    """Latent and domain to style; all heads are computed and one is picked."""

    def __init__(self, latent_dim: int, style_dim: int, hidden_dim: int, domains: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Linear(latent_dim, hidden_dim), nn.ReLU()]
        for _ in range(3):
            layers += [nn.Linear(hidden_dim, hidden_dim), nn.ReLU()]
        self.shared = nn.Sequential(*layers)
        self.unshared = nn.ModuleList()
        for _ in range(domains):
            head: list[nn.Module] = []
            for _ in range(3):
                head += [nn.Linear(hidden_dim, hidden_dim), nn.ReLU()]
            self.unshared.append(nn.Sequential(*head, nn.Linear(hidden_dim, style_dim)))

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        """z [B, K], y [B] -> [B, K]."""
        h = self.shared(z)
        styles = torch.stack([head(h) for head in self.unshared], dim=1)
        return styles[torch.arange(len(y), device=y.device), y]


def trunk(size: int, base: int, widest: int) -> tuple[list[nn.Module], int]:
    """What style encoder and discriminator begin with, [B, 3, S, S] -> [B, C, 1, 1], and C."""
    widths = widths_of(size, base, widest, int(math.log2(size)) - 2)
    layers: list[nn.Module] = [nn.Conv2d(3, widths[0], 3, 1, 1)]
    for narrow, wide in pairwise(widths):
        layers.append(ResBlk(narrow, wide, normalize=False, downsample=True))
    layers += [nn.LeakyReLU(0.2), nn.Conv2d(widths[-1], widths[-1], 4, 1, 0), nn.LeakyReLU(0.2)]
    return layers, widths[-1]


class StyleEncoder(nn.Module):
    """Picture and domain to style; all heads are computed and one is picked."""

    def __init__(self, size: int, base: int, widest: int, style_dim: int, domains: int) -> None:
        super().__init__()
        layers, last = trunk(size, base, widest)
        self.shared = nn.Sequential(*layers)
        self.unshared = nn.ModuleList(nn.Linear(last, style_dim) for _ in range(domains))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """x [B, 3, S, S], y [B] -> [B, K]."""
        h = self.shared(x).flatten(1)
        styles = torch.stack([head(h) for head in self.unshared], dim=1)
        return styles[torch.arange(len(y), device=y.device), y]


class Discriminator(nn.Module):
    """Picture and domain to a raw logit."""

    def __init__(self, size: int, base: int, widest: int, domains: int) -> None:
        super().__init__()
        layers, last = trunk(size, base, widest)
        self.main = nn.Sequential(*layers, nn.Conv2d(last, domains, 1, 1, 0))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """x [B, 3, S, S], y [B] -> [B]."""
        logits: Tensor = self.main(x).flatten(1)
        return logits[torch.arange(len(y), device=y.device), y]


def he_init(module: nn.Module) -> None:
    """Kaiming normal for ReLU over fan-in, biases zero; norms without a weight layer stay as they are."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
        if module.bias is not None:
            nn.init.constant_(module.bias, 0)
