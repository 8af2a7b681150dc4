"""The pictures and source models that come with Graft, and those of others: names to paths."""

import difflib
from pathlib import Path

from cluster.object_cache import at_hand
from cluster.objects import is_remote
from pipeline.data.manifest import NAME as MANIFEST
from pipeline.data.tars import is_tar
from pipeline.errors import INPUT, GraftError

FOLDER = Path(__file__).parent / "shipped"
NAMES = ("croodles", "lorelei", "notionists", "personas", "pixelArt")  # plain sets: one domain each
DOMAIN_SETS = ("avatar_styles",)


def train_of(name: str) -> Path:
    """Where the training pictures of a shipped set lie: a folder of shards (personas) or of ten PNG files."""
    folder = FOLDER / _known(name)
    return folder if name == "personas" else folder / "train"


def heldout_of(name: str) -> Path:
    """The shard with the 500 pictures of a shipped set that no training ever sees."""
    return FOLDER / _known(name) / "heldout.tar.gz"


def credits_of(name: str) -> str:
    """Whom the pictures of a shipped set are by, and under which licence; "" for pictures from elsewhere.

    A set of domains has one credit a domain, in the order of its labels, with "; " between them.
    """
    if name not in (*NAMES, *DOMAIN_SETS):
        return ""
    lines = (FOLDER / "CREDITS.md").read_text(encoding="utf-8").splitlines()
    return "; ".join(_credit(line) for line in lines if line.startswith((f"| `{name}` |", f"| `{name}/")))


def _credit(row: str) -> str:
    work, author, licence = (cell.strip().strip('"') for cell in row.strip("| ").split("|")[2:])
    return f"{work}, {licence}" if author in work else f"{work} by {author}, {licence}"


def shipped_sources() -> dict[str, Path]:
    """Folders of the shipped source models (model.safetensors, config.json, ...) by name."""
    found = sorted((FOLDER / "sources").glob("*/config.json"))
    return {config.parent.name: config.parent for config in found}


def place_of(where: str | Path) -> Path:
    """A shipped name, a path or s3://... -> the path. A shipped name wins; ./personas is a folder of that name.

    What lies in an S3 store is fetched into a cache: shards beside a manifest when they are first read.
    Raises GraftError (exit code 3) where there is nothing, with the nearest shipped name.
    """
    if isinstance(where, str) and where in NAMES:
        return train_of(where)
    if isinstance(where, str) and where in DOMAIN_SETS:
        return FOLDER / where
    if is_remote(where):
        return at_hand(where, later=_shards_of)
    if Path(where).exists():
        return Path(where)
    nearest = _nearest(str(where), (*NAMES, *DOMAIN_SETS))
    raise GraftError(f"{where}: no such folder, archive or shipped set; {nearest}", INPUT)


def _shards_of(names: list[str]) -> list[str]:
    """Those that need not be there from the start: the manifest says what is in them."""
    return [name for name in names if is_tar(Path(name))] if MANIFEST in names else []


def plain_place_of(where: str | Path) -> Path:
    """As `place_of`, for who wants pictures of one kind: a shipped set of domains is refused by name."""
    if isinstance(where, str) and where in DOMAIN_SETS:
        raise GraftError(_not_plain(where), INPUT)
    return place_of(where)


def _known(name: str) -> str:
    if name in NAMES:
        return name
    if name in DOMAIN_SETS:
        raise GraftError(_not_plain(name), INPUT)
    raise GraftError(f"{name}: no such shipped set; {_nearest(name, NAMES)}", INPUT)


def _not_plain(name: str) -> str:
    return (
        f"{name}: a set of several domains, and pictures of one kind are asked for here; "
        f"shipped are {', '.join(NAMES)}"
    )


def _nearest(name: str, names: tuple[str, ...]) -> str:
    folded = {known.lower(): known for known in names}
    close = difflib.get_close_matches(name.lower(), folded, n=1, cutoff=0.4)
    return f"did you mean {folded[close[0]]}?" if close else f"shipped are {', '.join(names)}"
