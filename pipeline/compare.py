"""`compare`: the tables and the page of finished cells, from one sweep's folder or from several."""

from collections.abc import Sequence
from pathlib import Path

from pipeline.cli import arguments, run

EXAMPLE = "python -m pipeline.compare runs/demo --first tgan"


def main(argv: Sequence[str] | None = None) -> int:
    parser = arguments("compare", EXAMPLE)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUNS", help="folders of sweeps, or of cells")
    parser.add_argument(
        "--out", type=Path, help="folder of tables and page (default: the sweep's; for several: comparison/)"
    )
    parser.add_argument("--first", metavar="METHOD", help="the method that all others are compared with")
    given = parser.parse_args(argv)
    from rich.console import Console

    from pipeline.errors import GraftError
    from pipeline.finish import cells_of, chosen_trials, write_comparison
    from pipeline.nearest import did_you_mean
    from pipeline.report.tables import show

    found = {run: cells_in(run) for run in given.runs}
    unfinished = [cell for run in given.runs for cell in waiting_in(run)]
    folders = {folder.name: folder for cells in reversed(found.values()) for folder in cells}
    cells = [
        cell
        for run, inside in found.items()
        for cell in cells_of([each for each in inside if folders[each.name] == each], chosen_trials(run))
    ]
    methods = list(dict.fromkeys(cell.method for cell in cells))
    if given.first is not None and given.first not in methods:
        raise GraftError(
            f"--first {given.first}: no cell has this method{did_you_mean(given.first, methods)}"
        )
    out = given.out or default_out(given.runs)
    out.mkdir(parents=True, exist_ok=True)
    comparison = write_comparison(out.resolve().name, cells, out, given.first, list(folders.values()))
    console = Console(highlight=False)
    show(comparison, console)
    if unfinished:
        print(f"not finished, so not in the table: {', '.join(folder.name for folder in unfinished)}")
    print(f"report     {out / 'report.html'}\ntable      {out / 'table.md'} (also .csv, .json)")
    return 0


def cells_in(run: Path) -> list[Path]:
    """Folders of finished cells: `run` itself, or what lies in it. GraftError where there are none."""
    from pipeline.errors import INPUT, GraftError

    if not run.is_dir():
        raise GraftError(f"{run}: no such folder; pass the folder of a sweep (runs/NAME) or of a cell", INPUT)
    results = [run / "result.json"] if (run / "result.json").is_file() else sorted(run.glob("*/result.json"))
    cells = [path.parent for path in results if is_cell(path)]
    if not cells:
        started = len(waiting_in(run))
        said = (
            f"{started} cells have begun and none is finished; wait for one"
            if started
            else ("no cells in it; pass the folder of a sweep (runs/NAME) or of a cell")
        )
        raise GraftError(f"{run}: {said}", INPUT)
    return cells


def is_cell(result: Path) -> bool:
    """A pretraining run has a result.json too, but no target."""
    from pipeline.store import read_json

    values = read_json(result)
    return isinstance(values, dict) and {"method", "target", "inputs_hash"} <= set(values)


def waiting_in(run: Path) -> list[Path]:
    """Cells that have begun and have no result yet."""
    begun = [path.parent for path in sorted(run.glob("*/config.yaml"))]
    return [folder for folder in begun if not (folder / "result.json").is_file()]


def default_out(runs: Sequence[Path]) -> Path:
    """The folder of the one sweep; for several, or for cells, comparison/ beside the first."""
    alone = len(runs) == 1 and not (runs[0] / "result.json").is_file()
    return runs[0] if alone else runs[0].parent / "comparison"


if __name__ == "__main__":
    raise SystemExit(run(main))
