"""bfloat16 for the networks: weights, moments and averages stay float32, and so does what differentiates twice.

Gradient penalties switch it off around themselves, and losses compute in float32 whatever they are given.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from pipeline.errors import ENVIRONMENT, GraftError

HALVES = (torch.bfloat16, torch.float16)


def computing(precision: str, device: torch.device) -> AbstractContextManager[Any]:
    """Within, networks compute in `precision`: "fp32", which changes nothing, or "bf16".

    Casts are made anew at every use: one that is kept from a pass without gradients would hide its weight from the
    next pass, which has some.
    """
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16, cache_enabled=False)


def widened(found: Any) -> Any:
    """A tensor, or a list of them, at least in float32: what a loss reads."""
    if isinstance(found, list):
        return [widened(each) for each in found]
    return found.float() if isinstance(found, Tensor) and found.dtype in HALVES else found


def look_at_precision(precision: str, device: torch.device, able: bool | None = None) -> None:
    """GraftError for bf16 on a CPU that has no instructions for it: there it is 30 to 80 times slower than fp32.

    able: whether the CPU has them; None: asked of this one.
    """
    able = computes_bf16() if able is None else able
    if precision == "bf16" and device.type == "cpu" and not able:
        raise GraftError(
            "precision: bf16 on a CPU without instructions for it (AVX-512 BF16 or AMX) is 30 to 80 times slower than "
            "fp32; set precision: fp32, or use a GPU",
            ENVIRONMENT,
        )


def computes_bf16() -> bool:
    """Whether this CPU multiplies bfloat16."""
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
