"""A tiny eye, a tiny translator and tiny pictures, and the perceptual distance by loops."""

from dataclasses import dataclass, field

import torch

from models.judges import Seen
from models.judges.eye import unit_channels


@dataclass
class Plain:
    """An eye that looks at 2 x 2 means; counts its pictures."""

    name: str = "plain"
    sha256: str = "0"
    looked_at: int = 0

    def see(self, pictures):
        self.looked_at += len(pictures)
        small = torch.nn.functional.adaptive_avg_pool2d(pictures, 2)
        return Seen(small.flatten(1), [unit_channels(small), small])

    def features(self, pictures):
        return self.see(pictures).features

    def taps(self, pictures):
        return self.see(pictures).taps


@dataclass
class Tinting:
    """Adds to half the source a colour: of noise, or the reference's mean; each domain has its own shift."""

    names: tuple[str, ...] = ("a", "b", "c")
    latent_dim: int = 3
    strength: float = 0.3
    encoded: int = 0
    guided: dict[int, int] = field(default_factory=dict)

    def encode(self, pictures):
        self.encoded += len(pictures)
        return {"half": pictures / 2}

    def latent_codes(self, z, target):
        return z.tanh() * self.strength + 0.2 * target

    def reference_codes(self, pictures, target):
        self.guided[target] = self.guided.get(target, 0) + len(pictures)
        return pictures.mean((2, 3))

    def decode(self, encoded, codes):
        return encoded["half"] + codes[:, :, None, None]


def pictures(count, seed):
    shape = (count, 3, 4, 4)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def distance_by_loops(first, second):
    """Plain's perceptual distance of two raw pictures, in float64."""
    total = 0.0
    for which in (0, 1):
        one, other = (Plain().taps(p[None])[which][0].double() for p in (first, second))
        total += float((one - other).square().sum(0).mean())
    return total
