"""What is in a folder, an archive or a packed set: counted, and everything broken named."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from PIL import Image

from pipeline.data.held import stray_notes
from pipeline.data.layouts import SPLITS, find_layout, label_order, only, refuse_other_names
from pipeline.data.listing import Listing, entries, list_files
from pipeline.data.manifest import Tally, read_manifest, sha256_of, shards_of
from pipeline.data.pairing import Found, broken_pair, find_pairs, holds_pairs, images_of
from pipeline.data.pictures import read_picture
from pipeline.data.samples import Broken, Pair, Sample, fields_of, reason_of, too_many_broken
from pipeline.data.shards import samples
from pipeline.data.shipped import place_of
from pipeline.errors import GraftError

SHOWN = 10  # names printed of a long list
ADVISED = 1000  # pictures a domain, below which users of StarGAN v2 report poor results
T = TypeVar("T")


@dataclass
class Report:
    """The findings. `form`: what the pictures lie in; `kind`: what they are; `count`: pictures, or pairs.

    `domains`: pictures by domain or class and split. `sha256`: over the pictures' bytes in order. `doubles`:
    (name, the earlier equal one). `refused`: why no job would start, "" if one would.
    """

    where: str
    form: str
    kind: str = "plain"
    count: int = 0
    domains: dict[str, dict[str, int]] = field(default_factory=dict)
    splits: dict[str, int] = field(default_factory=dict)
    shards: int = 0
    sizes: Counter[str] = field(default_factory=Counter)
    formats: Counter[str] = field(default_factory=Counter)
    conversions: Counter[str] = field(default_factory=Counter)
    tally: Tally = field(default_factory=Tally)
    broken: list[Broken] = field(default_factory=list)
    doubles: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    sha256: str = ""
    refused: str = ""

    @property
    def sound(self) -> bool:
        """Nothing broken, and nothing to refuse."""
        return not self.broken and not self.refused

    def lines(self) -> list[str]:
        """The report for a terminal, aligned."""
        counts = [("splits", self.splits), ("sizes", self.sizes), ("formats", self.formats)]
        counts += [("converted", self.conversions)]
        told = {"domains": "domains", "classes": "labels"}.get(
            self.kind
        )  # by their labels, in the rows below
        counts += [(name, found) for name, found in self.tally.as_dict().items() if name != told]
        rows = [("kind", self.kind)]
        rows += [("pairs" if self.kind == "pairs" else "pictures", f"{self.count:,} in {self.form}")]
        domains = self._by_domain()
        rows += [(f"label {label}", text) for label, text in enumerate(domains[:SHOWN])]
        rows += [("", f"and {len(domains) - SHOWN} more")] if len(domains) > SHOWN else []
        rows += [(name, _counted(found)) for name, found in counts if found]
        rows += (
            [("doubles", _few([f"{one} = {other}" for one, other in self.doubles]))] if self.doubles else []
        )
        rows += [("note", note) for note in self.notes]
        rows += [("broken", f"{one.called}: {one.reason}") for one in self.broken[:SHOWN]]
        if len(self.broken) > SHOWN:
            rows.append(("", f"and {len(self.broken) - SHOWN} more broken"))
        rows += [("sha256", self.sha256), ("verdict", self.verdict())]
        return [f"{name:<10}{text}" for name, text in rows]

    def _by_domain(self) -> list[str]:
        """One text a domain, in the order of the labels."""
        found = []
        for name in label_order(self.domains):
            apart = self.domains[name]["heldout"]
            held_out = f", held out {apart:,}" if apart else ""
            found.append(f"{name}: {self.domains[name]['train']:,}{held_out}")
        return found

    def verdict(self) -> str:
        """One clause: whether a job would run on it."""
        if self.count == 0:
            return "nothing to learn from"
        if self.refused:
            return self.refused
        if self.sound:
            return "sound"
        if too_many_broken(len(self.broken), self.count + len(self.broken)):
            return f"{len(self.broken)} broken, more than 1 %: a job would stop"
        return f"{len(self.broken)} broken, at most 1 %: a job would skip them"


def check(where: str | Path) -> Report:
    """Decodes every picture of a shipped name, folder, archive or packed set, and reports.

    Raises GraftError (exit code 3) only where there is nothing to look into; broken things are in the report.
    """
    path = place_of(where)
    listing = list_files(path)
    report = Report(str(where), "an archive" if path.is_file() else "a folder")
    digest, seen = hashlib.sha256(), dict[str, str]()
    for split, name, one in _found(path, listing, report):
        before = report.count
        _look_at(one, report, digest, seen)
        report.splits[split] = report.splits.get(split, 0) + report.count - before
        if name is not None:
            of_name = report.domains.setdefault(name, dict.fromkeys(SPLITS, 0))
            of_name[split] += report.count - before
    if not report.shards and "heldout" not in report.splits:
        report.splits = {}
    report.sha256 = digest.hexdigest()
    _look_back(report)
    return report


def _found(path: Path, listing: Listing, report: Report) -> Iterator[tuple[str, str | None, Found]]:
    """(split, domain, sample) of everything, once the kind of the set is found and noted."""
    shards = {split: [tar for tar, _ in shards_of(path, split)] for split in SPLITS if path.is_dir()}
    of_shards = any(shards.values())
    if holds_pairs(path, listing):
        report.kind = "pairs"
        parts, stray = find_pairs(path, listing)
        if of_shards and not listing.pictures:
            _note_shards(path, shards, report)
        report.notes += stray_notes(stray)
        for split, reads in parts.items():
            yield from ((split, None, one) for read in reads for one in _or_broken(read, path))
        return
    try:
        layout = find_layout(path, report.where, listing)
    except GraftError:  # no domains, or torn: looked at as plain pictures, which names what is torn
        if of_shards:
            _note_shards(path, shards, report)
            for split, tars in shards.items():
                for tar in tars:
                    yield from ((split, None, one) for one in _or_broken(partial(samples, tar), tar))
            return
        report.notes += stray_notes(listing.stray)
        yield from (("train", None, one) for entry in entries([listing]) for one in only(entry))
        return
    report.kind = layout.kind
    if any(part.tar for parts in layout.parts.values() for part in parts):
        _note_shards(path, shards, report)
    report.notes += stray_notes(layout.stray)
    for split, parts_of in layout.parts.items():
        whole = [replace(part, read=partial(_or_broken, part.read, part.tar or path)) for part in parts_of]
        for name, sample in replace(layout, parts={split: whole}).labelled(split):
            yield split, name, sample


def _note_shards(path: Path, shards: dict[str, list[Path]], report: Report) -> None:
    report.shards = sum(len(tars) for tars in shards.values())
    report.form = f"{report.shards} shards"
    _compare_with_manifest(path, report)


def _look_at(one: Found, report: Report, digest: "hashlib._Hash", seen: dict[str, str]) -> None:
    if isinstance(one, Broken):
        report.broken.append(one)
        return
    try:
        fields = fields_of(one)
        images, notes = _images(one, report.kind)
    except GraftError as error:
        report.broken.append(broken_pair(one, error))
        return
    report.count += 1
    report.sizes[" + ".join(f"{image.width}x{image.height}" for _, image in images)] += 1
    report.conversions.update(notes)
    report.tally.add(fields)
    for half in (one.a, one.b) if isinstance(one, Pair) else (one,):
        report.formats["jpg" if half.extension == "jpeg" else half.extension] += 1
        digest.update(half.picture)
    for called, image in images:
        pixels = hashlib.sha256(f"{image.size}".encode() + image.tobytes()).hexdigest()
        if pixels in seen:
            report.doubles.append((called, seen[pixels]))
        seen.setdefault(pixels, called)


def _images(one: Pair | Sample, kind: str) -> tuple[list[tuple[str, Image.Image]], list[str]]:
    if isinstance(one, Pair) or kind == "pairs":
        found, notes = images_of(one)
        return [(called, image) for _, called, image in found], notes
    image, notes = read_picture(one.picture, one.called)
    return [(one.called, image)], notes


def _look_back(report: Report) -> None:
    """What can be said of the whole set alone."""
    sides = [size.split("x") for size in report.sizes]
    if report.kind == "plain" and sides and all(int(side[0]) == 2 * int(side[1]) for side in sides):
        report.notes.append("all are twice as wide as high: pairs side by side, where pairs are asked for")
    train, heldout = ({name for name, of in report.domains.items() if of[split]} for split in SPLITS)
    try:
        refuse_other_names(report.where, report.kind, train, heldout)
    except GraftError as error:
        report.refused = reason_of(error, report.where)
    few = [name for name in label_order(train) if report.domains[name]["train"] < ADVISED]
    if few and report.kind == "domains":
        report.notes.append(
            f"fewer than {ADVISED:,} pictures for training (translation wants more): {_few(few)}"
        )


def _or_broken(read: Callable[[], Iterator[T]], where: Path) -> Iterator[T | Broken]:
    """What is read, and a last broken one where it breaks off."""
    try:
        yield from read()
    except GraftError as error:
        yield Broken(str(where), reason_of(error, str(where)))


def _compare_with_manifest(folder: Path, report: Report) -> None:
    manifest = read_manifest(folder)
    if manifest is None:
        report.notes.append("no manifest.json: the shards' checksums cannot be compared")
        return
    for split in manifest["splits"].values():
        for shard in split["shards"]:
            if sha256_of(folder / shard["name"]) != shard["sha256"]:
                report.broken.append(Broken(str(folder / shard["name"]), "its sha256 is not the manifest's"))


def _counted(found: dict[str, int]) -> str:
    ordered = sorted(found.items(), key=lambda pair: (-pair[1], pair[0]))
    return _few([f"{name} {count:,}" for name, count in ordered])


def _few(texts: list[str]) -> str:
    more = f", and {len(texts) - SHOWN} more" if len(texts) > SHOWN else ""
    return ", ".join(texts[:SHOWN]) + more
