"""The networks of BicycleGAN (Zhu et al. 2017), which DivCo takes over unchanged for pairs.

`B` sources, `K` blocks of codes for the same sources, `N` latent dimension, `C` channels, `H W` pixels, `S`
side, `w` the width (64 published). Level l of the U-net goes from side S / 2^l to S / 2^(l + 1).

Published at 256 and 128 px; 64 px by the same rules; 32 px (ours) has no level of dropout left.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.conditional.layers import SLOPE, ResidualDown, beside, blocks, halved, power_of_two, repeated

LEAST = 32
# The first level as wide as the one above it; the release drops out from here to the innermost but one.
FIRST_DROPPED = 4


def dropout_masks(uniforms: Sequence[Tensor], rate: float) -> list[Tensor]:
    """Uniform numbers in [0, 1) -> 0 with probability `rate`, else 1 / (1 - rate). Released rate: 0.5."""
    return [(uniform >= rate).to(uniform.dtype) / (1 - rate) for uniform in uniforms]


class Generator(nn.Module):
    """U-net down to 1 x 1 with the code beside the input of every level; pictures in [-1, 1].

    Except at the outermost level the leaky ReLU stands after the code was appended, so negative codes enter
    at a fifth; as released. Nothing but the first convolution's share of the source is free of the code, so
    many codes for one source cost as much as many sources: `forward` repeats the source for its caller.
    Dropout is there when masks are given. (In the release it stays on where tests do not ask for eval mode.)
    """

    def __init__(self, size: int, latent_dim: int = 8, width: int = 64) -> None:
        super().__init__()
        self.size, self.latent_dim = size, latent_dim
        levels = power_of_two(size, LEAST, "BicycleGAN's generator").bit_length() - 1
        outputs = [width * min(2**level, 8) for level in range(levels)]
        self.inputs = [3, *outputs[:-1]]
        self.downs, self.ups = nn.ModuleList(), nn.ModuleList()
        for level, (outer, inner) in enumerate(zip(self.inputs, outputs, strict=True)):
            joined = inner if level == levels - 1 else 2 * inner
            self.downs.append(nn.Conv2d(outer + latent_dim, inner, 4, stride=2, padding=1))
            self.ups.append(nn.ConvTranspose2d(joined, outer, 4, stride=2, padding=1))

    @property
    def dropped(self) -> list[int]:
        """The levels whose way up may be dropped out, in order of use: the innermost first."""
        return list(range(len(self.ups) - 2, FIRST_DROPPED - 1, -1))

    @property
    def mask_shapes(self) -> list[tuple[int, int, int]]:
        """[C, H, W] of the dropout masks in order of use: 3 at 256 px, 2 at 128, 1 at 64, 0 at 32."""
        return [(self.inputs[level], self.size >> level, self.size >> level) for level in self.dropped]

    def down(self, x: Tensor, z: Tensor) -> list[Tensor]:
        """x [B, 3, S, S], z [K B, N] -> every level's output before activation, the last [K B, 8w, 1, 1].

        The encoding layers, which DivCo's paper contrasts where the condition is a picture.
        """
        x = repeated(x, blocks(x, z))
        maps: list[Tensor] = []
        for level, conv in enumerate(self.downs):
            x = beside(x, z)
            # In place, because `beside` made this tensor; the map it copied is needed on the way up.
            x = conv(F.leaky_relu_(x, SLOPE) if level else x)
            if 0 < level < len(self.downs) - 1:
                x = F.instance_norm(x)
            maps.append(x)
        return maps

    def up(self, maps: Sequence[Tensor], masks: Sequence[Tensor] | None = None) -> Tensor:
        """What `down` gave, and one mask [K B, C, H, W] for every one of `mask_shapes` (None: no dropout)."""
        if masks is not None and len(masks) != len(self.dropped):
            raise ValueError(f"{len(masks)} dropout masks were given where {len(self.dropped)} are used")
        factors = dict(zip(self.dropped, masks or [], strict=False))
        x = maps[-1]
        for level in range(len(self.ups) - 1, 0, -1):
            x = F.instance_norm(self.ups[level](F.relu(x)))
            x = x * factors[level] if level in factors else x
            x = torch.cat([x, maps[level - 1]], dim=1)
        pictures: Tensor = self.ups[0](F.relu(x)).tanh()
        return pictures

    def forward(self, x: Tensor, z: Tensor, masks: Sequence[Tensor] | None = None) -> Tensor:
        """x [B, 3, S, S], z [K B, N] -> [K B, 3, S, S]. Masks as in `dropout_masks`; None: no dropout."""
        return self.up(self.down(x, z), masks)


class Encoder(nn.Module):
    """Residual, pooled to one vector: pictures -> mean and log-variance of their code.

    As many residual blocks as bring the side to 8: four at 256 px, three at 128, two at 64 (so published or
    by the same rule), one at 32; their widths are w times 1, 2, 3, 4, 4.
    """

    def __init__(self, size: int, latent_dim: int = 8, width: int = 64) -> None:
        super().__init__()
        self.size = size
        count = power_of_two(size, LEAST, "BicycleGAN's encoder").bit_length() - 5
        widths = [width * min(i, 4) for i in range(1, count + 2)]
        self.first = nn.Conv2d(3, width, 4, stride=2, padding=1)
        steps = pairwise(widths)
        self.blocks = nn.Sequential(*[ResidualDown(i, o, nn.InstanceNorm2d, "zeros") for i, o in steps])
        self.mean = nn.Linear(widths[-1], latent_dim)
        self.log_variance = nn.Linear(widths[-1], latent_dim)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x [B, 3, S, S] -> mean [B, N], log-variance [B, N]."""
        features = F.leaky_relu(self.blocks(self.first(x)), SLOPE).mean(dim=(2, 3))
        return self.mean(features), self.log_variance(features)


def patches(width: int, halvings: int) -> nn.Sequential:
    """`halvings` convolutions at stride 2, one at stride 1, one to a logit; no norm on the first and last."""
    layers: list[nn.Module] = [nn.Conv2d(3, width, 4, stride=2, padding=1), nn.LeakyReLU(SLOPE, inplace=True)]
    for i in range(halvings):
        stride = 2 if i < halvings - 1 else 1
        layers.append(nn.Conv2d(width * 2**i, width * 2 ** (i + 1), 4, stride=stride, padding=1))
        layers += [nn.InstanceNorm2d(width * 2 ** (i + 1)), nn.LeakyReLU(SLOPE, inplace=True)]
    return nn.Sequential(*layers, nn.Conv2d(width * 2**halvings, 1, 4, padding=1))


class Discriminator(nn.Module):
    """Patches of pictures at two scales; does not see the source, as released by default.

    Three halvings from 256 px on, two below. The second scale has half the width and sees `halved` pictures.
    """

    def __init__(self, size: int, width: int = 64) -> None:
        super().__init__()
        if width % 2:
            raise ValueError(
                f"the second scale of BicycleGAN's discriminator has half the width: {width} is odd"
            )
        self.size = size
        halvings = 3 if power_of_two(size, LEAST, "BicycleGAN's discriminator") >= 256 else 2
        self.scales = nn.ModuleList([patches(width, halvings), patches(width // 2, halvings)])

    def forward(self, x: Tensor) -> list[Tensor]:
        """x [B, 3, S, S] -> logits [B, 1, H, W], one map a scale (30 and 14 pixels wide at 256 px)."""
        fine, coarse = self.scales
        return [fine(x), coarse(halved(x))]
