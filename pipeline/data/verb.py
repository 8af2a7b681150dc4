"""`graft data`: packs pictures into shards, and says what is in a set."""

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.cli import Arguments, arguments, run

if TYPE_CHECKING:
    from pipeline.data.pack import Packed

EXAMPLE = "graft data check lorelei"
PACK_EXAMPLE = "example:  graft data pack pictures/mine shards/mine --size 64 --fit crop --heldout 500"
CHECK_EXAMPLE = "example:  graft data check pictures/mine"
# As in pipeline.data.pictures and .pack, which load torch: the help must not.
FITS = ("refuse", "crop", "resize")
ENCODINGS = ("keep", "webp", "png")
LABELS = ("none", "folder")
KINDS = ("plain", "domains", "pairs", "classes")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs `data` with the words after it; returns the exit code. Raises GraftError."""
    asked = _parser().parse_args(argv)
    return _pack(asked) if asked.verb == "pack" else _check(asked)


def _pack(asked: Namespace) -> int:
    from cluster.object_cache import at_hand
    from cluster.objects import writing
    from pipeline.data.manifest import NAME
    from pipeline.data.pack import Choices, pack

    choices = Choices(
        kind=asked.kind,
        size=asked.size,
        fit=asked.fit,
        encode=asked.encode,
        labels=asked.labels,
        heldout=asked.heldout,
        per_shard=asked.per_shard,
        gz=asked.gz,
        overwrite=asked.overwrite,
    )
    out = Path(asked.out)
    _refuse_replacing(out, asked.overwrite)
    with writing(out, NAME) as folder:
        packed = pack(at_hand(asked.source), folder, choices)
    for line in _packed_lines(packed, asked.out):
        print(line)
    return 0


def _refuse_replacing(out: Path, overwrite: bool) -> None:
    """Of an S3 store; `pack` itself looks at folders of this machine. Nobody's objects but ours are replaced."""
    from cluster.objects import address, exists, is_remote
    from pipeline.data.manifest import NAME
    from pipeline.errors import GraftError

    if not is_remote(out) or not exists(out):
        return
    if not overwrite:
        raise GraftError(f"{address(out)}: is there already; pass --overwrite, or another name")
    if not exists(out / NAME):
        raise GraftError(f"{address(out)}: holds no {NAME}, so it is no packed set, and is not replaced")


def _packed_lines(packed: "Packed", out: str) -> list[str]:
    manifest = packed.manifest
    what = "pairs" if manifest.get("kind") == "pairs" else "pictures"
    rows = [("packed", f"{manifest['count']:,} {what} of {manifest['size']}x{manifest['size']} into {out}")]
    for name, split in manifest["splits"].items():
        size = sum(shard["bytes"] for shard in split["shards"]) / 2**20
        rows.append((name, f"{split['count']:,} in {len(split['shards'])} shards, {size:.1f} MiB"))
    for name, key in (("domains", "table"), ("classes", "classes")):
        rows += [(name, ", ".join(manifest[key]))] if key in manifest else []
    rows += [("converted", f"{count:,}: {note}") for note, count in packed.notes.items()]
    rows += _named("left out", [f"{name}: equal to a held-out picture" for name in packed.doubles])
    rows += _named("broken", [f"{one.called}: {one.reason}" for one in packed.broken])
    rows += _named("ignored", packed.stray)
    return [f"{name:<10}{text}" for name, text in rows]


def _named(name: str, texts: list[str]) -> list[tuple[str, str]]:
    from pipeline.data.check import SHOWN

    more = [(name, f"and {len(texts) - SHOWN:,} more")] if len(texts) > SHOWN else []
    return [(name, text) for text in texts[:SHOWN]] + more


def _check(asked: Namespace) -> int:
    from pipeline.data.check import check
    from pipeline.errors import INPUT

    report = check(asked.where)
    for line in report.lines():
        print(line)
    return 0 if report.sound and report.count else INPUT


def _parser() -> Arguments:
    parser = arguments("data", EXAMPLE)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="pack|check")
    packs = verbs.add_parser(
        "pack",
        help="a folder or archive of pictures into shards with a manifest",
        description="Writes WebDataset shards and manifest.json into the new folder OUT. Domains and classes "
        "are the sub-folders of FOLDER; pairs lie in A/ and B/, or as KEY.a.png and KEY.b.png, or side by "
        "side in one picture.",
        epilog=PACK_EXAMPLE,
    )
    packs.add_argument("source", metavar="FOLDER", help="folder, zip, tar or tar.gz of pictures")
    packs.add_argument("out", metavar="OUT", help="the folder to make (also s3://bucket/folder)")
    packs.add_argument(
        "--kind", choices=KINDS, default="plain", help="what the sub-folders mean (default: %(default)s)"
    )
    packs.add_argument("--size", type=int, help="side in pixels (default: that of the first picture)")
    packs.add_argument(
        "--fit", choices=FITS, default="refuse", help="pictures of another size (default: %(default)s)"
    )
    packs.add_argument("--encode", choices=ENCODINGS, default="webp", help="lossless (default: %(default)s)")
    packs.add_argument("--labels", choices=LABELS, default="none", help="folder: sub-folders are classes")
    packs.add_argument(
        "--heldout",
        type=int,
        default=0,
        metavar="N",
        help="keep N apart (of each domain or class), chosen by key hash",
    )
    packs.add_argument(
        "--per-shard", type=int, default=1000, metavar="N", help="samples a shard (default: 1000)"
    )
    packs.add_argument("--gz", action="store_true", help="gzip the shards")
    packs.add_argument("--overwrite", action="store_true", help="replace OUT if it is a packed set")
    checks = verbs.add_parser(
        "check",
        help="what is in a folder, archive, packed set or shipped set",
        description="Decodes every picture; counts sizes, formats and doubles; names what is broken.",
        epilog=CHECK_EXAMPLE,
    )
    checks.add_argument("where", metavar="WHERE", help="folder, archive, packed set or shipped name")
    return parser


if __name__ == "__main__":
    raise SystemExit(run(main))
