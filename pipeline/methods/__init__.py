"""One file a method: its card, its forwards, its table. A new method is one file, one line here, one YAML."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.methods import (
    bicycle,
    cdc,
    dcgan,
    drit,
    drit_settings,
    rssa,
    stargan2,
    stargan2_settings,
    stylegan2,
    tgan,
)
from pipeline.methods.settings import Frozen, Network, StepSettings
from pipeline.phase import Method


@dataclass(frozen=True)
class Entry:
    """What a method's file gives: its settings and profiles, its table, the frozen or fresh parts beside G and D.

    parts: of "source" (the generator as it was), "heads" (patch heads), "projector" (latent compression).
    network: the sizes that a config may ask for, where the method builds its networks itself.
    """

    settings: type[Frozen]
    profiles: Mapping[str, Mapping[str, Any]]
    table: Callable[[Any], Method]
    parts: tuple[str, ...]
    card: str
    network: type[Frozen] | None = None


METHODS: dict[str, Entry] = {
    "tgan": Entry(tgan.Settings, tgan.PROFILES, tgan.method, tgan.PARTS, tgan.__doc__ or ""),
    "cdc": Entry(cdc.Settings, cdc.PROFILES, cdc.method, cdc.PARTS, cdc.__doc__ or ""),
    "rssa": Entry(rssa.Settings, rssa.PROFILES, rssa.method, rssa.PARTS, rssa.__doc__ or ""),
}

PRETRAINING: dict[str, Entry] = {
    "stylegan2": Entry(StepSettings, {"default": {}}, stylegan2.method, (), stylegan2.__doc__ or "", Network),
    "stargan2": Entry(
        stargan2_settings.Settings,
        stargan2_settings.PROFILES,
        stargan2.method,
        (),
        stargan2.__doc__ or "",
        stargan2_settings.Network,
    ),
    "dcgan": Entry(dcgan.Settings, dcgan.PROFILES, dcgan.method, (), dcgan.__doc__ or "", dcgan.Network),
    "bicycle": Entry(
        bicycle.Settings, bicycle.PROFILES, bicycle.method, (), bicycle.__doc__ or "", bicycle.Network
    ),
    "drit": Entry(
        drit_settings.Settings,
        drit_settings.PROFILES,
        drit.method,
        (),
        drit.__doc__ or "",
        drit_settings.Network,
    ),
}
