"""Packs a folder or an archive of pictures into WebDataset shards with a manifest.

The same input and the same choices give the same bytes, at any time and in any folder.
"""

import hashlib
import io
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from PIL import Image

from pipeline.data.listing import Entry, entries, is_archive, list_files
from pipeline.data.manifest import NAME, Tally, read_manifest, shard_entry, write_manifest
from pipeline.data.pictures import FITS, OtherSizeError, fit_picture, read_picture
from pipeline.data.samples import Broken, Sample, fields_of, stop_if_broken
from pipeline.data.shards import write_shard
from pipeline.errors import INPUT, GraftError

ENCODINGS = ("keep", "webp", "png")
LABELS = ("none", "folder")


@dataclass(frozen=True)
class Choices:
    """How to pack.

    size: side in pixels (None: that of the first picture); heldout: how many samples to keep apart;
    per_shard: samples; labels "folder": the class is the first sub-folder.
    """

    size: int | None = None
    fit: str = "refuse"
    encode: str = "webp"
    labels: str = "none"
    heldout: int = 0
    per_shard: int = 1000
    gz: bool = False
    overwrite: bool = False

    def __post_init__(self) -> None:
        for name, allowed in (("fit", FITS), ("encode", ENCODINGS), ("labels", LABELS)):
            value = getattr(self, name)
            if value not in allowed:
                raise GraftError(f"{name}={value}: must be one of {', '.join(allowed)}")
        for name, least in (("heldout", 0), ("per_shard", 1), ("size", 8)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise GraftError(f"{name}={value}: must be at least {least}")


@dataclass
class Packed:
    """What was packed: manifest, conversions counted, broken pictures, doubles left out, stray files."""

    manifest: dict[str, Any] = field(default_factory=dict)
    notes: dict[str, int] = field(default_factory=dict)
    broken: list[Broken] = field(default_factory=list)
    doubles: list[str] = field(default_factory=list)
    stray: list[str] = field(default_factory=list)


def pack(source: str | Path, out: str | Path, choices: Choices | None = None) -> Packed:
    """Writes train-0000.tar ... , heldout.tar where asked, and manifest.json into the new folder `out`.

    source: a folder (with sub-folders) of pictures or of archives, or an archive (zip, tar, tar.gz).
    KEY.json and KEY.cls beside a picture travel along. The held-out samples are those with the smallest
    sha256 of the key, and a picture equal to a held-out one, pixel by pixel, is left out of the training
    shards. The folder appears whole or not at all. Raises GraftError: exit code 3 for pictures that cannot
    be packed.
    """
    choices = choices or Choices()
    out = Path(out)
    _refuse_overwriting(out, choices.overwrite)
    items, stray = _entries(source)
    packed = Packed(stray=stray)
    kept_apart = set(sorted((item.key for item in items), key=_key_hash)[: choices.heldout])
    if len(kept_apart) < choices.heldout or len(kept_apart) == len(items):
        raise GraftError(f"{source}: {len(items)} pictures, so {choices.heldout} cannot be held out", INPUT)
    part = out.parent / f".{out.name}.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        _Packing(choices, items, packed, part).run(kept_apart, str(source))
        if out.exists():
            shutil.rmtree(out)
        part.rename(out)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return packed


class _Packing:
    """One run of `pack`: turns items into shard contents, and notes what happened to them."""

    def __init__(self, choices: Choices, items: list[Entry], packed: Packed, out: Path) -> None:
        self.choices, self.items, self.packed, self.out = choices, items, packed, out
        self.size = choices.size
        self.tally = Tally()
        self.apart: set[bytes] = set()
        self.classes = sorted({_class_of(item) for item in items}) if choices.labels == "folder" else []

    def run(self, kept_apart: set[str], source: str) -> None:
        """Held-out samples first, so that their doubles can be left out of the training shards."""
        splits: dict[str, Any] = {}
        for split in ("heldout", "train"):
            items = [item for item in self.items if (item.key in kept_apart) == (split == "heldout")]
            if items:
                shards = list(self.shards(split, items))
                splits[split] = {"count": sum(shard["count"] for shard in shards), "shards": shards}
        stop_if_broken(self.packed.broken, len(self.items), source)
        classes = {"classes": self.classes} if self.classes else {}
        self.packed.notes = dict(sorted(self.packed.notes.items()))
        self.packed.manifest = {
            "size": self.size,
            "count": sum(split["count"] for split in splits.values()),
            "splits": dict(sorted(splits.items(), reverse=True)),
            **classes,
            **self.tally.as_dict(),
        }
        write_manifest(self.out, self.packed.manifest)

    def shards(self, split: str, items: list[Entry]) -> Iterator[dict[str, Any]]:
        contents = self.contents(split, items)
        tail = ".tar.gz" if self.choices.gz else ".tar"
        alone = split == "heldout" and len(items) <= self.choices.per_shard
        for number in range(-(-len(items) // self.choices.per_shard)):
            path = self.out / (f"{split}{tail}" if alone else f"{split}-{number:04d}{tail}")
            ready = (next(contents, None) for _ in range(self.choices.per_shard))
            count = write_shard(path, (one for one in ready if one is not None))
            if count == 0:  # broken ones left the last shard empty
                path.unlink()
                return
            yield shard_entry(path, count)

    def contents(self, split: str, items: list[Entry]) -> Iterator[tuple[str, dict[str, bytes]]]:
        for item in items:
            try:
                found = self.content(item, split)
            except GraftError as error:
                if isinstance(error, OtherSizeError):
                    raise
                self.packed.broken.append(Broken(item.called, str(error).removeprefix(f"{item.called}: ")))
                continue
            if found is not None:
                yield item.key, found

    def content(self, item: Entry, split: str) -> dict[str, bytes] | None:
        sample = item.sample()
        image, notes = read_picture(sample.picture, item.called)
        self.size = self.size or min(image.size)
        if image.size != (self.size, self.size) and self.choices.fit == "refuse":
            raise OtherSizeError(
                f"{item.called}: {image.width}x{image.height} pixels, but the set is "
                f"{self.size}x{self.size}; pass --fit crop or --fit resize"
            )
        image, changes = fit_picture(image, item.called, self.size, self.choices.fit)
        pixels = hashlib.sha256(image.tobytes()).digest()
        if split == "heldout":
            self.apart.add(pixels)
        elif pixels in self.apart:
            self.packed.doubles.append(item.called)
            return None
        members = self.side_members(item, sample)
        for note in notes + changes:
            kind = note.split(" from ")[0]
            self.packed.notes[kind] = self.packed.notes.get(kind, 0) + 1
        keep = self.choices.encode == "keep" and not notes and not changes
        return {**members, **({sample.extension: sample.picture} if keep else self.encoded(image))}

    def side_members(self, item: Entry, sample: Sample) -> dict[str, bytes]:
        """KEY.json as it was, or a new one that says where the picture came from; a class from the folder."""
        fields = fields_of(sample)
        members = {} if sample.label is None else {"cls": sample.label}
        if self.classes:
            fields |= {"class": _class_of(item), "label": self.classes.index(_class_of(item))}
            members["cls"] = str(fields["label"]).encode()
        if sample.fields is None:
            fields |= {"file": item.name}
        as_it_was = None if self.classes else sample.fields
        members["json"] = as_it_was or json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()
        self.tally.add(fields)
        return members

    def encoded(self, image: Image.Image) -> dict[str, bytes]:
        """Lossless; "keep" falls back to WebP where the picture had to be changed."""
        kind = "png" if self.choices.encode == "png" else "webp"
        target = io.BytesIO()
        if kind == "png":
            image.save(target, "PNG", optimize=True)
        else:
            image.save(target, "WEBP", lossless=True, quality=100, method=6)
        return {kind: target.getvalue()}


def _entries(source: str | Path) -> tuple[list[Entry], list[str]]:
    """The pictures of a folder or archive, or of all archives in a folder without loose pictures."""
    listings = [list_files(source)]
    if not listings[0].pictures and Path(source).is_dir():
        listings += [list_files(Path(source) / name) for name in listings[0].stray if is_archive(name)]
    found = entries(listings)
    if not found:
        raise GraftError(f"{source}: no pictures in it", INPUT)
    stray = [f"{listing.where}/{name}" for listing in listings for name in listing.stray]
    return found, [name for name in stray if not is_archive(name)]


def _key_hash(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def _class_of(item: Entry) -> str:
    parts = PurePosixPath(item.name).parts
    if len(parts) < 2:
        raise GraftError(f"{item.called}: labels=folder, but the picture lies in no sub-folder", INPUT)
    return parts[0]


def _refuse_overwriting(out: Path, overwrite: bool) -> None:
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not overwrite:
        raise GraftError(f"{out}: is there already; pass --overwrite, or another name")
    if not out.is_dir() or read_manifest(out) is None:
        raise GraftError(
            f"{out}: holds no {NAME}, so it is no packed set, and is not replaced; remove it yourself"
        )
