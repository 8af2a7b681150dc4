"""The class-conditional DCGAN of the class results of MSGAN (Mao et al. 2019) and DivCo (Liu et al. 2021).

`B` labels, `K` blocks of codes for the same labels, `N` latent dimension, `C` channels, `S` side of pictures.

Published at 32 px with stages of 128, 256, 512. Every further doubling of the side is one more stage (ours):
64 px adds 1024, and no stage is wider than 8 times the first.

Batch norm: in training mode every call uses the statistics of the batch it is given, so codes passed together
are coupled, as released (there the random, query, positive and negative codes are one batch); in eval mode
the running ones, which every call in training mode moves.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.conditional.layers import SLOPE, beside, blocks, power_of_two, repeated

LEAST, WIDEST = 16, 8


def widths_of(size: int, width: int) -> list[int]:
    """Channels of the maps of side size / 2, size / 4, ..., 4."""
    stages = power_of_two(size, LEAST, "DCGAN").bit_length() - 3
    return [width * min(2**stage, WIDEST) for stage in range(stages)]


class Generator(nn.Module):
    """Codes and labels in, pictures in [-1, 1] out."""

    def __init__(self, size: int, classes: int, latent_dim: int = 100, width: int = 128) -> None:
        super().__init__()
        self.size, self.classes, self.latent_dim = size, classes, latent_dim
        widths = widths_of(size, width)[::-1]
        layers: list[nn.Module] = [nn.ConvTranspose2d(latent_dim + classes, widths[0], 4)]
        for inputs, outputs in pairwise([*widths, 3]):
            layers += [nn.BatchNorm2d(inputs), nn.ReLU(inplace=True)]
            layers.append(nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1))
        self.layers = nn.Sequential(*layers)

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        """z [K B, N], labels y [B] (repeated for every block) -> [K B, 3, S, S]."""
        labels = F.one_hot(repeated(y, blocks(y, z)), self.classes).to(z.dtype)
        code = torch.cat([z, labels], dim=1)[:, :, None, None]
        pictures: Tensor = self.layers(code).tanh()
        return pictures


class Discriminator(nn.Module):
    """Pictures and labels in, one logit each out. The release ends in a sigmoid: here it is the loss's."""

    def __init__(self, size: int, classes: int, width: int = 128) -> None:
        super().__init__()
        self.size, self.classes = size, classes
        widths = widths_of(size, width)
        layers: list[nn.Module] = []
        for stage, (inputs, outputs) in enumerate(pairwise([3 + classes, *widths])):
            layers.append(nn.Conv2d(inputs, outputs, 4, stride=2, padding=1))
            layers += [nn.BatchNorm2d(outputs)] if stage else []
            layers.append(nn.LeakyReLU(SLOPE, inplace=True))
        self.layers = nn.Sequential(*layers)
        self.last = nn.Conv2d(widths[-1], 1, 4)
        self.body_width = widths[-1]

    def body(self, x: Tensor, y: Tensor) -> Tensor:
        """x [K B, 3, S, S], labels y [B] (repeated for every block) -> the last map [K B, C, 4, 4].

        After its activation; what DivCo contrasts where the condition is a label.
        """
        labels = F.one_hot(repeated(y, blocks(y, x)), self.classes).to(x.dtype)
        features: Tensor = self.layers(beside(x, labels))
        return features

    def head(self, features: Tensor) -> Tensor:
        """[B, C, 4, 4] -> logits [B]."""
        logits: Tensor = self.last(features).flatten()
        return logits

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """head(body(x, y)): logits [K B]."""
        return self.head(self.body(x, y))


class FrozenProjection(nn.Module):
    """The features of DivCo's release: a 4 x 4 convolution of the body's map that never learns.

    There it is a layer of D whose output D's loss does not read, and D is frozen where it is read: by
    accident a random projection, of weights N(0, 0.02) and biases at torch's default. Here that is said: the
    values are buffers, drawn once from torch's generator, saved with the state, and no optimiser ever sees
    them.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, inputs: int, outputs: int = 128) -> None:
        super().__init__()
        bound = (inputs * 4 * 4) ** -0.5
        self.register_buffer("weight", torch.empty(outputs, inputs, 4, 4).normal_(0.0, 0.02))
        self.register_buffer("bias", torch.empty(outputs).uniform_(-bound, bound))

    def forward(self, features: Tensor) -> Tensor:
        """`Discriminator.body`'s [B, C, 4, 4] -> [B, outputs]."""
        return F.conv2d(features, self.weight, self.bias).flatten(1)
