"""DRIT's discriminators: of pictures, one a domain and branch; of contents, which tells the domains apart.

`B` batch, `C` channels, `H W` pixels, `S` side of the pictures, `w` the width (64 published).

No norm anywhere: the release asks for instance norm in the content discriminator, but compares the word
"norm" with "Instance" where it means the setting, so by accident none is ever built. Its published results
come from these networks, so these are they.
"""

from torch import Tensor, nn

from models.conditional.drit.layers import SLOPE, checked, reflected
from models.conditional.layers import halved

SCALES, HALVINGS = 3, 4
# Below this the last of four halvings would find a single pixel, which reflection cannot pad.
LEAST_SCALE = 16
# The least side of a content that three 7x7 convolutions at stride 2 leave with 4 pixels.
LEAST_PUBLISHED = 53


def leaky(convolution: nn.Conv2d) -> list[nn.Module]:
    return [convolution, nn.LeakyReLU(SLOPE, inplace=True)]


class ImageDiscriminator(nn.Module):
    """Three scales of equal width, each four halvings and a 1x1 to logits.

    The second and third scale see `halved` pictures. A scale of less than 16 px is left out (ours): 32 px has
    two.
    """

    def __init__(self, size: int, width: int = 64) -> None:
        super().__init__()
        checked(size)
        self.scales = nn.ModuleList()
        while len(self.scales) < SCALES and size >= LEAST_SCALE:
            widths = [3, *[width * 2**i for i in range(HALVINGS)]]
            layers = [
                part for i in range(HALVINGS) for part in leaky(reflected(widths[i], widths[i + 1], 4, 2))
            ]
            self.scales.append(nn.Sequential(*layers, nn.Conv2d(widths[-1], 1, 1)))
            size = (size + 1) // 2

    def forward(self, x: Tensor) -> list[Tensor]:
        """x [B, 3, S, S] -> logits [B, 1, H, W], one map a scale, the finest first."""
        logits: list[Tensor] = []
        for i, scale in enumerate(self.scales):
            x = halved(x) if i else x
            logits.append(scale(x))
        return logits


class ContentDiscriminator(nn.Module):
    """Three 7x7 convolutions at stride 2, one 4x4 without padding, all 4w wide; 1x1 to logits.

    Contents of less than 53 pixels (pictures below 212 px) do not fit: those are halved by 3x3 convolutions
    while the side is 8 or more, to 4 for powers of two, before the same 4x4 (ours).
    """

    def __init__(self, size: int, width: int = 64) -> None:
        super().__init__()
        side, channels = checked(size) // 4, 4 * width
        layers: list[nn.Module] = []
        if side >= LEAST_PUBLISHED:
            layers += [part for _ in range(3) for part in leaky(reflected(channels, channels, 7, 2))]
        else:
            while side >= 8:
                layers += leaky(reflected(channels, channels, 3, 2))
                side = (side + 1) // 2
        layers += leaky(nn.Conv2d(channels, channels, 4))
        self.layers = nn.Sequential(*layers, nn.Conv2d(channels, 1, 1))

    def forward(self, content: Tensor) -> Tensor:
        """content [B, C, S/4, S/4] -> logits [B, 1, H, W]: one at 216 px, 2 x 2 at 256. B's are real."""
        logits: Tensor = self.layers(content)
        return logits
