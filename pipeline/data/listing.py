"""What lies in a folder or an archive (zip, tar, tar.gz): names in sorted order, and the bytes behind a name.

Nothing is unpacked onto disk under a name from outside, and nothing is executed.
"""

import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath

from pipeline.data.pictures import EXTENSIONS
from pipeline.errors import INPUT, GraftError

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")
LARGEST_FILE = 256 * 1024 * 1024  # bytes of one member; more is not a picture to learn from
SIDECARS = ("json", "cls")


@dataclass(frozen=True)
class Listing:
    """Pictures and their side files by sorted relative name; `stray` are files that are neither."""

    where: Path
    names: tuple[str, ...]
    read: Callable[[str], bytes]
    stray: tuple[str, ...] = ()
    broken: tuple[str, ...] = field(default=())

    @cached_property
    def names_set(self) -> frozenset[str]:
        """The names, for quick asking."""
        return frozenset(self.names)

    @property
    def pictures(self) -> list[str]:
        """Names of the pictures alone."""
        return [name for name in self.names if extension(name) in EXTENSIONS]

    def called(self, name: str) -> str:
        """The name as an error sentence gives it: where it lies, then the file."""
        return f"{self.where}/{name}"


def extension(name: str) -> str:
    """The last suffix of a name, lower case, without its dot."""
    return PurePosixPath(name).suffix[1:].lower()


def is_archive(path: Path) -> bool:
    """Whether the name says zip or tar."""
    return path.name.lower().endswith(ARCHIVES)


def list_files(where: str | Path) -> Listing:
    """Everything in a folder (with its sub-folders) or an archive. Raises GraftError (exit code 3)."""
    path = Path(where)
    if path.is_dir():
        return _folder(path)
    if not path.exists():
        raise GraftError(f"{path}: no such folder or archive", INPUT)
    if not is_archive(path):
        raise GraftError(f"{path}: neither a folder nor an archive ({', '.join(ARCHIVES)})", INPUT)
    try:
        return _zip(path) if path.name.lower().endswith(".zip") else _tar(path)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise GraftError(f"{path}: not a whole archive ({error}); copy or pack it again", INPUT) from error


def _hidden(name: str) -> bool:
    parts = PurePosixPath(name).parts
    return any(part.startswith(".") or part == "__MACOSX" for part in parts)


def _sorted(where: Path, names: list[str], read: Callable[[str], bytes], broken: tuple[str, ...] = ()) -> Listing:
    seen = sorted(name for name in names if not _hidden(name))
    wanted = tuple(name for name in seen if extension(name) in (*EXTENSIONS, *SIDECARS))
    stray = tuple(name for name in seen if extension(name) not in (*EXTENSIONS, *SIDECARS))
    return Listing(where, wanted, read, stray, broken)


def _folder(path: Path) -> Listing:
    names = [file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file()]

    def read(name: str) -> bytes:
        file = path / name
        if file.stat().st_size > LARGEST_FILE:
            raise GraftError(f"{file}: more than {LARGEST_FILE >> 20} MiB, refused", INPUT)
        return file.read_bytes()

    return _sorted(path, names, read)


def _zip(path: Path) -> Listing:
    archive = zipfile.ZipFile(path)
    inside = {entry.filename: entry for entry in archive.infolist() if not entry.is_dir()}

    def read(name: str) -> bytes:
        if inside[name].file_size > LARGEST_FILE:
            raise GraftError(f"{path}/{name}: more than {LARGEST_FILE >> 20} MiB, refused", INPUT)
        try:
            with archive.open(inside[name]) as member:
                return member.read(LARGEST_FILE)
        except RuntimeError:  # what zipfile raises where a password is asked for
            raise GraftError(f"{path}/{name}: locked by a password; unpack it first", INPUT) from None
        except (zipfile.BadZipFile, NotImplementedError, zlib.error, OSError, EOFError) as error:
            raise GraftError(f"{path}/{name}: broken in the archive ({error})", INPUT) from error

    return _sorted(path, list(inside), read)


def _tar(path: Path) -> Listing:
    """Copies the members' bytes aside once, so that they can be read in sorted order."""
    aside = tempfile.TemporaryFile()  # noqa: SIM115: lives as long as the listing's `read`
    places: dict[str, tuple[int, int]] = {}
    too_large = []
    with tarfile.open(path, "r|*") as archive:
        for member in archive:
            if not member.isreg() or _hidden(member.name):
                continue
            if member.size > LARGEST_FILE:
                too_large.append(f"{member.name}: more than {LARGEST_FILE >> 20} MiB")
                continue
            content = archive.extractfile(member)
            if content is not None and extension(member.name) in (*EXTENSIONS, *SIDECARS):
                places[member.name] = (aside.seek(0, 2), member.size)
                shutil.copyfileobj(content, aside)
            else:
                places[member.name] = (0, 0)

    def read(name: str) -> bytes:
        offset, length = places[name]
        aside.seek(offset)
        return aside.read(length)

    return _sorted(path, list(places), read, tuple(too_large))
