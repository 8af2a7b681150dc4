"""DRIT (Lee et al. 2018), on which MSGAN and DivCo published their unpaired results."""

from models.conditional.drit.discriminators import ContentDiscriminator, ImageDiscriminator
from models.conditional.drit.encoders import (
    ContentEncoder,
    PlainAttributeEncoder,
    VariationalAttributeEncoder,
)
from models.conditional.drit.generators import ConcatGenerator, FeaturewiseGenerator

__all__ = [
    "ConcatGenerator",
    "ContentDiscriminator",
    "ContentEncoder",
    "FeaturewiseGenerator",
    "ImageDiscriminator",
    "PlainAttributeEncoder",
    "VariationalAttributeEncoder",
]
