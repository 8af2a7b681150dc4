"""What is in a folder, an archive or a packed set: counted, and everything broken named."""

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.data.held import stray_notes
from pipeline.data.listing import entries, list_files
from pipeline.data.manifest import Tally, read_manifest, sha256_of, shards_of
from pipeline.data.pictures import read_picture
from pipeline.data.samples import Broken, Sample, fields_of, reason_of, too_many_broken
from pipeline.data.shards import samples
from pipeline.data.shipped import place_of
from pipeline.errors import GraftError

SHOWN = 10  # names printed of a long list


@dataclass
class Report:
    """The findings. `sha256`: over the pictures' bytes in order. `doubles`: (name, the earlier equal one)."""

    where: str
    kind: str
    count: int = 0
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

    @property
    def sound(self) -> bool:
        """Nothing broken."""
        return not self.broken

    def lines(self) -> list[str]:
        """The report for a terminal, aligned."""
        counts = [("splits", self.splits), ("sizes", self.sizes), ("formats", self.formats)]
        counts += [("converted", self.conversions), *self.tally.as_dict().items()]
        rows = [("pictures", f"{self.count:,} in {self.kind}")]
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

    def verdict(self) -> str:
        """One clause: whether a job would run on it."""
        if self.count == 0:
            return "nothing to learn from"
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
    splits = {split: shards_of(path, split) for split in ("train", "heldout")} if path.is_dir() else {}
    if not any(splits.values()):
        return _check_loose(path)
    report = Report(str(where), "shards")
    digest, seen = hashlib.sha256(), dict[str, str]()
    _compare_with_manifest(path, report)
    for split, shards in splits.items():
        before = report.count
        for shard, _ in shards:
            report.shards += 1
            for sample in _samples_or_broken(shard):
                _look_at(sample, report, digest, seen)
        if shards:
            report.splits[split] = report.count - before
    report.kind = f"{report.shards} shards"
    report.sha256 = digest.hexdigest()
    return report


def _check_loose(path: Path) -> Report:
    listing = list_files(path)
    report = Report(str(path), "a folder" if path.is_dir() else "an archive")
    report.notes += stray_notes(listing.stray)
    digest, seen = hashlib.sha256(), dict[str, str]()
    for entry in entries([listing]):
        try:
            sample: Sample | Broken = entry.sample()
        except GraftError as error:
            sample = Broken(entry.called, reason_of(error, entry.called))
        _look_at(sample, report, digest, seen)
    report.sha256 = digest.hexdigest()
    return report


def _look_at(sample: Sample | Broken, report: Report, digest: "hashlib._Hash", seen: dict[str, str]) -> None:
    if isinstance(sample, Broken):
        report.broken.append(sample)
        return
    try:
        fields = fields_of(sample)
        image, notes = read_picture(sample.picture, sample.called)
    except GraftError as error:
        report.broken.append(Broken(sample.called, reason_of(error, sample.called)))
        return
    report.count += 1
    report.sizes[f"{image.width}x{image.height}"] += 1
    report.formats["jpg" if sample.extension == "jpeg" else sample.extension] += 1
    report.conversions.update(notes)
    report.tally.add(fields)
    digest.update(sample.picture)
    pixels = hashlib.sha256(f"{image.size}".encode() + image.tobytes()).hexdigest()
    if pixels in seen:
        report.doubles.append((sample.called, seen[pixels]))
    seen.setdefault(pixels, sample.called)


def _samples_or_broken(shard: Path) -> Iterator[Sample | Broken]:
    """The samples of a shard, and a last broken one where it breaks off."""
    try:
        yield from samples(shard)
    except GraftError as error:
        yield Broken(str(shard), reason_of(error, str(shard)))


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
