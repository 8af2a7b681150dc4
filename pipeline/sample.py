"""`sample`: pictures, a grid, an interpolation from an exported model; translated pictures."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.cli import arguments, run

if TYPE_CHECKING:
    from argparse import Namespace

    from pipeline.cli import Arguments

EXAMPLE = """python -m pipeline.sample personas_64 --out pictures --grid --interpolate 4
          python -m pipeline.sample MODEL --pictures FOLDER --to DOMAIN --count 3 --out translated"""
FITS = ("crop", "resize")
NOTE = "samples.json"  # what lies in the folder by our hand: that much may be replaced


def main(argv: Sequence[str] | None = None) -> int:
    given = _parser().parse_args(argv)
    _check(given)
    from pipeline.opening import open_any
    from pipeline.sampling import work_of
    from pipeline.store import write_json

    model = open_any(given.model)
    work = work_of(model, given)
    _make_room(given.out, work.names)
    values = {"model": given.model, "sha256": model.sha256, "seed": given.seed, "psi": given.psi}
    write_json(given.out / NOTE, {**values, **work.about, "files": work.names})
    for line in work.draw(given.out):
        print(line)
    return 0


def _parser() -> "Arguments":
    parser = arguments("sample", EXAMPLE)
    parser.add_argument("model", help="an exported model, a shipped one, or the folder of a cell or run")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where to put the pictures")
    parser.add_argument(
        "--count",
        type=int,
        metavar="N",
        help="pictures (default: 16); of a class: 10; of a translator: codes",
    )
    parser.add_argument("--seed", type=int, default=7, help="seed of their z (default: 7)")
    parser.add_argument("--psi", type=float, default=1.0, help="truncation, 1 is none (default: 1.0)")
    parser.add_argument(
        "--grid", action="store_true", help="grid.png too; beside the source, or the pictures"
    )
    parser.add_argument(
        "--interpolate",
        type=int,
        default=0,
        metavar="K",
        help="a GIF too: a loop through K of the z or styles",
    )
    parser.add_argument(
        "--frames", type=int, metavar="N", help="frames between two (default: 16; styles: 20)"
    )
    more = parser.add_argument_group(
        "translators and classes",
        "SOURCE--DOMAIN-CODE.png of each picture, target and code; --count: 4 codes, or all references. "
        "Of classes, CLASS-CODE.png: the same z in each",
    )
    more.add_argument(
        "--pictures", metavar="SET", help="what to translate: a folder, archive, shards, a shipped set"
    )
    more.add_argument(
        "--to", metavar="NAME,...", help="target domains, or classes (default: all of the model's)"
    )
    more.add_argument(
        "--references",
        metavar="SET",
        help="styles of these pictures, not of random z; sub-folders name domains",
    )
    more.add_argument("--fit", choices=FITS, default="crop", help="pictures of another size (default: crop)")
    more.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    return parser


def _check(given: "Namespace") -> None:
    """Refuse numbers that make no pictures."""
    from pipeline.errors import GraftError

    least = {"count": 1, "seed": 0, "frames": 1, "interpolate": 2 if given.interpolate else 0}
    for name, low in least.items():
        value = getattr(given, name)
        if value is not None and value < low:
            raise GraftError(f"--{name} is {value}, expected a whole number, at least {low}")
    if not -2 <= given.psi <= 2:
        raise GraftError(f"--psi is {given.psi:g}, expected a number from -2 to 2 (1: no truncation)")


def _make_room(out: Path, names: Sequence[str]) -> None:
    """Take away what an earlier `sample` wrote; GraftError where a file of another origin would be replaced."""
    from pipeline.errors import GraftError
    from pipeline.store import read_json

    if out.exists() and not out.is_dir():
        raise GraftError(f"{out}: a file, not a folder; name another folder with --out")
    out.mkdir(parents=True, exist_ok=True)
    note = out / NOTE
    found = read_json(note) if note.is_file() else {}
    ours = {str(name) for name in found.get("files", [])} if isinstance(found, dict) else set()
    strange = [name for name in names if (out / name).exists() and name not in ours]
    if strange:
        raise GraftError(f"{out / strange[0]}: not drawn by graft sample, so it stays; name another folder")
    for name in ours:
        if Path(name).name == name:  # a note from elsewhere must not reach out of the folder
            (out / name).unlink(missing_ok=True)


if __name__ == "__main__":
    raise SystemExit(run(main))
