"""Tar bytes from outside, gzipped or not: giant members refused, a missing end noticed."""

import gzip
import io
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cluster.object_cache import using
from pipeline.errors import INPUT, GraftError

LARGEST_MEMBER = 256 * 1024 * 1024  # bytes; more is not a picture to learn from
TAILS = (".tar", ".tar.gz", ".tgz")


def is_tar(path: Path) -> bool:
    """Whether the name says tar or tar.gz."""
    return path.name.lower().endswith(TAILS)


class TarStream(io.RawIOBase):
    """The uncompressed bytes of a tar, counted since the newest member began."""

    def __init__(self, inner: Any, path: Path) -> None:
        self.inner, self.path = inner, path
        self.since_member = 0
        self.members = 0
        self.tail = b""

    def read(self, size: int = -1) -> bytes:
        """The next bytes, at most `size`. Raises GraftError (exit code 3) inside a giant member."""
        block: bytes = self.inner.read(size)
        self.since_member += len(block)
        if self.since_member > LARGEST_MEMBER:
            raise GraftError(f"{self.path}: a member is more than {LARGEST_MEMBER >> 20} MiB, refused", INPUT)
        self.tail = (self.tail + block)[-512:]
        return block

    def begin_member(self) -> None:
        """A member's header has been read."""
        self.since_member = 0
        self.members += 1

    def check_end(self) -> None:
        """tarfile ends silently on a torn header; a whole tar ends in zeros, a whole gzip in its checksum."""
        if self.tail.strip(b"\0") or len(self.tail) < 512:
            raise tarfile.ReadError("no end mark")
        while self.inner.read(1 << 16):
            pass


@contextmanager
def tar_stream(path: Path) -> Iterator[TarStream]:
    """Opens a file; whatever a damaged tar raises becomes one sentence (GraftError, exit code 3).

    A shard of an S3 store is fetched first where it is not at hand, and stays as long as it is read.
    """
    with using(path), _local_stream(path) as stream:
        yield stream


@contextmanager
def _local_stream(path: Path) -> Iterator[TarStream]:
    stream: TarStream | None = None
    try:
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            stream = TarStream(gzip.GzipFile(fileobj=file) if packed else file, path)
            yield stream
    except FileNotFoundError:
        raise GraftError(f"{path}: no such file", INPUT) from None
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        members = stream.members if stream else 0
        reason = str(error.args[0]) if error.args else str(error)
        raise GraftError(
            f"{path}: not a whole tar, it breaks off after {members} members "
            f"({reason.split(' @ ')[0]}); copy or pack it again",
            INPUT,
        ) from error
