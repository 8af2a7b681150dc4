"""Safetensors files in and out. A file is either whole and readable, or refused in one sentence."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import safetensors
import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from models.files.errors import WeightsError

PICKLED = {".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".bin"}


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Every tensor of a safetensors file, on the CPU.

    Raises WeightsError if the file is missing, is of a kind that can run code, or is damaged.
    """
    if not path.is_file():
        raise WeightsError(f"{path}: there is no such file of weights")
    if path.suffix.lower() in PICKLED:
        raise WeightsError(
            f"{path}: {path.suffix} files can run code when they are opened; pass the weights as .safetensors"
        )
    try:
        return dict(load(path.read_bytes()))
    except safetensors.SafetensorError as error:
        raise WeightsError(
            f"{path}: not a whole safetensors file ({error}); fetch or export it again"
        ) from error


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write aside, flush to the disk, rename into place: a reader sees the old file or the new one."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_whole(path, save(plain, dict(metadata) if metadata else None))


def write_whole(path: Path, content: bytes) -> None:
    """The same for any bytes. What a full disk took only half of is removed: its room is needed."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with aside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise OSError(
            error.errno, error.strerror, str(path)
        ) from error  # of a write it does not name the file


def sha256_of(path: Path) -> str:
    """Hexadecimal digest of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load_into(
    module: nn.Module, tensors: Mapping[str, Tensor], prefix: str, path: Path, setting: str
) -> None:
    """Load the tensors under `prefix` into `module`: every name must be there, and every shape must fit.

    The error names the first tensor that does not, both shapes, and `setting`, which decides the module's shapes.
    """
    given = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
    for name, value in module.state_dict().items():
        if name not in given:
            raise WeightsError(f"{path}: tensor {prefix}{name} is missing; {setting} asks for it")
        if given[name].shape != value.shape:
            raise WeightsError(
                f"{path}: tensor {prefix}{name} is {list(given[name].shape)}, but {setting} "
                f"makes it {list(value.shape)}"
            )
    extra = sorted(set(given) - set(module.state_dict()))
    if extra:
        raise WeightsError(
            f"{path}: tensor {prefix}{extra[0]} has no place in the network; {setting} does not fit"
        )
    module.load_state_dict({name: value.to(torch.float32) for name, value in given.items()})
