"""Pictures one by one, under names fit for files: those that are translated, and those that guide.

N side of the square a model draws.
"""

import hashlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from torch import Tensor

from pipeline.data.layouts import name_in, placed
from pipeline.data.listing import Entry, Listing, entries, list_files, stem
from pipeline.data.manifest import SPLIT_IN_NAME, shards_of
from pipeline.data.pictures import EXTENSIONS, open_picture
from pipeline.data.samples import fields_of
from pipeline.data.shipped import NAMES, heldout_of, place_of
from pipeline.errors import INPUT, GraftError

LONGEST = 72  # bytes of a name in a file's name, which may have 255 in all


@dataclass(frozen=True)
class Single:
    """One undecoded picture. name: unique in its set; domain: what the set says it is of, if anything.

    The halves KEY.a.png and KEY.b.png of a pair are of the domains A and B.
    """

    name: str
    entry: Entry
    domain: str | None = None

    def picture(self, size: int, fit: str) -> tuple[Tensor, list[str]]:
        """uint8 [3, N, N], and what was changed to get it. Raises PictureError (exit code 3)."""
        return open_picture(self.entry.sample().picture, self.entry.called, size, fit)


def singles(where: str | Path) -> list[Single]:
    """All pictures of a shipped set, a folder, an archive or shards, sorted by name.

    Of what keeps held-out pictures apart (a shipped set, shards, folders train/ and test/): those.
    Raises GraftError (exit code 3) where there is nothing, or no picture.
    """
    path = heldout_of(where) if isinstance(where, str) and where in NAMES else place_of(where)
    listing = list_files(path)
    if listing.pictures:
        places = placed(listing.pictures, 2)
        apart = any(split == "heldout" for split, _ in places.values())
        found = [
            _single(entry, _of_folder(places.get(entry.name, ("", ""))[1]))
            for entry in entries([listing])
            if not apart or places.get(entry.name, ("", ""))[0] == "heldout"
        ]
    else:
        shards = (shards_of(path, "heldout") or shards_of(path)) if path.is_dir() else []
        archives = [list_files(shard) for shard, _ in shards]
        found = [_single(entry, _of_tar(entry.listing)) for entry in entries(archives)]
    if not found:
        raise GraftError(f"{where}: no pictures in it", INPUT)
    return found


def fit_for_files(names: list[str]) -> list[str]:
    """Names as parts of file names: letters, digits, _ and . alone, at most LONGEST bytes, all different."""
    found: list[str] = []
    for name in names:
        plain = "".join(c if c.isalnum() or c in "_." else "_" for c in name).strip(".") or "_"
        found.append(shortened(plain, name) if plain not in found else _marked(plain, name))
    return found


def shortened(plain: str, whole: str) -> str:
    """`plain` if it is short enough for a file's name; else its beginning and a digest of `whole`."""
    return plain if len(plain.encode()) <= LONGEST else _marked(plain, whole)


def _marked(plain: str, whole: str) -> str:
    digest = hashlib.sha256(whole.encode()).hexdigest()[:8]
    return f"{plain.encode()[: LONGEST - 9].decode(errors='ignore')}_{digest}"


def _single(entry: Entry, domain: str | None) -> Single:
    with suppress(GraftError):  # a broken json says nothing of the picture beside it
        domain = name_in(fields_of(entry.described()), ("domain",)) or domain
    domain = _side(entry) or domain
    return Single(shortened(entry.key, f"{entry.listing.where.name}/{entry.name}"), entry, domain)


def _side(entry: Entry) -> str | None:
    """A or B of a half whose other half lies beside it."""
    base = stem(entry.name)
    other = {".a": ".b", ".b": ".a"}.get(base[-2:])
    known = entry.listing.known
    if other is None or not any(f"{base[:-2]}{other}.{suffix}" in known for suffix in EXTENSIONS):
        return None
    return base[-1].upper()


def _of_tar(listing: Listing) -> str | None:
    found = SPLIT_IN_NAME.fullmatch(listing.where.name)
    return found["domain"] if found else None


def _of_folder(inside: str) -> str | None:
    parts = PurePosixPath(inside).parts
    return parts[0] if len(parts) > 1 else None
