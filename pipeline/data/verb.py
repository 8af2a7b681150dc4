"""`graft data`: packs pictures into shards, and says what is in a set."""

import argparse
import sys
from collections.abc import Sequence

from pipeline.data.check import SHOWN, check
from pipeline.data.pack import ENCODINGS, LABELS, Choices, Packed, pack
from pipeline.data.pictures import FITS
from pipeline.errors import INPUT, GraftError

EXAMPLE = """examples:
  graft data check lorelei
  graft data check pictures/mine
  graft data pack pictures/mine shards/mine --size 64 --fit crop --heldout 500
"""


def main(argv: Sequence[str]) -> int:
    """Runs `data` with the words after it; returns the exit code (0 done, 2 the command, 3 the pictures)."""
    try:
        asked = _parser().parse_args(list(argv))
    except SystemExit as leaving:  # argparse has said what is wrong, or shown the help
        return int(leaving.code or 0)
    try:
        return _pack(asked) if asked.verb == "pack" else _check(asked)
    except GraftError as error:
        if asked.debug:
            raise
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code


def _pack(asked: argparse.Namespace) -> int:
    choices = Choices(
        size=asked.size,
        fit=asked.fit,
        encode=asked.encode,
        labels=asked.labels,
        heldout=asked.heldout,
        per_shard=asked.per_shard,
        gz=asked.gz,
        overwrite=asked.overwrite,
    )
    for line in _packed_lines(pack(asked.source, asked.out, choices), asked.out):
        print(line)
    return 0


def _packed_lines(packed: Packed, out: str) -> list[str]:
    manifest = packed.manifest
    rows = [("packed", f"{manifest['count']:,} pictures of {manifest['size']}x{manifest['size']} into {out}")]
    for name, split in manifest["splits"].items():
        size = sum(shard["bytes"] for shard in split["shards"]) / 2**20
        rows.append((name, f"{split['count']:,} in {len(split['shards'])} shards, {size:.1f} MiB"))
    rows += [("classes", ", ".join(manifest["classes"]))] if "classes" in manifest else []
    rows += [("converted", f"{count:,}: {note}") for note, count in packed.notes.items()]
    rows += _named("left out", [f"{name}: equal to a held-out picture" for name in packed.doubles])
    rows += _named("broken", [f"{one.called}: {one.reason}" for one in packed.broken])
    rows += _named("ignored", packed.stray)
    return [f"{name:<10}{text}" for name, text in rows]


def _named(name: str, texts: list[str]) -> list[tuple[str, str]]:
    more = [(name, f"and {len(texts) - SHOWN:,} more")] if len(texts) > SHOWN else []
    return [(name, text) for text in texts[:SHOWN]] + more


def _check(asked: argparse.Namespace) -> int:
    report = check(asked.where)
    for line in report.lines():
        print(line)
    return 0 if report.sound and report.count else INPUT


def _parser() -> argparse.ArgumentParser:
    plain = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("graft data", description=__doc__, epilog=EXAMPLE, formatter_class=plain)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="pack|check")
    packs = verbs.add_parser(
        "pack",
        help="a folder or archive of pictures into shards with a manifest",
        description="Writes WebDataset shards and manifest.json into the new folder OUT.",
        epilog="example: graft data pack pictures/mine shards/mine --size 64 --fit crop --heldout 500",
    )
    packs.add_argument("source", metavar="FOLDER", help="folder, zip, tar or tar.gz of pictures")
    packs.add_argument("out", metavar="OUT", help="the folder to make")
    packs.add_argument("--size", type=int, help="side in pixels (default: that of the first picture)")
    packs.add_argument(
        "--fit", choices=FITS, default="refuse", help="pictures of another size (default: %(default)s)"
    )
    packs.add_argument("--encode", choices=ENCODINGS, default="webp", help="lossless (default: %(default)s)")
    packs.add_argument("--labels", choices=LABELS, default="none", help="folder: sub-folders are classes")
    packs.add_argument("--heldout", type=int, default=0, metavar="N", help="keep N apart, chosen by key hash")
    packs.add_argument(
        "--per-shard", type=int, default=1000, metavar="N", help="samples a shard (default: 1000)"
    )
    packs.add_argument("--gz", action="store_true", help="gzip the shards")
    packs.add_argument("--overwrite", action="store_true", help="replace OUT if it is a packed set")
    checks = verbs.add_parser(
        "check",
        help="what is in a folder, archive, packed set or shipped set",
        description="Decodes every picture; counts sizes, formats and doubles; names what is broken.",
        epilog="example: graft data check lorelei",
    )
    checks.add_argument("where", metavar="WHERE", help="folder, archive, packed set or shipped name")
    for verb in (packs, checks):
        verb.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser
