"""Keep what a reader needs of a finished sweep: `python -m benchmarks.first_result RUNS/first_result OUT`.

Copies the tables, and draws one small grid a target: the ten pictures, the source, each method's first seed, same z.
"""

import datetime
import json
import shutil
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.timing import cpu_model
from pipeline.data.fewshot import few_shots
from pipeline.report.gather import cell
from pipeline.report.grids import GAP, grid, reduced, rows_of, save

SHOWN = 8


def pictures_of(row: Image.Image) -> NDArray[np.uint8]:
    """The pictures [N, 3, H, W] of a row as the samples hold it."""
    small = np.asarray(reduced(row))
    side = small.shape[0]
    lefts = range(0, small.shape[1] - side + 1, side + GAP)
    return np.stack([small[:, left : left + side].transpose(2, 0, 1) for left in lefts])


def sheet(folders: list[Path], out: Path) -> None:
    """One target: its pictures above, then the source's row, then each method's."""
    cells = [cell(folder) for folder in folders]
    shots = few_shots(cells[0].target, cells[0].shots, 0, 64, "crop")
    last = [rows_of(one.samples[-1][1]) for one in cells]
    rows = [shots.pictures[:SHOWN].numpy(), pictures_of(last[0][0]), *(pictures_of(row[1]) for row in last)]
    save(grid(rows, ["the pictures", "source", *(one.method for one in cells)], 2), out)


def keep_about(out: Path, cells: int) -> None:
    """Write machine.json: the day, the processor, how many cells were finished."""
    about = {"date": datetime.date.today().isoformat(), "machine": cpu_model(), "cells": cells}
    (out / "machine.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


def main(run: Path, out: Path) -> None:
    """Write OUT: table.md, table.csv, table.json, machine.json, and TARGET.png for every target."""
    out.mkdir(parents=True, exist_ok=True)
    for name in ("table.md", "table.csv", "table.json", "sweep.yaml"):
        shutil.copy(run / name, out / name)
    results = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(run.glob("*/result.json"))]
    shown = [result for result in results if result["status"] == "done"]
    order = {"tgan": 0, "cdc": 1, "rssa": 2}
    shown.sort(key=lambda result: (order.get(result["method"], 9), result["seed"]))
    for target in dict.fromkeys(result["target"] for result in shown):
        firsts = {r["method"]: r["id"] for r in reversed(shown) if r["target"] == target}
        sheet(
            [run / firsts[method] for method in sorted(firsts, key=lambda m: order.get(m, 9))],
            out / f"{target}.png",
        )
    keep_about(out, len(results))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
