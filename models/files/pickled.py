"""Other people's .pt, .pth and .ckpt files, through an allow-list: tensors come out, and nothing is executed."""

import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor

from models.files.errors import WeightsError

SUFFIXES = {".pt", ".pth", ".ckpt"}
DEEPEST = 8  # dicts within dicts; files of weights have two or three, one that holds itself has no end

Nested: TypeAlias = "dict[str, Tensor | Nested]"


def read_pickled(path: Path) -> Nested:
    """The dict that a file holds, on the CPU, and of it the tensors and dicts alone; keys become strings.

    Numbers, strings and lists beside them are passed over. Raises WeightsError if the file is missing, damaged,
    not of tensors, or if it names anything that torch's reader of weights would have to run: the name is told.
    """
    if not path.is_file():
        raise WeightsError(f"{path}: there is no such file of weights")
    if path.suffix.lower() not in SUFFIXES:
        raise WeightsError(f"{path}: expected a file of weights that ends in {', '.join(sorted(SUFFIXES))}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # of formats long gone; whether it can be read is all that matters
            found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged or hostile file can raise anything from inside the reader
        raise WeightsError(f"{path}: {_reason(error)}") from error
    if not isinstance(found, Mapping):
        raise WeightsError(f"{path}: holds a {type(found).__name__}; expected named tensors")
    tensors = _tensors(found, path, 0)
    if not tensors:
        raise WeightsError(f"{path}: holds no tensors")
    return tensors


def state_dict_in(found: Nested) -> dict[str, Tensor]:
    """The tensors of one network: those under `state_dict` where there is such a key, else those at the top."""
    inner = found.get("state_dict", found)
    tensors = inner if isinstance(inner, dict) else found
    return {name: value for name, value in tensors.items() if isinstance(value, Tensor)}


def _reason(error: Exception) -> str:
    named = re.search(r"GLOBAL\s+([\w.]+)", str(error))
    if named:
        return (
            f"refused: it asks to run {named[1].rstrip('.')}, which is not needed for weights; "
            "save the tensors alone, or pass them as .safetensors"
        )
    # What torch says before this mark is advice to read the file without the allow-list.
    said = str(error).split("WeightsUnpickler error:")[-1].strip().splitlines() or [type(error).__name__]
    why = "" if said[0].startswith("Weights only load failed") else f" ({said[0][:200]})"
    return f"not a whole file of weights{why}; fetch or export it again"


def _tensors(found: Mapping[Any, Any], path: Path, depth: int) -> Nested:
    if depth == DEEPEST:
        raise WeightsError(
            f"{path}: holds dicts more than {DEEPEST} deep; expected tensors of networks by name"
        )
    kept: Nested = {}
    for key, value in found.items():
        if isinstance(value, Tensor):
            kept[str(key)] = value.detach()
        elif isinstance(value, Mapping) and (inner := _tensors(value, path, depth + 1)):
            kept[str(key)] = inner
    return kept
