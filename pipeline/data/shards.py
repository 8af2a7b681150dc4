"""WebDataset shards: tar streams read and written sample by sample, decoded by nobody but us.

Only webdataset's tar iteration, grouping and writer are used. Its decoders run pickles and its URL opener
runs shells, so neither is reachable from here: we open local files ourselves and read pictures, JSON and
classes only.
"""

import gzip
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from webdataset.tariterators import group_by_keys, tar_file_iterator
from webdataset.writer import TarWriter

from pipeline.data.pictures import EXTENSIONS
from pipeline.data.samples import Broken, Pair, Sample
from pipeline.data.tars import tar_stream


def samples(path: str | Path) -> Iterator[Sample | Broken]:
    """The samples of one shard, undecoded, in the order of the tar.

    Members of any other kind are passed over unread. Raises GraftError (exit code 3) where the shard is
    missing, is no tar, or breaks off.
    """
    path = Path(path)
    for group in _groups(path):
        yield group if isinstance(group, Broken) else _sample(group, path)


def pairs(path: str | Path) -> Iterator[Pair | Sample | Broken]:
    """The pairs of one shard, KEY.a.webp and KEY.b.webp, undecoded, in the order of the tar.

    A key with one picture only is passed on as it is: it may hold both halves side by side. Raises as
    `samples`.
    """
    path = Path(path)
    for group in _groups(path):
        yield group if isinstance(group, Broken) else _pair(group, path)


def _groups(path: Path) -> Iterator[dict[str, Any] | Broken]:
    """The members of each key by extension; broken are members of one name."""
    doubled: list[Broken] = []

    def note(error: Exception) -> bool:
        if not isinstance(error, ValueError):  # group_by_keys says ValueError for a name that comes twice
            raise error
        doubled.append(Broken(str(path), str(error.args[0])))
        return True

    with tar_stream(path) as stream:

        def wanted(name: str) -> bool:
            stream.begin_member()
            return name.rsplit(".", 1)[-1].lower() in (*EXTENSIONS, "json", "cls")

        members = tar_file_iterator(stream, select_files=wanted, handler=_raise)
        named = ({**member, "__url__": str(path)} for member in members)
        for group in group_by_keys(named, handler=note):
            yield group
            yield from doubled
            doubled.clear()
        stream.check_end()


def write_shard(path: Path, contents: Iterable[tuple[str, dict[str, bytes]]]) -> int:
    """Writes (key, {extension: bytes}) pairs to a tar, gzipped where the name ends in gz; returns the count.

    The same contents give the same bytes: no clock, no user and no file name gets into the file.
    """
    count = 0
    with path.open("wb") as file:
        packed = gzip.GzipFile("", "wb", 9, file, mtime=0) if path.name.endswith("gz") else None
        target: IO[bytes] | gzip.GzipFile = packed or file
        with TarWriter(
            target, user="", group="", mtime=0, compress=False, encoder=False, format="PAX_FORMAT"
        ) as tar:
            for key, members in contents:
                tar.write({"__key__": key, **members})
                count += 1
        if packed:
            packed.close()
    return count


def _pair(group: dict[str, Any], path: Path) -> Pair | Sample | Broken:
    key, sides = group["__key__"], {}
    for side in ("a", "b"):
        found = [extension for extension in EXTENSIONS if f"{side}.{extension}" in group]
        sides[side] = [
            Sample(f"{key}.{side}", str(path), group[f"{side}.{extension}"], extension) for extension in found
        ]
    if not sides["a"] and not sides["b"]:
        return _sample(group, path)
    for side, halves in sides.items():
        if len(halves) != 1:
            what = "no picture" if not halves else "more than one picture"
            return Broken(f"{path}/{key}", f"{what} {side.upper()} of this pair")
    return Pair(key, str(path), sides["a"][0], sides["b"][0], group.get("json"), group.get("cls"))


def _sample(group: dict[str, Any], path: Path) -> Sample | Broken:
    key = group["__key__"]
    found = [extension for extension in EXTENSIONS if extension in group]
    if len(found) != 1:
        what = "no picture" if not found else "more than one picture"
        if any(member.startswith(("a.", "b.")) for member in group):
            return Broken(f"{path}/{key}", "half of a pair, or a pair: not one picture")
        return Broken(f"{path}/{key}", f"{what} of this key")
    return Sample(key, str(path), group[found[0]], found[0], group.get("json"), group.get("cls"))


def _raise(error: Exception) -> bool:
    raise error
