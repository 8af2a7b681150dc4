"""Where states and artefacts lie: checkpoints by step, cached things by content, results by cell."""

import errno
import fcntl
import hashlib
import json
import os
import shutil
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from torch import Tensor

from models.files import WeightsError, read_tensors, sha256_of, write_tensors, write_whole
from pipeline.errors import INPUT, GraftError

KEPT = 2
LOCKLESS = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK)  # of file systems without locks


def write_json(path: Path, values: Any) -> None:
    """Indented JSON, written aside and renamed into place."""
    write_whole(path, (json.dumps(values, indent=1, ensure_ascii=False) + "\n").encode())


def read_json(path: Path) -> Any:
    """The content of a JSON file; a damaged one is named."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise GraftError(f"{path}: cannot be read as JSON ({error})", INPUT) from error


class Checkpoints:
    """`FOLDER/000500/{tensors.safetensors,state.json}`; the last two are kept.

    A checkpoint is written under a hidden name, flushed, and renamed: what has its number as its name is whole.
    state.json carries the digest of the tensors, so that a disk that lied is noticed and the one before is used.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(self, step: int, tensors: Mapping[str, Tensor], state: Mapping[str, object]) -> Path:
        """Write the checkpoint of `step`, then forget all but the newest two."""
        self.folder.mkdir(parents=True, exist_ok=True)
        aside, final = self.folder / f".{step:06d}.part", self.folder / f"{step:06d}"
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir()
        try:
            digest = write_tensors(aside / "tensors.safetensors", tensors)
            write_json(aside / "state.json", {**state, "sha256": digest})
            flush_folder(aside)
        except OSError:  # a full disk: the half of it takes room that others need
            shutil.rmtree(aside, ignore_errors=True)
            raise
        if final.exists():
            shutil.rmtree(final)
        aside.rename(final)
        flush_folder(self.folder)
        for old in self._whole()[:-KEPT]:
            shutil.rmtree(old)
        return final

    def newest(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """The newest checkpoint that is whole, or None."""
        for folder in reversed(self._whole()):
            try:
                state = read_json(folder / "state.json")
                if state["sha256"] == sha256_of(folder / "tensors.safetensors"):
                    return read_tensors(folder / "tensors.safetensors"), state
            except (GraftError, WeightsError, OSError, KeyError):
                continue
        return None

    def _whole(self) -> list[Path]:
        found = self.folder.glob("[0-9]*")
        return sorted((one for one in found if one.is_dir()), key=lambda one: int(one.name))


def flush_folder(folder: Path) -> None:
    """Make renames inside `folder` last through a power loss."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Cache:
    """Tensors that cost work, under the digest of everything they depend on. Safe for many processes at once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, kind: str, key: object, make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        """What `make` gave for this key, now or earlier; the first process makes it, the others wait for it."""
        digest = hashlib.sha256(json.dumps(key, sort_keys=True, default=str).encode()).hexdigest()[:32]
        path = self.folder / kind / f"{digest}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        with held(path.with_suffix(".lock")):
            if path.exists():
                try:
                    return read_tensors(path)
                except WeightsError:
                    path.unlink()
            tensors = make()
            write_tensors(path, tensors)
            return tensors


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Wait for, and hold, the lock at `path`; it ends with the process, however that ends."""
    with path.open("w") as file:
        _locked(file, fcntl.LOCK_EX)  # without locks a thing is made twice, and whole each time
        yield


@contextmanager
def alone(folder: Path, instead: str | None) -> Iterator[None]:
    """Hold the folder of a sweep or a cell; it is free again when this process ends, however that ends.

    Where another process holds it: GraftError that says who, and what a person can do `instead`. None: waits.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".held").open("a+", encoding="utf-8") as file:
        try:
            locked = _locked(file, fcntl.LOCK_EX | (0 if instead is None else fcntl.LOCK_NB))
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "another process"
            raise GraftError(f"{folder}: held by {holder}; wait for it, or {instead}") from None
        if not locked:
            said = f"warning: {folder}: its file system has no locks; start nothing else that writes there"
            print(said, file=sys.stderr, flush=True)
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield


def _locked(file: IO[str], how: int) -> bool:
    """Lock an open file; False where its file system cannot. BlockingIOError: another process has it."""
    try:
        fcntl.flock(file, how)
    except OSError as error:
        if error.errno not in LOCKLESS:
            raise
        return False
    return True
