"""The record that a kind of model gives, and what passes between its parts."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from pipeline.exporting import Exportable
from pipeline.job import Pretrain
from pipeline.judging.evaluator import Judgement
from pipeline.nets import Nets
from pipeline.phase import Method


@dataclass(frozen=True)
class Opened:
    """The data of a run: what its draws read, what it is judged against (None: nothing), pictures in an epoch.

    about: what inputs.json and the card say of it, beside the name.
    """

    data: Any
    heldout: Any
    count: int
    about: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Watched:
    """Pictures of a step: rows [N, 3, H, W] in [-1, 1] with labels, and numbers that say how it goes."""

    rows: list[Tensor]
    labels: list[str] | None = None
    readings: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Family:
    """How a kind of model is opened, built, watched, judged and handed on.

    check: raises ValueError or GraftError for sizes that no network has; opens nothing. nets: fresh networks.
    watch: returns what draws the pictures of a step, the same conditions and latents for ever. scores: a judgement of
    the averaged networks, None where nothing is held out. model: what is exported, from the networks of the last step.
    """

    check: Callable[[Pretrain], object]
    open: Callable[[Pretrain], Opened]
    nets: Callable[[Pretrain, Method, Opened, torch.device], Nets]
    watch: Callable[[Pretrain, Nets, Opened, torch.device], Callable[[], Watched]]
    scores: Callable[[Pretrain, Nets, Opened, torch.device], Judgement | None]
    model: Callable[[Pretrain, Nets, Opened, dict[str, Any]], Exportable]
