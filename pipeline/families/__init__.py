"""What pretraining needs to know of a kind of model beside its table: one file a kind, one line here."""

from pipeline.families import bicycle, dcgan, drit, stargan2, stylegan2
from pipeline.families.family import Family, Opened, Watched

FAMILIES: dict[str, Family] = {
    "stylegan2": stylegan2.FAMILY,
    "stargan2": stargan2.FAMILY,
    "dcgan": dcgan.FAMILY,
    "bicycle": bicycle.FAMILY,
    "drit": drit.FAMILY,
}

__all__ = ["FAMILIES", "Family", "Opened", "Watched"]
