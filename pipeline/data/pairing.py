"""How pairs lie on disk: KEY.a.png beside KEY.b.png, equal names in A/ and B/, or both side by side."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from PIL import Image

from pipeline.data.layouts import SPLITS, placed
from pipeline.data.listing import Listing, extension, key_of, list_files, stem
from pipeline.data.manifest import read_manifest, shards_of, split_of_tar
from pipeline.data.pictures import PictureError, read_picture
from pipeline.data.samples import Broken, Pair, Sample, reason_of
from pipeline.data.shards import pairs
from pipeline.errors import INPUT, GraftError

Found = Pair | Sample | Broken
SIDES = ("a", "b")


@dataclass(frozen=True)
class PairEntry:
    """One pair of a listing. `sides`: its names under "a" and "b", or under "" one that holds both."""

    listing: Listing
    base: str
    key: str
    split: str
    sides: tuple[tuple[str, tuple[str, ...]], ...]

    @property
    def called(self) -> str:
        """The name as an error sentence gives it."""
        name = self.names[0] if "" in dict(self.sides) else self.base
        return f"{self.listing.where}/{name}"

    @property
    def names(self) -> list[str]:
        """The names of its pictures."""
        return [name for _, names in self.sides for name in names]

    def sample(self) -> Pair | Sample:
        """The undecoded pair with the KEY.json that lies beside it. Raises GraftError: a half is missing."""
        sides = dict(self.sides)
        wanted = ("",) if "" in sides else SIDES
        for side in wanted:
            if len(sides.get(side, ())) != 1:
                what = " ".join(["no" if side not in sides else "more than one", "picture", *side.upper()])
                raise GraftError(f"{self.called}: {what} of this pair", INPUT)
        halves = [self._half(sides[side][0]) for side in wanted]
        beside = [self.base, *(stem(name) for name in self.names)]
        found = (self.listing.read_if_there(f"{base}.json") for base in beside)
        fields = next((one for one in found if one is not None), None)
        if len(halves) == 1:
            return Sample(halves[0].key, halves[0].shard, halves[0].picture, halves[0].extension, fields)
        return Pair(self.base, str(self.listing.where), halves[0], halves[1], fields)

    def read(self) -> Iterator[Found]:
        """The pair, or a broken one that says why not."""
        try:
            yield self.sample()
        except GraftError as error:
            yield Broken(self.called, reason_of(error, self.called))

    def _half(self, name: str) -> Sample:
        return Sample(stem(name), str(self.listing.where), self.listing.read(name), extension(name))


def pair_entries(listings: Sequence[Listing], archives: bool = False) -> tuple[list[PairEntry], list[str]]:
    """The pairs of some listings, sorted by key, and the pictures that are of none.

    archives: the listings are those of a folder's archives, whose names say the split. Keys as in `entries`.
    """
    found: dict[str, PairEntry] = {}
    stray: list[str] = []
    for listing in listings:
        split = split_of_tar(listing.where.name) if archives else "train"
        grouped: dict[tuple[str, str], dict[str, tuple[str, ...]]] = {}
        sided = _sided(listing.pictures, split)
        stray += [f"{listing.where}/{name}" for name in listing.pictures if name not in sided]
        for name, (side, its_split, base) in sided.items():
            sides = grouped.setdefault((its_split, base), {})
            sides[side] = (*sides.get(side, ()), name)
        for (its_split, base), sides in grouped.items():
            key = key_of(base, f"{listing.where.name}/{its_split}/{base}", found)
            found[key] = PairEntry(listing, base, key, its_split, tuple(sorted(sides.items())))
    return [found[key] for key in sorted(found)], stray


def _sided(pictures: Sequence[str], split: str) -> dict[str, tuple[str, str, str]]:
    """(side, split, name that both halves share) of each picture; one of no pair among pairs is left out."""
    places = placed(pictures, 1, split)
    bases = {name: stem(inside) for name, (_, inside) in places.items()}
    marked = {name: base for name, base in bases.items() if base.endswith((".a", ".b"))}
    if marked:
        return {name: (base[-1], places[name][0], base[:-2]) for name, base in marked.items()}
    tops = {base: PurePosixPath(base).parts[0] for base in bases.values() if "/" in base}
    if not {"A", "B"} <= set(tops.values()):
        return {name: ("", places[name][0], base) for name, base in bases.items()}
    sides = {
        name: (tops[base].lower(), base[2:]) for name, base in bases.items() if tops.get(base) in ("A", "B")
    }
    inside = placed([base for _, base in sides.values()], 1, "")  # A/train/ and A/test/ are splits too
    return {
        name: (side, inside[base][0] or places[name][0], inside[base][1])
        for name, (side, base) in sides.items()
        if base in inside
    }


def find_pairs(
    path: Path, listing: Listing | None = None
) -> tuple[dict[str, list[Callable[[], Iterator[Found]]]], list[str]]:
    """What reads the pairs of each split of a folder or an archive, and the names of files that are of none.

    listing: that of the path, if it has been made already.
    """
    shards = {split: [tar for tar, _ in shards_of(path, split)] for split in SPLITS} if path.is_dir() else {}
    if any(shards.values()):
        packed = read_manifest(path) is not None
        if packed or not (listing := listing or list_files(path)).pictures:
            return {split: [partial(pairs, tar) for tar in tars] for split, tars in shards.items()}, []
    listing = listing or list_files(path)
    found, beside = pair_entries([listing])
    parts: dict[str, list[Callable[[], Iterator[Found]]]] = {
        split: [one.read for one in found if one.split == split] for split in SPLITS
    }
    return parts, [*listing.stray, *(name.removeprefix(f"{path}/") for name in beside)]


def holds_pairs(path: Path, listing: Listing) -> bool:
    """Whether a folder or an archive holds two pictures a key; pictures side by side are not looked for."""
    manifest = read_manifest(path) if path.is_dir() else None
    if manifest is not None:
        return manifest.get("kind") == "pairs"
    if listing.pictures or not path.is_dir():
        return any("" not in dict(one.sides) for one in pair_entries([listing])[0])
    shards = [tar for split in SPLITS for tar, _ in shards_of(path, split)]
    try:
        return bool(shards) and isinstance(next(pairs(shards[0]), None), Pair)
    except GraftError:
        return False


def images_of(one: Pair | Sample) -> tuple[list[tuple[str, str, Image.Image]], list[str]]:
    """(side, name, image) of A and of B, and notes on conversions. Raises PictureError (exit code 3).

    One picture that is twice as wide as high is A on its left and B on its right.
    """
    if isinstance(one, Pair):
        first, notes = read_picture(one.a.picture, one.a.called)
        second, more = read_picture(one.b.picture, one.b.called)
        return [("a", one.a.called, first), ("b", one.b.called, second)], notes + more
    image, notes = read_picture(one.picture, one.called)
    width, height = image.size
    if width != 2 * height:
        raise PictureError(
            f"{one.called}: {width}x{height} pixels; a pair in one picture is twice as wide as high"
        )
    halves = image.crop((0, 0, height, height)), image.crop((height, 0, width, height))
    return [("a", one.called, halves[0]), ("b", one.called, halves[1])], notes


def broken_pair(one: Pair | Sample, error: GraftError) -> Broken:
    """A pair one of whose halves is broken: named by that half."""
    for half in (one.a, one.b) if isinstance(one, Pair) else ():
        if str(error).startswith(f"{half.called}: "):
            return Broken(half.called, reason_of(error, half.called))
    return Broken(one.called, reason_of(error, one.called))
