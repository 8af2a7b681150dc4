"""StyleGAN2 (Karras et al. 2020)."""

from models.stylegan2.discriminator import Discriminator, Tap, taps_of
from models.stylegan2.generator import Drawn, Generator
from models.stylegan2.shape import Shape

__all__ = ["Discriminator", "Drawn", "Generator", "Shape", "Tap", "taps_of"]
