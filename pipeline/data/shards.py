"""WebDataset shards: tar streams read and written sample by sample, decoded by nobody but us.

Only webdataset's tar iteration, grouping and writer are used. Its decoders run pickles and its URL opener runs
shells, so neither is reachable from here: we open local files ourselves and read pictures, JSON and classes only.
"""

import gzip
import io
import json
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from webdataset.tariterators import group_by_keys, tar_file_iterator
from webdataset.writer import TarWriter

from pipeline.data.pictures import EXTENSIONS
from pipeline.errors import INPUT, GraftError

LARGEST_MEMBER = 256 * 1024 * 1024
BROKEN_SHARE = 0.01  # more than one sample in a hundred broken stops a job
TAILS = (".tar", ".tar.gz", ".tgz")


@dataclass(frozen=True)
class Sample:
    """One undecoded sample of a shard. `fields` and `label` are the bytes of KEY.json and KEY.cls."""

    key: str
    shard: str
    picture: bytes
    extension: str
    fields: bytes | None = None
    label: bytes | None = None

    @property
    def called(self) -> str:
        """The name an error sentence gives it."""
        return f"{self.shard}/{self.key}.{self.extension}"


@dataclass(frozen=True)
class Broken:
    """A sample that cannot be used, by name, and why."""

    called: str
    reason: str


def is_shard(path: Path) -> bool:
    """Whether the name says tar or tar.gz."""
    return path.name.lower().endswith(TAILS)


def samples(path: str | Path) -> Iterator[Sample | Broken]:
    """The samples of one shard in the order of the tar.

    Members of any other kind are passed over unread. Raises GraftError (exit code 3) where the shard is missing,
    is no tar, or ends too early.
    """
    path = Path(path)
    broken: list[Broken] = []

    def note(error: Exception) -> bool:
        if not isinstance(error, ValueError):
            raise error
        broken.append(Broken(str(path), str(error.args[0])))
        return True

    count = 0
    try:
        with path.open("rb") as file:
            stream = _Metered(gzip.GzipFile(fileobj=file) if file.read(2) == b"\x1f\x8b" else file, path)
            file.seek(0)
            members = tar_file_iterator(stream, select_files=stream.wants, handler=_raise)
            named = ({**member, "__url__": str(path)} for member in members)
            for group in group_by_keys(named, handler=note):
                count += 1
                yield _sample(group, path)
                yield from broken
                broken.clear()
            stream.check_end(count)
    except FileNotFoundError:
        raise GraftError(f"{path}: no such shard", INPUT) from None
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise GraftError(_cut_off(path, count, str(error.args[0] if error.args else error)), INPUT) from error


def fields_of(sample: Sample) -> dict[str, Any]:
    """KEY.json as a dict, with "label" from KEY.cls where there is one. Raises GraftError (exit code 3)."""
    try:
        fields = json.loads(sample.fields) if sample.fields is not None else {}
    except (ValueError, RecursionError) as error:
        raise GraftError(f"{sample.shard}/{sample.key}.json: not JSON ({error})", INPUT) from error
    if not isinstance(fields, dict):
        raise GraftError(f"{sample.shard}/{sample.key}.json: must hold an object, like {{}}", INPUT)
    if sample.label is not None:
        try:
            fields["label"] = int(sample.label.decode("ascii"))
        except ValueError:
            raise GraftError(f"{sample.shard}/{sample.key}.cls: must hold a whole number", INPUT) from None
    return fields


def write_shard(path: Path, contents: Iterable[tuple[str, dict[str, bytes]]]) -> int:
    """Writes (key, {extension: bytes}) pairs to a tar, gzipped where the name ends in gz; returns the count.

    The same contents give the same bytes: no clock, no user and no file name gets into the file.
    """
    count = 0
    with path.open("wb") as file:
        packed = gzip.GzipFile("", "wb", 9, file, mtime=0) if path.name.endswith("gz") else None
        target: IO[bytes] = packed or file
        with TarWriter(
            target, user="", group="", mtime=0, compress=False, encoder=False, format="PAX_FORMAT"
        ) as tar:
            for key, members in contents:
                tar.write({"__key__": key, **members})
                count += 1
        if packed:
            packed.close()
    return count


def too_many_broken(broken: int, total: int) -> bool:
    """Whether more than one in a hundred of `total` samples is broken."""
    return broken > BROKEN_SHARE * total


def stop_if_broken(broken: list[Broken], total: int, where: str) -> None:
    """Raises GraftError (exit code 3) that counts and names the broken samples when they are more than 1 %."""
    if too_many_broken(len(broken), total):
        names = "; ".join(f"{one.called}: {one.reason}" for one in broken[:3])
        more = f"; and {len(broken) - 3} more" if len(broken) > 3 else ""
        raise GraftError(
            f"{where}: {len(broken)} of {total} samples are broken, more than 1 % ({names}{more})", INPUT
        )


def _sample(group: dict[str, Any], path: Path) -> Sample | Broken:
    key = group["__key__"]
    found = [extension for extension in EXTENSIONS if extension in group]
    if len(found) != 1:
        what = "no picture" if not found else "more than one picture"
        return Broken(f"{path}/{key}", f"{what} of this key")
    return Sample(key, str(path), group[found[0]], found[0], group.get("json"), group.get("cls"))


def _raise(error: Exception) -> bool:
    raise error


def _cut_off(path: Path, count: int, reason: str) -> str:
    return f"{path}: not a whole tar, it breaks off after {count} samples ({reason}); copy or pack it again"


class _Metered(io.RawIOBase):
    """A stream of tar bytes that refuses giant members and notices a tar without an end."""

    def __init__(self, inner: Any, path: Path) -> None:
        self.inner, self.path = inner, path
        self.since_member = 0
        self.tail = b""

    def read(self, size: int = -1) -> bytes:
        block: bytes = self.inner.read(size)
        self.since_member += len(block)
        if self.since_member > LARGEST_MEMBER:
            raise GraftError(f"{self.path}: a member is more than {LARGEST_MEMBER >> 20} MiB, refused", INPUT)
        self.tail = (self.tail + block)[-512:]
        return block

    def wants(self, name: str) -> bool:
        """Pictures, JSON and classes; nothing else in a shard is even read into memory."""
        self.since_member = 0
        return name.rsplit(".", 1)[-1].lower() in (*EXTENSIONS, "json", "cls")

    def check_end(self, count: int) -> None:
        """tarfile ends silently on a torn header; a whole tar ends in zeros (and a whole gzip in its checksum)."""
        if self.tail.strip(b"\0") or len(self.tail) < 512:
            raise GraftError(_cut_off(self.path, count, "no end mark"), INPUT)
        while self.inner.read(1 << 16):
            pass
