"""The end of a sweep: the fair table, the page, the best model."""

import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from models.files import write_whole
from pipeline.export import export_cell
from pipeline.grid import group_of
from pipeline.judging import Cell, Comparing, compare, read_cell
from pipeline.report.content import Comparison
from pipeline.report.gather import gather
from pipeline.report.page import write_page
from pipeline.report.tables import csv_text, json_text, markdown, show
from pipeline.store import read_json


@dataclass(frozen=True)
class Finished:
    """A sweep's outcome on disk."""

    comparison: Comparison
    report: Path
    export: str | None


def cells_of(folders: Sequence[Path], trials: Mapping[str, int]) -> list[Cell]:
    """Finished cells; trials: by group, what was spent on searching their weights."""
    cells = [read_cell(folder) for folder in folders]
    return [Cell({**cell.result, "trials": _spent_on(cell, trials)}, cell.arrays) for cell in cells]


def _spent_on(cell: Cell, trials: Mapping[str, int]) -> int:
    """Trials of a cell's row, where it was searched by itself, else of its method."""
    target, shots = cell.result["target"], cell.result["shots"]
    names = [group_of(str(cell.result.get(key)), target, shots) for key in ("variant", "method")]
    return next((trials[name] for name in names if name in trials), 0)


def write_comparison(
    name: str,
    cells: Sequence[Cell],
    folder: Path,
    first: str | None = None,
    places: Sequence[Path] | None = None,
) -> Comparison:
    """table.md, table.csv, table.json and report.html of these cells, in `folder`.

    places: where the cells lie; None: all in `folder`.
    """
    known = {cell.method for cell in cells}
    table = compare(cells, Comparing(first=first if first in known else None))
    comparison = Comparison.from_dict(table.for_report(name))
    write_whole(folder / "table.md", markdown(comparison).encode())
    write_whole(folder / "table.csv", csv_text(comparison).encode())
    write_whole(folder / "table.json", json_text(comparison).encode())
    order = list(dict.fromkeys(cell.method for cell in cells))
    write_page(folder / "report.html", comparison, gather(folder, order, places))
    return comparison


def finish(
    name: str, folder: Path, ids: Sequence[str], best: str | None, exports: Path, trials: Mapping[str, int]
) -> Finished:
    """Everything that a sweep leaves behind; `best` is exported under the sweep's name."""
    ordered = [folder / key for key in ids if (folder / key / "result.json").is_file()]
    comparison = write_comparison(name, cells_of(ordered, trials), folder)
    export = export_cell(folder / best, exports / name) if best is not None else None
    return Finished(comparison, folder / "report.html", export)


def say_finished(finished: Finished, folder: Path, uri: str | None, console: Console) -> None:
    """The table, and where everything is."""
    show(finished.comparison, console)
    lines = [("pictures", f"{folder}/*/samples/"), ("report", f"{finished.report}")]
    lines.append(("table", f"{folder / 'table.md'} (also .csv, .json)"))
    if finished.export is not None:
        lines.append(
            ("best model", f"{finished.export}  ({tool('graft')} sample {finished.export} --out pictures)")
        )
    if uri is not None:
        lines.append(("MLflow", f"{tool('mlflow')} ui --backend-store-uri {uri}, then http://127.0.0.1:5000"))
    for name, where in lines:
        console.print(f"{name:<11}{where}", soft_wrap=True, highlight=False, markup=False)


def tool(name: str) -> str:
    """How to call a program of this environment: its name, or its path where that is not on the PATH."""
    return name if shutil.which(name) else str(Path(sys.executable).with_name(name))


def failed(results: dict[str, dict[str, Any]]) -> list[str]:
    """Ids of the cells that did not end well."""
    return [key for key, result in results.items() if result["status"] != "done"]


def chosen_trials(folder: Path) -> dict[str, int]:
    """Trials that the search of this sweep has spent on each group of cells; none where none was searched."""
    ledgers = sorted((folder / "search").glob("*/trials.json"))
    return {path.parent.name: len(read_json(path)) for path in ledgers}
