"""Keep what a reader needs of a finished sweep over pretraining: `python -m benchmarks.comparison RUNS/NAME OUT`.

Copies the table, and draws one sheet: of the last grid of each variant's first seed the rows `--rows` (counted from 0),
`--columns` pictures of each. Rows in `--once` are the same for every variant, and stand above all of them.
"""

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path

from benchmarks.first_result import keep_about, pictures_of
from pipeline.report.gather import Cell, cell
from pipeline.report.grids import grid, rows_of, save


def firsts(run: Path) -> list[Cell]:
    """The first seed of every variant that has drawn, in the order in which they were run."""
    folders = sorted(run.glob("*/result.json"), key=lambda path: path.stat().st_mtime)
    found: dict[str, Cell] = {}
    for one in sorted((cell(path.parent) for path in folders), key=lambda one: one.seed):
        if one.samples:
            found.setdefault(one.method, one)
    return list(found.values())


def sheet(cells: Sequence[Cell], once: Sequence[int], rows: Sequence[int], columns: int, out: Path) -> None:
    """The chosen rows of every cell's last grid, labelled by what sets the cells apart."""
    pictures, labels = [], []
    for number, one in enumerate(cells):
        drawn = rows_of(one.samples[-1][1])
        name = one.method.rpartition("=")[2]
        for row in [*(once if number == 0 else ()), *rows]:
            pictures.append(pictures_of(drawn[row])[:columns])
            labels.append("" if row in once else name)
    save(grid(pictures, labels, 1 if pictures[0].shape[-1] >= 64 else 2), out)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.comparison", description=__doc__.split("\n")[0]
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--rows", type=int, nargs="+", required=True)
    parser.add_argument("--once", type=int, nargs="*", default=[])
    parser.add_argument("--columns", type=int, default=9)
    given = parser.parse_args(argv)
    given.out.mkdir(parents=True, exist_ok=True)
    for name in ("table.md", "sweep.yaml"):
        shutil.copy(given.run / name, given.out / name)
    cells = firsts(given.run)
    sheet(cells, given.once, given.rows, given.columns, given.out / "grid.png")
    keep_about(given.out, len(list(given.run.glob("*/result.json"))))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
