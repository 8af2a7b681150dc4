"""Finished cells into one fair table: means over seeds, paired differences, and what may not be ranked."""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from models.files import read_tensors
from pipeline.errors import GraftError
from pipeline.judging.score import recipe
from pipeline.judging.settings import Comparing
from pipeline.judging.statistics import (
    FEWEST_SEEDS,
    Paired,
    holm,
    paired_difference,
    pareto,
    plain,
    seeds_interval,
)
from pipeline.judging.table import Difference, Failure, Measure, Metric, Row, Table, axes_of

Scores = dict[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Cell:
    """result: as in result.json. arrays: name -> per-z values [n], as in judged.safetensors; {} without."""

    result: Mapping[str, Any]
    arrays: Mapping[str, Any]

    @property
    def place(self) -> tuple[str, int]:
        """Target and shots: rows are ranked among those that share them."""
        return str(self.result["target"]), int(self.result["shots"])

    @property
    def method(self) -> str:
        """The row's name: the result's "variant" where it has one (a changed method), else the method."""
        return str(self.result.get("variant") or self.result["method"])

    @property
    def seed(self) -> int:
        """The run's training seed."""
        return int(self.result["seed"])

    @property
    def done(self) -> bool:
        """Finished and judged."""
        return bool(self.result["status"] == "done")

    def scores(self) -> Scores:
        """Measured scores by name."""
        return {score["name"]: score for score in self.result.get("scores", []) if score["value"] is not None}


def read_cell(folder: Path) -> Cell:
    """A cell's result.json, and its judged.safetensors if there is one."""
    judged = folder / "judged.safetensors"
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    return Cell(result, read_tensors(judged) if judged.is_file() else {})


def compare(cells: Sequence[Cell], settings: Comparing) -> Table:
    """The table. Rows and columns keep the order in which methods, targets and metrics first appear.

    Counted in a ranking are finished cells with the budget and the inputs of most cells of their target and
    shots; the others are left out of it, or, where nothing else is there, shown and marked.
    Raises GraftError if two cells claim the same row and seed.
    """
    _refuse_doubles(cells)
    rows: list[Row] = []
    found: list[Difference] = []
    notes: list[str] = []
    for place in dict.fromkeys(cell.place for cell in cells):
        here = [cell for cell in cells if cell.place == place]
        objection = _objections(here, settings)
        rows += _ranked([_row(group, objection) for group in _by_method(here).values()], _better(cells))
        found += _differences([cell for cell in here if cell.done and not objection(cell)], settings)
        notes += [f"not counted: {cell}" for row in rows[-len(_by_method(here)) :] for cell in row.left_out]
    return Table(
        _metrics(cells),
        tuple(rows),
        tuple(_judged(found, settings, _better(cells))),
        _failures(cells),
        tuple(notes),
    )


def _refuse_doubles(cells: Sequence[Cell]) -> None:
    seen: dict[tuple[Any, ...], Cell] = {}
    for cell in cells:
        other = seen.setdefault((*cell.place, cell.method, cell.seed), cell)
        if other is not cell:
            raise GraftError(
                f"{other.result['id']} and {cell.result['id']} have the same method, target, shots and seed: "
                "compare one of them, or compare them in two tables"
            )


def _by_method(cells: Sequence[Cell]) -> dict[str, list[Cell]]:
    return {
        name: [cell for cell in cells if cell.method == name]
        for name in dict.fromkeys(c.method for c in cells)
    }


def _better(cells: Sequence[Cell]) -> dict[str, str]:
    return {name: score["better"] for cell in cells for name, score in cell.scores().items()}


def _metrics(cells: Sequence[Cell]) -> tuple[Metric, ...]:
    """One column a metric, with the network and the recipe of most cells."""
    kinds: dict[str, Counter[tuple[str, str, str]]] = {}
    for cell in cells:
        for name, score in cell.scores().items():
            kinds.setdefault(name, Counter())[(score["network"], score["better"], recipe(score))] += 1
    return tuple(Metric(name, *count.most_common(1)[0][0]) for name, count in kinds.items())


def _failures(cells: Sequence[Cell]) -> tuple[Failure, ...]:
    return tuple(
        Failure(
            str(cell.result["id"]),
            str(cell.result["status"]),
            str(cell.result.get("reason") or ""),
            float(cell.result.get("images") or 0),
            float(cell.result.get("seconds") or 0),
        )
        for cell in cells
        if not cell.done
    )


def _objections(cells: Sequence[Cell], settings: Comparing) -> Callable[[Cell], str]:
    """Why a finished cell may not stand in the ranking of these cells; "" where it may."""
    done = [cell for cell in cells if cell.done]
    inputs = Counter(str(cell.result["inputs_hash"]) for cell in done).most_common(1)
    budgets = Counter(int(cell.result["images"]) for cell in done).most_common(1)
    budget = settings.budget or (budgets[0][0] if budgets else 0)

    def objection(cell: Cell) -> str:
        images = int(cell.result["images"])
        if str(cell.result["inputs_hash"]) != inputs[0][0]:
            return "judged on other inputs"
        if abs(images - budget) > settings.tolerance * budget:
            return f"outside the budget: {images:,} images, not {budget:,}"
        return ""

    return objection


def _row(cells: Sequence[Cell], objection: Callable[[Cell], str]) -> Row:
    """The row of one method's cells on one target with one number of shots."""
    done = [cell for cell in cells if cell.done]
    objected = {cell.seed: objection(cell) for cell in done}
    counted = [cell for cell in done if not objected[cell.seed]] or done
    mark = objected[counted[0].seed] if counted else f"failed: {cells[0].result['status']}"
    if counted and not mark and len(done) < len(cells):
        mark = f"{len(cells) - len(done)} of {len(cells)} seeds failed"
    names = dict.fromkeys(name for cell in counted for name in cell.scores())
    target, shots = cells[0].place
    of = counted or cells
    return Row(
        method=cells[0].method,
        target=target,
        shots=shots,
        seeds=tuple(cell.seed for cell in counted),
        measures={name: _measure(name, counted) for name in names},
        images=float(np.mean([float(cell.result.get("images") or 0) for cell in of])),
        seconds=float(np.mean([float(cell.result.get("seconds") or 0) for cell in of])),
        trials=max(int(cell.result.get("trials") or 0) for cell in cells),
        mark=mark,
        left_out=tuple(
            f"{cell.result['id']} ({objected[cell.seed]})" for cell in done if cell not in counted
        ),
    )


def _measure(name: str, cells: Sequence[Cell]) -> Measure:
    """Mean over the runs that have the metric; interval over seeds from three on, else over z."""
    scores = {cell.seed: cell.scores()[name] for cell in cells if name in cell.scores()}
    by_seed = {seed: float(score["value"]) for seed, score in scores.items()}
    value, n = float(np.mean(list(by_seed.values()))), min(int(score["n"]) for score in scores.values())
    if len(by_seed) >= FEWEST_SEEDS:
        low, high = seeds_interval(list(by_seed.values()))
        return Measure(value, low, high, n, "seeds", by_seed)
    lows, highs = ([score[end] for score in scores.values()] for end in ("low", "high"))
    if any(end is None for end in (*lows, *highs)):
        return Measure(value, None, None, n, "z", by_seed)
    return Measure(value, float(np.mean(lows)), float(np.mean(highs)), n, "z", by_seed)


def _ranked(rows: list[Row], better: Mapping[str, str]) -> list[Row]:
    """The rows of one target and shots with ranks and Pareto flags; marked ones get neither."""
    names = dict.fromkeys(name for row in rows for name in row.measures)

    def key(row: Row, name: str) -> float:
        value = row.measures[name].value
        return value if better[name] == "lower" else -value

    ranks: dict[str, dict[str, int]] = {row.method: {} for row in rows}
    for name in names:
        able = sorted((r for r in rows if not r.mark and name in r.measures), key=lambda row: key(row, name))
        for row in able:
            ranks[row.method][name] = 1 + sum(key(other, name) < key(row, name) for other in able)
    axes = axes_of(names)
    both = [row for row in rows if not row.mark and all(axis in row.measures for axis in axes)]
    flags = pareto([tuple(key(row, axis) for axis in axes) for row in both])
    front = {row.method for row, flag in zip(both, flags, strict=True) if flag}
    return [replace(row, ranks=ranks[row.method], front=row.method in front) for row in rows]


def _differences(cells: Sequence[Cell], settings: Comparing) -> list[Difference]:
    """Every other method against the first, on the counted cells of one target and shots; p uncorrected."""
    groups = {name: {cell.seed: cell for cell in group} for name, group in _by_method(cells).items()}
    first = settings.first or next(iter(groups), "")
    if first not in groups:
        return []
    target, shots = cells[0].place
    found = []
    for method, runs in groups.items():
        seeds = [seed for seed in groups[first] if seed in runs]
        if method == first or not seeds:
            continue
        before, after = [groups[first][seed] for seed in seeds], [runs[seed] for seed in seeds]
        for metric in _paired_metrics([*before, *after]):
            paired = paired_difference(
                np.stack([plain(cell.arrays[metric]) for cell in before]),
                np.stack([plain(cell.arrays[metric]) for cell in after]),
                settings.resamples,
                settings.seed,
                settings.level,
            )
            found.append(Difference(metric, target, shots, method, first, paired, paired.p, ""))
    return found


def _paired_metrics(cells: Sequence[Cell]) -> list[str]:
    """Metrics of which all these cells have per-z values, equally many."""
    names = [
        name for name in cells[0].scores() if all(name in c.arrays and name in c.scores() for c in cells)
    ]
    return [name for name in names if len({len(cell.arrays[name]) for cell in cells}) == 1]


def _judged(found: Sequence[Difference], settings: Comparing, better: Mapping[str, str]) -> list[Difference]:
    """Holm's correction over all comparisons of a metric in the table, and the verdict in words."""
    corrected: dict[int, float] = {}
    for metric in dict.fromkeys(difference.metric for difference in found):
        family = [index for index, difference in enumerate(found) if difference.metric == metric]
        adjusted = holm([found[index].p for index in family])
        corrected.update(zip(family, adjusted, strict=True))
    return [
        replace(
            each,
            p=corrected[index],
            verdict=_verdict(each.paired, corrected[index], settings, better[each.metric]),
        )
        for index, each in enumerate(found)
    ]


def _verdict(paired: Paired, p: float, settings: Comparing, better: str) -> str:
    if p >= 1 - settings.level:
        return "not separable"
    return "better" if (paired.difference < 0) == (better == "lower") else "worse"
