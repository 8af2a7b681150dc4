"""manifest.json beside shards: what they hold, by name, count, bytes and sha256."""

import hashlib
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

from cluster.object_cache import size_of, using
from pipeline.data.tars import is_tar
from pipeline.errors import INPUT, GraftError

NAME = "manifest.json"
FORMAT = "graft shards 1"
SPLIT_IN_NAME = re.compile(r"((?P<domain>.+)-)?(?P<split>train|test|heldout)([-_.\d].*)")
MOST_VALUES = 1000  # a json field with more different values is no label, domain or licence


class Tally:
    """Counts, over samples, the labels, domains, licences and credits that their json names."""

    def __init__(self) -> None:
        self.labels: Counter[str] = Counter()
        self.domains: Counter[str] = Counter()
        self.licences: Counter[str] = Counter()
        self.credits: Counter[str] = Counter()

    def add(self, fields: dict[str, Any]) -> None:
        """fields: the json of one sample."""
        for counter, keys in (
            (self.labels, ("class", "label")),
            (self.domains, ("domain", "style")),
            (self.licences, ("licence", "license")),
            (self.credits, ("credit", "author")),
        ):
            value = next((fields[key] for key in keys if isinstance(fields.get(key), str | int)), None)
            if value is not None and (str(value) in counter or len(counter) < MOST_VALUES):
                counter[str(value)] += 1

    def as_dict(self) -> dict[str, dict[str, int]]:
        """The four counts by name, each sorted; empty ones too."""
        pairs = vars(self).items()
        return {name: dict(sorted(counter.items())) for name, counter in pairs}


def sha256_of(path: Path) -> str:
    """Hex sha256 of a file."""
    with using(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def shard_entry(path: Path, count: int) -> dict[str, Any]:
    """What the manifest says of one shard."""
    return {"name": path.name, "count": count, "bytes": path.stat().st_size, "sha256": sha256_of(path)}


def shards_of(folder: Path, split: str = "train") -> list[tuple[Path, int | None]]:
    """(shard, count) of one split of a folder, in order; [] where the folder holds no shards.

    Without a manifest counts are None, and the names say the split (see `split_of_tar`).
    """
    manifest = read_manifest(folder)
    if manifest is not None:
        found = manifest["splits"].get(split, {"shards": []})["shards"]
        return [(folder / shard["name"], int(shard["count"])) for shard in found]
    tars = sorted(path for path in folder.iterdir() if is_tar(path) and not path.name.startswith("."))
    return [(path, None) for path in tars if split_of_tar(path.name) == split]


def split_of_tar(name: str) -> str:
    """Of heldout*.tar, test.tar, NAME-heldout*.tar and NAME-test*.tar: "heldout"; of all others "train"."""
    if name.startswith("heldout"):
        return "heldout"
    found = SPLIT_IN_NAME.fullmatch(name)
    return "heldout" if found and found["split"] != "train" else "train"


def write_manifest(folder: Path, content: dict[str, Any]) -> None:
    """Writes manifest.json; the same content gives the same bytes."""
    text = json.dumps({"format": FORMAT, **content}, indent=1, ensure_ascii=False)
    (folder / NAME).write_text(text + "\n", encoding="utf-8")


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of a folder, None where there is none. Raises GraftError (3) where it is not ours."""
    path = folder / NAME
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        for split in content["splits"].values():
            for shard in split["shards"]:
                _check_entry(path, shard)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise GraftError(
            f"{path}: not a manifest Graft wrote ({error!r}); pack the set again", INPUT
        ) from None
    return dict(content)


def _check_entry(path: Path, shard: dict[str, Any]) -> None:
    """A name with a folder in it would lead outside; bytes that differ mean another or a torn shard."""
    if Path(shard["name"]).name != shard["name"] or int(shard["count"]) < 0:
        raise ValueError(shard["name"])
    file = path.parent / shard["name"]
    size = size_of(file)
    if size is None:
        raise GraftError(f"{file}: missing, though {path} names it; copy or pack the set again", INPUT)
    if size != shard["bytes"]:
        raise GraftError(
            f"{file}: {size} bytes, but {path} says {shard['bytes']}; copy or pack the set again",
            INPUT,
        )
