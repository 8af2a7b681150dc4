"""How domains, classes and held-out parts lie on disk: by sub-folder, by name of a tar, by json and cls.

One table of labels serves both splits: the sorted names. Files beside the folders of the domains are never a
domain.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from pipeline.data.listing import Entry, Listing, entries, list_files
from pipeline.data.manifest import SPLIT_IN_NAME, read_manifest, shards_of
from pipeline.data.samples import Broken, Sample, fields_of, reason_of
from pipeline.data.shards import samples
from pipeline.data.tars import TAILS
from pipeline.errors import INPUT, GraftError

SPLITS = ("train", "heldout")
SPLIT_FOLDERS = {"train": "train", "heldout": "heldout", "test": "heldout", "val": "heldout"}
KEYS = {
    "domain": "domains",
    "class": "classes",
    "label": "classes",
}  # of the json, and the kind of set they make


@dataclass(frozen=True)
class Part:
    """Some samples of one split: of the domain `name`, or (None) of the one that each sample itself names."""

    name: str | None
    read: Callable[[], Iterator[Sample | Broken]]
    tar: Path | None = None
    count: int | None = None


@dataclass(frozen=True)
class Layout:
    """A set of domains or classes, unread. `key`: the json field that names them where the parts do not."""

    where: str
    kind: str
    parts: Mapping[str, Sequence[Part]]
    key: str = "domain"
    stray: tuple[str, ...] = ()

    def labelled(self, split: str) -> Iterator[tuple[str | None, Sample | Broken]]:
        """(domain, sample) of one split, undecoded; None with a broken sample whose domain is not known."""
        for part in self.parts.get(split, ()):
            for sample in part.read():
                if part.name is not None:
                    yield part.name, sample
                else:
                    yield self._named(sample)

    def _named(self, sample: Sample | Broken) -> tuple[str | None, Sample | Broken]:
        if isinstance(sample, Broken):
            return None, sample
        try:
            name = name_in(fields_of(sample), (self.key,))
        except GraftError as error:
            return None, Broken(sample.called, reason_of(error, sample.called))
        return name, sample if name is not None else Broken(sample.called, f"names no {self.key}")

    def said(self, split: str) -> set[str]:
        """The domains of one split that its parts name."""
        return {part.name for part in self.parts.get(split, ()) if part.name is not None}

    def names(self, split: str) -> set[str]:
        """The domains of one split; reads it, undecoded, where the samples name them."""
        if all(part.name is not None for part in self.parts.get(split, ())):
            return self.said(split)
        return {name for name, _ in self.labelled(split) if name is not None}


def refuse_other_names(where: str, kind: str, train: Set[str], heldout: Set[str]) -> None:
    """Raises GraftError (exit code 3) where both splits are there and name different domains."""
    if not train or not heldout or train == heldout:
        return
    said = [f"only for training: {', '.join(label_order(train - heldout))}"] if train - heldout else []
    said += [f"only held out: {', '.join(label_order(heldout - train))}"] if heldout - train else []
    raise GraftError(
        f"{where}: the held-out {kind} are not those for training ({'; '.join(said)}); "
        "labels would not mean the same",
        INPUT,
    )


def label_order(names: Iterable[str]) -> list[str]:
    """Names sorted; as numbers where all of them are (so that 10 comes after 9)."""
    found = list(names)
    if all(re.fullmatch(r"\d{1,9}", name) for name in found):
        return sorted(found, key=lambda name: (int(name), name))
    return sorted(found)


def name_in(fields: Mapping[str, Any], keys: Iterable[str]) -> str | None:
    """The domain or class that a json names, under the first of `keys` it has."""
    found = (fields.get(key) for key in keys)
    return next((str(one) for one in found if isinstance(one, str | int) and str(one)), None)


def find_layout(path: Path, where: str, listing: Listing | None = None) -> Layout:
    """How the domains lie in a folder or an archive. Raises GraftError (exit code 3) where there are none.

    listing: that of the path, if it has been made already.
    """
    manifest = read_manifest(path) if path.is_dir() else None
    if manifest is None:
        listing = listing or list_files(path)
        if _deep(listing):
            return _by_folder(listing, where)
        if not path.is_dir():
            return _by_content(_one_by_one(listing), where)
    shards = [(split, tar, count) for split in SPLITS for tar, count in shards_of(path, split)]
    if manifest is not None:
        named = [shard for split in manifest["splits"].values() for shard in split["shards"]]
        names = {
            path / shard["name"]: shard["domain"] for shard in named if isinstance(shard.get("domain"), str)
        }
    else:
        names = names_of_tars([tar for _, tar, _ in shards], _first_fields)
    parts: dict[str, list[Part]] = {split: [] for split in SPLITS}
    for split, tar, count in shards:
        parts[split].append(Part(names.get(tar), partial(samples, tar), tar, count))
    if shards and all(tar in names for _, tar, _ in shards):
        return Layout(where, "domains", parts)
    return _by_content(
        parts, where, ("class", "label") if (manifest or {}).get("kind") == "classes" else tuple(KEYS)
    )


def names_of_tars(tars: Sequence[Path], fields: Callable[[Path], Mapping[str, Any]]) -> dict[Path, str]:
    """Which domain each tar holds by its name: NAME-train*, NAME-test*, NAME-heldout*, NAME-0000, NAME.

    Empty where the names are no domains: one has no NAME, all say the same without a split, or the first json
    of a tar (what `fields` gives) names another.
    """
    names, split_named = {}, False
    for tar in tars:
        found = SPLIT_IN_NAME.fullmatch(tar.name)
        split_named |= found is not None
        name = found["domain"] if found else re.sub(r"-\d+$", "", _without_tail(tar.name))
        own = name_in(fields(tar), ("domain",) if found else KEYS)
        if not name or own not in (None, name):
            return {}
        names[tar] = name
    return names if split_named or len(set(names.values())) > 1 else {}


def placed(names: Iterable[str], depth: int, split: str = "train") -> dict[str, tuple[str, str]]:
    """(split, name inside it) of relative names: by folders train/ and test/, val/ or heldout/, else `split`.

    Those folders say the split where all names with at least `depth` folders lie in them, and some in train/.
    """
    parts = {name: PurePosixPath(name).parts for name in names}
    tops = {one[0] for one in parts.values() if len(one) > depth}
    if "train" not in tops or not tops <= SPLIT_FOLDERS.keys():
        return {name: (split, name) for name in parts}
    inside = {name: one for name, one in parts.items() if one[0] in SPLIT_FOLDERS and len(one) > 1}
    return {name: (SPLIT_FOLDERS[one[0]], "/".join(one[1:])) for name, one in inside.items()}


def _deep(listing: Listing) -> bool:
    return any("/" in name for name in listing.pictures)


def _by_folder(listing: Listing, where: str) -> Layout:
    places = placed(listing.pictures, 2)
    parts: dict[str, list[Part]] = {split: [] for split in SPLITS}
    beside = [name for name in listing.pictures if "/" not in places.get(name, ("", ""))[1]]
    for entry in entries([listing]):
        if entry.name in places and entry.name not in beside:
            split, inside = places[entry.name]
            parts[split].append(Part(inside.split("/")[0], partial(only, entry)))
    if listing.where.is_dir():
        _refuse_empty_folders(listing.where, places)
    return Layout(where, "domains", parts, stray=tuple(sorted({*listing.stray, *beside})))


def _refuse_empty_folders(path: Path, places: Mapping[str, tuple[str, str]]) -> None:
    """A folder without a picture would shift the labels of those after it wherever it is counted."""
    split = any(inside != name for name, (_, inside) in places.items())
    for root in [path / one for one in SPLIT_FOLDERS if (path / one).is_dir()] if split else [path]:
        filled = {PurePosixPath(name).parts[len(root.parts) - len(path.parts)] for name in places}
        for folder in sorted(root.iterdir()):
            if (
                folder.is_dir()
                and folder.name not in filled
                and not folder.name.startswith((".", "__MACOSX"))
            ):
                raise GraftError(f"{folder}: a domain without a picture; fill it, or take it away", INPUT)


def _by_content(parts: Mapping[str, Sequence[Part]], where: str, keys: Sequence[str] = tuple(KEYS)) -> Layout:
    """By the first field of `keys` that the first whole sample has."""
    for split in SPLITS:
        for part in parts.get(split, ()):
            found = _fields_of_first(part.read())
            key = next((key for key in keys if name_in(found, (key,))), None)
            if key is not None:
                return Layout(where, KEYS[key], parts, key)
            if found:
                break
    raise GraftError(
        f"{where}: no domains in it; give each a sub-folder, a NAME-train.tar, "
        "or a field 'domain' in KEY.json",
        INPUT,
    )


def _one_by_one(listing: Listing) -> dict[str, list[Part]]:
    found = entries([listing])

    def read() -> Iterator[Sample | Broken]:
        for entry in found:
            yield from only(entry)

    return {"train": [Part(None, read, count=len(found))]}


def only(entry: Entry) -> Iterator[Sample | Broken]:
    """The one sample of an entry, or a broken one that says why not."""
    try:
        yield entry.sample()
    except GraftError as error:
        yield Broken(entry.called, reason_of(error, entry.called))


def _first_fields(tar: Path) -> dict[str, Any]:
    return _fields_of_first(samples(tar))


def _fields_of_first(found: Iterable[Sample | Broken]) -> dict[str, Any]:
    """The json of the first sample that has a whole one; {} where none has."""
    for sample in found:
        try:
            if isinstance(sample, Sample):
                return fields_of(sample)
        except GraftError:  # a broken json: counted when the set is opened
            continue
    return {}


def _without_tail(name: str) -> str:
    return next(
        (name[: -len(tail)] for tail in sorted(TAILS, key=len, reverse=True) if name.lower().endswith(tail)),
        name,
    )
