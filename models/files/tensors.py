"""Safetensors files in and out. A file is either whole and readable, or refused in one sentence."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import safetensors
import torch
from safetensors.torch import load
from torch import Tensor, nn

from models.files.errors import WeightsError

PICKLED = {".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".bin"}
PIECE = 16 << 20  # bytes that may wait in memory on their way to the disk
# In the order in which the format's own writer puts them: by size, so that each begins at a multiple of it.
CODES = {
    torch.int64: "I64",
    torch.float64: "F64",
    torch.float32: "F32",
    torch.int32: "I32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


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
) -> str:
    """Write aside, flush to the disk, rename into place: a reader sees the old file or the new one.

    Tensor by tensor from where it lies, since a copy of a large model takes longer than the disk. The bytes are those
    of safetensors.torch.save. Returns their sha256 in hexadecimal digits. TypeError for a dtype without a code.
    """
    names = sorted(tensors, key=lambda name: (_place(name, tensors[name].dtype), name))
    digest, waiting = hashlib.sha256(), 0
    with _replacing(path) as file:
        head = _header(names, tensors, metadata)
        digest.update(head)
        file.write(head)
        for name in names:
            numbers = tensors[name].detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data
            for first in range(0, len(numbers), PIECE):
                piece = numbers[first : first + PIECE]
                digest.update(piece)
                file.write(piece)
                waiting += len(piece)
                if waiting >= PIECE:
                    _settle(file)
                    waiting = 0
    return digest.hexdigest()


def _settle(file: IO[bytes]) -> None:
    """What was written reaches the disk, and leaves the memory in which the next piece will wait.

    To fill memory that nobody has used yet can take several times as long as the disk takes.
    """
    file.flush()
    os.fsync(file.fileno())
    if hasattr(os, "posix_fadvise"):  # not on macOS
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def write_whole(path: Path, content: bytes) -> None:
    """The same for any bytes. What a full disk took only half of is removed: its room is needed."""
    with _replacing(path) as file:
        file.write(content)


@contextmanager
def _replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file that stands under the name `path` when all of it has reached the disk, and not before."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with aside.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise OSError(
            error.errno, error.strerror, str(path)
        ) from error  # of a write it does not name the file


def _place(name: str, dtype: torch.dtype) -> int:
    if dtype not in CODES:
        raise TypeError(f"{name}: {dtype} cannot be written; expected one of {', '.join(map(str, CODES))}")
    return list(CODES).index(dtype)


def _header(names: list[str], tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None) -> bytes:
    """Length in 8 bytes, then JSON with type, shape and place of every tensor, filled up to a multiple of 8."""
    said: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    end = 0
    for name in names:
        tensor, start = tensors[name], end
        end += tensor.numel() * tensor.element_size()
        said[name] = {
            "dtype": CODES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(said, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


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
