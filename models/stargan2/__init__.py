"""StarGAN v2 (Choi et al. 2020)."""

from models.stargan2.discriminator import Discriminator
from models.stargan2.fan import FAN
from models.stargan2.files import fan_of, nets_state, read_nets
from models.stargan2.generator import Encoded, Generator
from models.stargan2.initial import he_initialised
from models.stargan2.layout import Layout, layout_of
from models.stargan2.masks import heat_maps, masks_from, masks_of
from models.stargan2.styles import MappingNetwork, StyleEncoder

__all__ = [
    "FAN",
    "Discriminator",
    "Encoded",
    "Generator",
    "Layout",
    "MappingNetwork",
    "StyleEncoder",
    "fan_of",
    "he_initialised",
    "heat_maps",
    "layout_of",
    "masks_from",
    "masks_of",
    "nets_state",
    "read_nets",
]
