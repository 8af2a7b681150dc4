"""`export`: a trained cell or source as a folder that others can use: weights, config, card, grid."""

from collections.abc import Sequence
from pathlib import Path

from pipeline.cli import arguments, run

CARD = "config.json"  # without it a folder is no model: of an address it comes last
EXAMPLE = "python -m pipeline.export runs/demo/rssa-lorelei-10-0-1a2b3c4d exports/mine"


def main(argv: Sequence[str] | None = None) -> int:
    parser = arguments("export", EXAMPLE)
    parser.add_argument("cell", type=Path, help="folder of a finished cell; of a run (its newest checkpoint)")
    parser.add_argument("out", type=Path, help="folder to write (also s3://...), which must not exist yet")
    parser.add_argument(
        "--format",
        choices=["graft", "released"],
        default="graft",
        help="released: of a StarGAN v2, nets_ema.ckpt as its authors' program reads it (default: graft)",
    )
    given = parser.parse_args(argv)
    from cluster.object_cache import at_hand
    from cluster.objects import address, exists, writing
    from pipeline.errors import GraftError

    if exists(given.out):
        raise GraftError(f"{address(given.out)}: exists already; name another folder")
    cell = at_hand(given.cell)
    if given.format == "graft":
        print(export_cell(cell, given.out))
        return 0
    with writing(given.out, "nets_ema.ckpt") as folder:
        said = "\n".join(_released(str(cell), folder))
    print(said.replace(str(folder), address(given.out)))
    return 0


def _released(where: str, out: Path) -> list[str]:
    """Write a translator as its authors' program does; returns what to say."""
    from pipeline.errors import INPUT, GraftError
    from pipeline.importing import strange_to_release, write_released
    from pipeline.opening import open_any
    from pipeline.translation import Translation

    model = open_any(where)
    if not isinstance(model, Translation):
        raise GraftError(f"{where}: a {model.title}; --format released is for StarGAN v2", INPUT)
    said = [str(write_released(model, out))]
    said.append(f"  domains    {','.join(model.names)} (the file has no names; graft import takes --domains)")
    strange = strange_to_release(model.layout)
    if strange:
        said.append(
            f"  note       the authors' program cannot build it, graft import can: {', '.join(strange)}"
        )
    return said


def copied(model: Path, out: Path) -> str:
    """A model's folder under another name; files of an earlier model of that name are replaced one by one."""
    import shutil

    from cluster.objects import address, writing

    with writing(out, CARD) as folder:
        shutil.copytree(model, folder, dirs_exist_ok=True)
    return address(out)


def export_cell(cell: Path, out: Path) -> str:
    """The model of a finished cell with its scores; `out` may be an address. Returns where it lies now."""
    from cluster.objects import address, writing

    with writing(out, CARD) as folder:
        _export(cell, folder)
    return address(out)


def _export(cell: Path, out: Path) -> None:
    """Of an adapted model the grid has the source's row above, same z."""
    from pipeline.errors import INPUT, GraftError
    from pipeline.exporting import write_export
    from pipeline.load import about_in, load_model
    from pipeline.store import read_json

    if not (cell / "model").is_dir() and (cell / "checkpoints").is_dir():
        from pipeline.opening import open_any

        write_export(open_any(str(cell)), out)
        return
    if not (cell / "model" / "config.json").is_file():
        raise GraftError(f"{cell}: not a finished cell (it has no model/)", INPUT)
    if "source" not in about_in(cell / "model"):
        copied(cell / "model", out)
        return
    model, result = load_model(str(cell / "model")), read_json(cell / "result.json")
    source = load_model(str(model.about["source"]))
    scores = [
        {key: s[key] for key in ("name", "value", "low", "high", "n", "network")} for s in result["scores"]
    ]
    model.about = {**model.about, "scores": scores}
    z = model.latents(8)
    labels = ["source", str(model.about.get("method", "adapted"))]
    write_export(model, out, ([source.draw(z), model.draw(z)], labels))


if __name__ == "__main__":
    raise SystemExit(run(main))
