"""`export`: a trained cell or source as a folder that others can use: weights, config, card, grid."""

from collections.abc import Sequence
from pathlib import Path

from pipeline.cli import arguments, run

EXAMPLE = "python -m pipeline.export runs/demo/rssa-lorelei-10-0-1a2b3c4d exports/mine"


def main(argv: Sequence[str] | None = None) -> int:
    parser = arguments("export", EXAMPLE)
    parser.add_argument("cell", type=Path, help="folder of a finished cell")
    parser.add_argument("out", type=Path, help="folder to write, which must not exist yet")
    given = parser.parse_args(argv)
    from pipeline.errors import GraftError

    if given.out.exists():
        raise GraftError(f"{given.out}: exists already; name another folder")
    print(export_cell(given.cell, given.out))
    return 0


def export_cell(cell: Path, out: Path) -> Path:
    """The model of a finished cell with its scores; the grid has the source's row above, same z."""
    from pipeline.errors import INPUT, GraftError
    from pipeline.exporting import write_export
    from pipeline.load import load_model
    from pipeline.store import read_json

    if not (cell / "model" / "config.json").is_file():
        raise GraftError(f"{cell}: not a finished cell (it has no model/)", INPUT)
    model, result = load_model(str(cell / "model")), read_json(cell / "result.json")
    source = load_model(str(model.about["source"]))
    scores = [
        {key: s[key] for key in ("name", "value", "low", "high", "n", "network")} for s in result["scores"]
    ]
    model.about = {**model.about, "scores": scores}
    z = model.latents(8)
    labels = ["source", str(model.about.get("method", "adapted"))]
    return write_export(model, out, ([source.draw(z), model.draw(z)], labels))


if __name__ == "__main__":
    raise SystemExit(run(main))
