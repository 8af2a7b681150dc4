"""Packs a folder or an archive of pictures into WebDataset shards with a manifest.

The same input and the same choices give the same bytes, at any time and in any folder.
"""

import hashlib
import io
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from pipeline.data.items import KINDS, Item, held_out, in_classes, items_of
from pipeline.data.layouts import label_order
from pipeline.data.manifest import NAME, Tally, read_manifest, shard_entry, write_manifest
from pipeline.data.pairing import broken_pair, images_of
from pipeline.data.pictures import FITS, OtherSizeError, fit_picture, read_picture
from pipeline.data.samples import Broken, Pair, Sample, fields_of, reason_of, stop_if_broken
from pipeline.data.shards import write_shard
from pipeline.errors import GraftError

ENCODINGS = ("keep", "webp", "png")
LABELS = ("none", "folder")


@dataclass(frozen=True)
class Choices:
    """How to pack.

    kind: what the pictures are (see `pack`); size: side in pixels (None: that of the first picture); heldout:
    how many samples to keep apart, of each domain or class; per_shard: samples; labels "folder": plain
    pictures whose class is the first sub-folder.
    """

    kind: str = "plain"
    size: int | None = None
    fit: str = "refuse"
    encode: str = "webp"
    labels: str = "none"
    heldout: int = 0
    per_shard: int = 1000
    gz: bool = False
    overwrite: bool = False

    def __post_init__(self) -> None:
        for name, allowed in (("kind", KINDS), ("fit", FITS), ("encode", ENCODINGS), ("labels", LABELS)):
            value = getattr(self, name)
            if value not in allowed:
                raise GraftError(f"{name}={value}: must be one of {', '.join(allowed)}")
        for name, least in (("heldout", 0), ("per_shard", 1), ("size", 8)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise GraftError(f"{name}={value}: must be at least {least}")
        if self.labels == "folder" and self.kind in ("domains", "pairs"):
            raise GraftError(
                f"labels=folder: {self.kind} have no classes; pass kind=classes, or leave labels out"
            )


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

    kind "domains": a domain is a first-level sub-folder, or the NAME of an archive NAME-*, or the json's
    `domain`; writes DOMAIN-0000.tar ... and DOMAIN-heldout.tar, and the domain into each json. "classes": a
    class is a first-level sub-folder, or the json's `class`, or the number in KEY.cls; writes KEY.cls.
    "pairs": KEY.a.png and KEY.b.png, or equal names under A/ and B/, or pictures twice as wide as high;
    writes KEY.a.webp and KEY.b.webp. Of these three a source may say itself what is held out: archives
    *test*, *heldout*, or folders beside train/.
    """
    choices = choices or Choices()
    out = Path(out)
    _refuse_overwriting(out, choices.overwrite)
    items, stray = items_of(source, choices.kind)
    if choices.kind == "plain" and choices.labels == "folder":
        items = in_classes(items)
    packed = Packed(stray=stray)
    kept_apart = held_out(items, choices.heldout, choices.kind, str(source))
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

    def __init__(self, choices: Choices, items: list[Item], packed: Packed, out: Path) -> None:
        self.choices, self.items, self.packed, self.out = choices, items, packed, out
        self.size = choices.size
        self.tally = Tally()
        self.apart: set[bytes] = set()
        groups = {item.group for item in items if item.group}
        self.domains = label_order(groups) if choices.kind == "domains" else []
        self.classes = [] if self.domains else sorted(groups)
        if choices.kind == "classes":
            self.classes = label_order(groups)

    def run(self, kept_apart: set[str], source: str) -> None:
        """Held-out samples first, so that their doubles can be left out of the training shards."""
        splits: dict[str, Any] = {}
        for split in ("heldout", "train"):
            items = [item for item in self.items if (item.key in kept_apart) == (split == "heldout")]
            if items:
                shards = list(
                    self.shards_by_domain(split, items) if self.domains else self.shards(split, items)
                )
                splits[split] = {"count": sum(shard["count"] for shard in shards), "shards": shards}
        stop_if_broken(self.packed.broken, len(self.items), source)
        kind = {} if self.choices.kind == "plain" else {"kind": self.choices.kind}
        tables = {"table": self.domains} if self.domains else {"classes": self.classes}
        self.packed.notes = dict(sorted(self.packed.notes.items()))
        self.packed.manifest = {
            **kind,
            "size": self.size,
            "count": sum(split["count"] for split in splits.values()),
            "splits": dict(sorted(splits.items(), reverse=True)),
            **{name: table for name, table in tables.items() if table},
            **self.tally.as_dict(),
        }
        write_manifest(self.out, self.packed.manifest)

    def shards_by_domain(self, split: str, items: list[Item]) -> Iterator[dict[str, Any]]:
        for domain in ["", *self.domains]:  # without a domain are only broken ones, which are counted
            of_domain = [item for item in items if item.group == domain]
            for shard in self.shards(split, of_domain, domain):
                yield {**shard, "domain": domain}

    def shards(self, split: str, items: list[Item], domain: str = "") -> Iterator[dict[str, Any]]:
        contents = self.contents(split, items)
        front = domain if domain and split == "train" else "-".join(part for part in (domain, split) if part)
        tail = ".tar.gz" if self.choices.gz else ".tar"
        alone = split == "heldout" and len(items) <= self.choices.per_shard
        for number in range(-(-len(items) // self.choices.per_shard)):
            path = self.out / (f"{front}{tail}" if alone else f"{front}-{number:04d}{tail}")
            ready = (next(contents, None) for _ in range(self.choices.per_shard))
            count = write_shard(path, (one for one in ready if one is not None))
            if count == 0:  # broken ones left the last shard empty
                path.unlink()
                return
            yield shard_entry(path, count)

    def contents(self, split: str, items: list[Item]) -> Iterator[tuple[str, dict[str, bytes]]]:
        for item in items:
            sample: Sample | Pair | None = None
            try:
                sample = item.read()
                found = self.content(item, sample, split)
            except GraftError as error:
                if isinstance(error, OtherSizeError):
                    raise
                broken = Broken(item.called, reason_of(error, item.called))
                if isinstance(sample, Pair):
                    broken = broken_pair(sample, error)
                self.packed.broken.append(broken)
                continue
            if found is not None:
                yield item.key, found

    def content(self, item: Item, sample: Sample | Pair, split: str) -> dict[str, bytes] | None:
        """The members of one key; None for a picture (or a pair) that is equal to a held-out one."""
        images, notes = self.images(item, sample)
        pixels = hashlib.sha256(b"".join(image.tobytes() for image in images.values())).digest()
        if split == "heldout":
            self.apart.add(pixels)
        elif pixels in self.apart:
            self.packed.doubles.append(item.called)
            return None
        members = self.side_members(item, sample)
        for note in notes:
            kind = note.split(" from ")[0]
            self.packed.notes[kind] = self.packed.notes.get(kind, 0) + 1
        keep = self.choices.encode == "keep" and not notes
        if keep and isinstance(sample, Pair):
            halves = {"a": sample.a, "b": sample.b}
            return members | {f"{side}.{half.extension}": half.picture for side, half in halves.items()}
        if keep and isinstance(sample, Sample) and len(images) == 1:
            return {**members, sample.extension: sample.picture}
        for side, image in images.items():
            kind, data = self.encoded(image)
            members[f"{side}.{kind}" if side else kind] = data
        return members

    def images(self, item: Item, sample: Sample | Pair) -> tuple[dict[str, Image.Image], list[str]]:
        """The pictures of a sample at the size of the set, by side ("" where there is one), and all notes."""
        if self.choices.kind == "pairs":
            found, notes = images_of(sample)
        else:
            assert isinstance(sample, Sample)
            image, notes = read_picture(sample.picture, item.called)
            found = [("", item.called, image)]
        images = {}
        for side, called, image in found:
            self.size = self.size or min(image.size)
            if image.size != (self.size, self.size) and self.choices.fit == "refuse":
                raise OtherSizeError(
                    f"{called}: {image.width}x{image.height} pixels, but the set is "
                    f"{self.size}x{self.size}; pass --fit crop or --fit resize"
                )
            images[side], changes = fit_picture(image, called, self.size, self.choices.fit)
            notes = notes + changes
        return images, notes

    def side_members(self, item: Item, sample: Sample | Pair) -> dict[str, bytes]:
        """KEY.json as it was, or a new one that says where the picture came from; a class from the folder."""
        fields = fields_of(sample)
        as_it_was = None if self.classes else sample.fields
        members = {} if sample.label is None else {"cls": sample.label}
        if self.classes:
            fields |= {"class": item.group, "label": self.classes.index(item.group)}
            members["cls"] = str(fields["label"]).encode()
        if self.domains and fields.get("domain") != item.group:
            fields, as_it_was = fields | {"domain": item.group}, None
        if sample.fields is None:
            fields |= {"file": item.file}
        members["json"] = as_it_was or json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()
        self.tally.add(fields)
        return members

    def encoded(self, image: Image.Image) -> tuple[str, bytes]:
        """(extension, bytes), lossless; "keep" falls back to WebP where the picture had to be changed."""
        target = io.BytesIO()
        if self.choices.encode == "png":
            image.save(target, "PNG", optimize=True)
            return "png", target.getvalue()
        image.save(target, "WEBP", lossless=True, quality=100, method=6)
        return "webp", target.getvalue()


def _refuse_overwriting(out: Path, overwrite: bool) -> None:
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not overwrite:
        raise GraftError(f"{out}: is there already; pass --overwrite, or another name")
    if not out.is_dir() or read_manifest(out) is None:
        raise GraftError(
            f"{out}: holds no {NAME}, so it is no packed set, and is not replaced; remove it yourself"
        )
