"""What lies in a folder or an archive (zip, tar, tar.gz): names in sorted order, and the bytes behind a name.

Nothing is unpacked onto disk under a name from outside, and nothing is executed.
"""

import hashlib
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePosixPath

from cluster.object_cache import present
from pipeline.data.pictures import EXTENSIONS
from pipeline.data.samples import Sample
from pipeline.data.tars import LARGEST_MEMBER, TAILS, is_tar, tar_stream
from pipeline.errors import INPUT, GraftError

SIDES = ("json", "cls")


@dataclass(frozen=True)
class Listing:
    """Pictures and their side files by sorted relative name; `stray` are files that are neither."""

    where: Path
    names: tuple[str, ...]
    read: Callable[[str], bytes]
    stray: tuple[str, ...] = ()

    @cached_property
    def known(self) -> frozenset[str]:
        """The names, for quick asking."""
        return frozenset(self.names)

    @property
    def pictures(self) -> list[str]:
        """Names of the pictures alone."""
        return [name for name in self.names if extension(name) in EXTENSIONS]

    def read_if_there(self, name: str) -> bytes | None:
        """The bytes behind a name, None where it is not listed. Raises GraftError (exit code 3)."""
        return self.read(name) if name in self.known else None


@dataclass(frozen=True)
class Entry:
    """One picture of a listing, under a key that is unique in its set and fit for a shard."""

    listing: Listing
    name: str
    key: str

    @property
    def called(self) -> str:
        """The name as an error sentence gives it: where it lies, then the file."""
        return f"{self.listing.where}/{self.name}"

    def sample(self) -> Sample:
        """The undecoded picture with the KEY.json and KEY.cls that lie beside it. Raises GraftError."""
        return replace(self.described(), picture=self.listing.read(self.name))

    def described(self) -> Sample:
        """The same without its picture: what lies beside it alone. Raises GraftError."""
        base = stem(self.name)
        sides = [self.listing.read_if_there(f"{base}.{side}") for side in SIDES]
        return Sample(base, str(self.listing.where), b"", extension(self.name), *sides)


def extension(name: str) -> str:
    """The last suffix of a name, lower case, without its dot."""
    return PurePosixPath(name).suffix[1:].lower()


def stem(name: str) -> str:
    """A relative name without its last suffix."""
    return name[: -len(extension(name)) - 1]


def is_archive(path: str | Path) -> bool:
    """Whether the name says zip or tar."""
    return Path(path).name.lower().endswith((".zip", *TAILS))


def list_files(where: str | Path) -> Listing:
    """Everything in a folder (with its sub-folders) or an archive. Raises GraftError (exit code 3)."""
    path = present(Path(where))
    if path.is_dir():
        return _folder(path)
    if not path.exists():
        raise GraftError(f"{path}: no such folder or archive", INPUT)
    if is_tar(path):
        return _tar(path)
    if is_archive(path):
        return _zip(path)
    raise GraftError(f"{path}: neither a folder nor an archive (.zip, {', '.join(TAILS)})", INPUT)


def entries(listings: Sequence[Listing]) -> list[Entry]:
    """All pictures of some listings, sorted by key.

    A key is the relative name without its extension, "/" as "-" and "." as "_"; where two would be equal the
    later one gets eight hex digits of the sha256 of its name.
    """
    found: dict[str, Entry] = {}
    for listing in listings:
        for name in listing.pictures:
            key = key_of(stem(name), f"{listing.where.name}/{name}", found)
            found[key] = Entry(listing, name, key)
    return [found[key] for key in sorted(found)]


def key_of(base: str, called: str, taken: Container[str]) -> str:
    """A key for a name without its suffix, by the rule of `entries`; `called` tells it from equal ones.

    webdataset cuts a name at its first dot, takes "/" for a folder, and skips keys like __this__.
    """
    key = base.strip("/").replace("/", "-").replace(".", "_").lstrip("_") or "picture"
    return f"{key}-{hashlib.sha256(called.encode()).hexdigest()[:8]}" if key in taken else key


def _hidden(name: str) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in PurePosixPath(name).parts)


def _of_use(name: str) -> bool:
    return extension(name) in (*EXTENSIONS, *SIDES)


def _sorted(where: Path, names: Sequence[str], read: Callable[[str], bytes]) -> Listing:
    seen = sorted(name for name in names if not _hidden(name))
    stems = {stem(name) for name in seen if extension(name) in EXTENSIONS}
    stems |= {
        base[:-2] for base in stems if base.endswith((".a", ".b"))
    }  # KEY.json of KEY.a.png and KEY.b.png
    wanted = {
        name
        for name in seen
        if extension(name) in EXTENSIONS or (_of_use(name) and name.rpartition(".")[0] in stems)
    }
    stray = tuple(name for name in seen if name not in wanted)
    return Listing(where, tuple(name for name in seen if name in wanted), read, stray)


def _refuse_giant(path: Path, name: str, size: int) -> None:
    if size > LARGEST_MEMBER:
        raise GraftError(f"{path}/{name}: more than {LARGEST_MEMBER >> 20} MiB, refused", INPUT)


def _folder(path: Path) -> Listing:
    def read(name: str) -> bytes:
        try:
            _refuse_giant(path, name, (path / name).stat().st_size)
            return (path / name).read_bytes()
        except OSError as error:
            raise GraftError(f"{path}/{name}: cannot be read ({error.strerror})", INPUT) from None

    return _sorted(
        path, [file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file()], read
    )


def _zip(path: Path) -> Listing:
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise GraftError(f"{path}: not a whole zip ({error}); copy it again", INPUT) from error
    inside = {member.filename: member for member in archive.infolist() if not member.is_dir()}

    def read(name: str) -> bytes:
        _refuse_giant(path, name, inside[name].file_size)
        try:
            with archive.open(inside[name]) as member:
                return member.read(LARGEST_MEMBER)
        except NotImplementedError as error:
            raise GraftError(f"{path}/{name}: {error}; unpack the archive first", INPUT) from None
        except RuntimeError:  # what zipfile raises where a password is asked for
            raise GraftError(
                f"{path}/{name}: locked by a password; unpack the archive first", INPUT
            ) from None
        except (zipfile.BadZipFile, zlib.error, OSError, EOFError) as error:
            raise GraftError(f"{path}/{name}: broken in the archive ({error})", INPUT) from error

    return _sorted(path, list(inside), read)


def _tar(path: Path) -> Listing:
    """Copies the members' bytes aside once, into a file without a name, to read them in sorted order."""
    aside = tempfile.TemporaryFile()  # noqa: SIM115 (lives as long as the listing's `read`)
    places: dict[str, tuple[int, int]] = {}
    with tar_stream(path) as stream, tarfile.open(fileobj=stream, mode="r|") as archive:
        for member in archive:
            stream.begin_member()
            if not member.isreg():
                continue
            places[member.name] = (aside.seek(0, 2), member.size)
            content = archive.extractfile(member)
            if content is not None and _of_use(member.name):
                shutil.copyfileobj(content, aside)
        stream.check_end()

    def read(name: str) -> bytes:
        offset, length = places[name]
        aside.seek(offset)
        return aside.read(length)

    return _sorted(path, list(places), read)
