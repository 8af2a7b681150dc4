"""What is to be packed: one item a sample, with its key, its split and the domain or class it belongs to."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from pipeline.data.layouts import KEYS, SPLITS, label_order, name_in, names_of_tars, placed
from pipeline.data.listing import Entry, Listing, entries, is_archive, list_files
from pipeline.data.manifest import split_of_tar
from pipeline.data.pairing import PairEntry, pair_entries
from pipeline.data.samples import Pair, Sample, fields_of
from pipeline.errors import INPUT, GraftError

KINDS = ("plain", "domains", "pairs", "classes")


@dataclass(frozen=True)
class Item:
    """One sample. `read` opens it undecoded, or raises GraftError; group: domain or class, "" if plain."""

    key: str
    called: str
    file: str
    read: Callable[[], Sample | Pair]
    group: str = ""
    apart: bool = False


def items_of(source: str | Path, kind: str) -> tuple[list[Item], list[str]]:
    """The items of a folder or archive, sorted by key, and the files that are none.

    Raises GraftError (exit code 3). Of a folder without loose pictures: those of all archives in it.
    """
    listings = [list_files(source)]
    archives = not listings[0].pictures and Path(source).is_dir()
    if archives:
        listings += [list_files(Path(source) / name) for name in listings[0].stray if is_archive(name)]
    stray = [f"{listing.where}/{name}" for listing in listings for name in listing.stray]
    if kind == "pairs":
        pairs, beside = pair_entries(listings, archives)
        found = [_pair(one) for one in pairs]
        stray += beside
    elif kind == "plain":
        found = [_plain(one) for one in entries(listings)]
    else:
        found, beside = _grouped(listings, archives, kind, str(source))
        stray += beside
    if not found:
        raise GraftError(f"{source}: no pictures in it", INPUT)
    return found, [name for name in stray if not is_archive(name)]


def in_classes(items: list[Item]) -> list[Item]:
    """The same with the first sub-folder as the group. Raises GraftError (3) for one that lies in none."""
    for item in items:
        if "/" not in item.file:
            raise GraftError(f"{item.called}: labels=folder, but the picture lies in no sub-folder", INPUT)
    return [replace(item, group=PurePosixPath(item.file).parts[0]) for item in items]


def held_out(items: list[Item], count: int, kind: str, source: str) -> set[str]:
    """Keys of the held-out samples: those the source says itself, or the first `count` by the key's hash.

    count is of each domain or class. Raises GraftError where nothing would be left (exit code 3), or both are
    asked.
    """
    kept = {item.key for item in items if item.apart}
    if kept and count:
        raise GraftError(f"{source}: says itself which pictures are held out; leave --heldout out")
    grouped = kind in ("domains", "classes")
    for group in label_order({item.group for item in items if item.group}) if grouped else [""]:
        if kind == "domains":
            _refuse_as_name(group, source)
        keys = [item.key for item in items if not grouped or item.group == group]
        kept |= set(sorted(keys, key=_key_hash)[:count])
        if len(keys) < count or kept.issuperset(keys):
            of_group = f" of {group}" if group else ""
            raise GraftError(
                f"{source}: {len(keys)} pictures{of_group}, so {count or len(keys)} cannot be held out", INPUT
            )
    return kept


def _refuse_as_name(domain: str, source: str) -> None:
    if domain.startswith(".") or {"/", "\\", "\0"} & set(domain) or len(domain.encode()) > 200:
        raise GraftError(f"{source}: the domain {domain!r} cannot name a file; call it otherwise", INPUT)


def _key_hash(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def _plain(entry: Entry, group: str = "", split: str = "train") -> Item:
    return Item(entry.key, entry.called, entry.name, entry.sample, group, split == "heldout")


def _grouped(listings: list[Listing], archives: bool, kind: str, source: str) -> tuple[list[Item], list[str]]:
    """By the first sub-folder; else by the name of the tar (domains alone); else by json and cls."""
    splits = {one.where: split_of_tar(one.where.name) if archives else SPLITS[0] for one in listings}
    deep = any("/" in name for listing in listings for name in listing.pictures)
    places = {one.where: placed(one.pictures, 2, splits[one.where]) for one in listings if deep}
    by_tar: Mapping[Path, str] = {}
    if archives and kind == "domains" and not deep:
        first = {one.where: _first_fields(one) for one in listings if one.pictures}
        by_tar = names_of_tars(sorted(first), first.__getitem__)
    found, stray = [], []
    for entry in entries(listings):
        where = entry.listing.where
        if not deep:
            found.append(
                _plain(entry, by_tar[where], splits[where]) if by_tar else _named(entry, kind, splits[where])
            )
            continue
        split, inside = places[where].get(entry.name, ("", ""))
        if "/" in inside:
            found.append(_plain(entry, inside.split("/")[0], split))
        else:
            stray.append(entry.called)
    if found and not any(item.group for item in found):
        field = "domain' in KEY.json" if kind == "domains" else "class' in KEY.json, or a KEY.cls"
        raise GraftError(f"{source}: no {kind} in it; give each a sub-folder, or a field '{field}", INPUT)
    return found, stray


def _named(entry: Entry, kind: str, split: str) -> Item:
    """By what lies beside the picture; where that names nothing, it is broken when its turn comes."""
    keys = [key for key, made in KEYS.items() if made == kind]

    def nameless() -> Sample:
        fields_of(entry.described())
        raise GraftError(f"{entry.called}: names no {keys[0]}", INPUT)

    group = name_in(_fields_or_none(entry), keys)
    if group is None:
        return Item(entry.key, entry.called, entry.name, nameless, "", split == "heldout")
    return _plain(entry, group, split)


def _pair(entry: PairEntry) -> Item:
    return Item(entry.key, entry.called, entry.names[0], entry.sample, "", entry.split == "heldout")


def _first_fields(listing: Listing) -> dict[str, Any]:
    return _fields_or_none(entries([listing])[0])


def _fields_or_none(entry: Entry) -> dict[str, Any]:
    try:
        return fields_of(entry.described())
    except GraftError:
        return {}
