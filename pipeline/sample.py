"""`sample`: pictures, a grid, an interpolation from an exported model."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.cli import arguments, run

if TYPE_CHECKING:
    from argparse import Namespace

    from pipeline.load import Model

EXAMPLE = "python -m pipeline.sample personas_64 --out pictures --grid --interpolate 4"
NOTE = "samples.json"  # what lies in the folder by our hand: that much may be replaced
COLUMNS = 8


def main(argv: Sequence[str] | None = None) -> int:
    parser = arguments("sample", EXAMPLE)
    parser.add_argument("model", help="an exported model, a shipped one, or the folder of a cell")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where to put the pictures")
    parser.add_argument("--count", type=int, default=16, help="pictures (default: 16)")
    parser.add_argument("--seed", type=int, default=7, help="seed of their z (default: 7)")
    parser.add_argument("--psi", type=float, default=1.0, help="truncation, 1 is none (default: 1.0)")
    parser.add_argument("--grid", action="store_true", help="grid.png too, beside the source for the same z")
    parser.add_argument(
        "--interpolate", type=int, default=0, metavar="K", help="interpolation.gif: a loop through K of the z"
    )
    parser.add_argument(
        "--frames", type=int, default=16, metavar="N", help="frames between two z (default: 16)"
    )
    given = parser.parse_args(argv)
    _check(given)
    from pipeline.opening import open_model
    from pipeline.store import write_json

    names = [f"{index:06d}.png" for index in range(given.count)]
    names += ["grid.png"] * given.grid + ["interpolation.gif"] * bool(given.interpolate)
    model = open_model(given.model)
    _make_room(given.out, names)
    values = {"model": given.model, "sha256": model.sha256, "seed": given.seed, "psi": given.psi}
    write_json(given.out / NOTE, {**values, "files": names})
    for line in _draw(model, given):
        print(line)
    return 0


def _check(given: "Namespace") -> None:
    """Refuse numbers that make no pictures."""
    from pipeline.errors import GraftError

    least = {"count": 1, "seed": 0, "frames": 1, "interpolate": 2 if given.interpolate else 0}
    for name, low in least.items():
        if getattr(given, name) < low:
            raise GraftError(f"--{name} is {getattr(given, name)}, expected a whole number, at least {low}")
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


def _draw(model: "Model", given: "Namespace") -> list[str]:
    """Write the files that were asked for; returns what to say."""
    import torch

    from pipeline.drawing import beside, loop, write_loop, write_pictures
    from pipeline.pictures import fixed_latents, write_rows

    z = fixed_latents(max(given.count, given.interpolate), model.shape.style_dim, given.seed)
    write_pictures(model, z[: given.count], given.psi, given.out)
    said = [f"pictures   {given.out}/000000.png to {given.count - 1:06d}.png"]
    if not (given.grid or given.interpolate):
        return said
    models, labels, note = beside(model)
    if given.grid:
        rows, names = [], []
        for part in torch.split(z[: given.count], COLUMNS):
            rows += [each.draw(part, given.psi) for each in models]
            names += labels
        write_rows(given.out / "grid.png", rows, names if len(models) > 1 else None, scale=2)
        said.append(f"grid       {given.out / 'grid.png'}{note}")
    if given.interpolate:
        way = loop(z[: given.interpolate], given.frames)
        write_loop(models, way, given.psi, given.out / "interpolation.gif")
        said.append(f"animation  {given.out / 'interpolation.gif'} ({len(way)} frames){note}")
    return said


if __name__ == "__main__":
    raise SystemExit(run(main))
