"""Networks on which diversity terms were published: DCGAN for classes, BicycleGAN for pairs, DRIT."""

from models.conditional import bicycle, dcgan, drit
from models.conditional.initialised import initialised

__all__ = ["bicycle", "dcgan", "drit", "initialised"]
