"""What the page needs from a sweep's folder: pictures, curves, and how it was made."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from PIL import Image

from .grids import rows_of

TRAINING_PICTURES = 5  # of a cell: first, last, and evenly between


@dataclass(frozen=True)
class Cell:
    """One cell's folder, read: empty where it has not got so far."""

    id: str
    method: str
    target: str
    shots: int
    seed: int
    samples: tuple[tuple[int, Path], ...]  # (step, picture)
    lines: tuple[Mapping[str, Any], ...]  # of metrics.jsonl
    config: str
    inputs: Mapping[str, Any]


@dataclass(frozen=True)
class Sheet:
    """Rows of pictures for the same z below each other."""

    title: str
    rows: Sequence[tuple[str, Image.Image]]


@dataclass(frozen=True)
class Gathered:
    """All of a sweep that is drawn and not computed."""

    sweep: str  # sweep.yaml as text
    cells: tuple[Cell, ...] = ()
    sheets: tuple[Sheet, ...] = field(default=())


def gather(folder: Path, order: Sequence[str] = (), places: Sequence[Path] | None = None) -> Gathered:
    """Read a sweep's folder; `order` names the methods in the order of their rows.

    places: folders of the cells, where they do not all lie in `folder`; None: every cell in it.
    """
    found = [path.parent for path in sorted(folder.glob("*/config.yaml"))] if places is None else places
    cells = [cell(path) for path in found]
    place = {method: index for index, method in enumerate(order)}
    cells.sort(key=lambda c: (c.target, c.shots, place.get(c.method, len(place)), c.method, c.seed))
    return Gathered(_text(folder / "sweep.yaml"), tuple(cells), tuple(sheets(cells)))


def cell(folder: Path) -> Cell:
    """Read one cell's folder."""
    config = _text(folder / "config.yaml")
    values = yaml.safe_load(config) or {}
    samples = [(int(p.stem), p) for p in sorted((folder / "samples").glob("*.png")) if p.stem.isdigit()]
    return Cell(
        folder.name,
        str(values.get("variant") or values.get("method", "")),
        str(values.get("target") or values.get("train") or ""),
        int(values.get("shots") or 0),
        int(values.get("seed") or 0),
        tuple(samples),
        tuple(_lines(folder / "metrics.jsonl")),
        config,
        _json(folder / "inputs.json"),
    )


def sheets(cells: Sequence[Cell]) -> list[Sheet]:
    """For each target and number of shots: the source's row, then the last row of each method's first seed.

    Cells of one sweep draw the same z in `samples/`, source row above and adapted row below.
    """
    groups: dict[tuple[str, int], list[Cell]] = {}
    for one in cells:
        if one.samples:
            groups.setdefault((one.target, one.shots), []).append(one)
    found = []
    for (target, shots), group in groups.items():
        rows: list[tuple[str, Image.Image]] = []
        for one in {c.method: c for c in reversed(group)}.values():  # the first seed stands last, and stays
            pictures = rows_of(one.samples[-1][1])
            if len(pictures) > 1 and not any(label == "source" for label, _ in rows):
                rows.append(("source", pictures[0]))
            rows.append((one.method, pictures[-1]))
        order = {one.method: index for index, one in enumerate(group)}
        rows.sort(key=lambda row: order.get(row[0], -1))
        found.append(Sheet(f"{_short(target)}, {shots} shots", rows))
    return found


def training(one: Cell) -> list[tuple[int, Image.Image]]:
    """The adapted rows of a cell as it trained: first, last and evenly between, as (step, picture)."""
    count = len(one.samples)
    if count <= TRAINING_PICTURES:
        chosen = list(range(count))
    else:
        chosen = [round(i * (count - 1) / (TRAINING_PICTURES - 1)) for i in range(TRAINING_PICTURES)]
    return [(one.samples[i][0], rows_of(one.samples[i][1])[-1]) for i in chosen]


def curves(one: Cell) -> dict[str, dict[str, list[tuple[float, float]]]]:
    """Series of a cell by phase, {"G_image": {"fool": [(step, value)]}}, and "scores" if there are some."""
    found: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for line in one.lines:
        for name, value in (line.get("terms") or {}).items():
            phase, _, term = name.rpartition("/")
            found.setdefault(phase or "terms", {}).setdefault(term, []).append((line["step"], float(value)))
        for name, value in (line.get("scores") or {}).items():
            found.setdefault("scores", {}).setdefault(name, []).append((line["step"], float(value)))
    return found


def _short(target: str) -> str:
    """A name stays; of a path the last part."""
    return Path(target).name or target


def _lines(path: Path) -> list[dict[str, Any]]:
    found = []
    for raw in _text(path).split("\n"):
        try:
            value = json.loads(raw)
        except ValueError:
            continue  # the line being written, or one a power loss broke
        if isinstance(value, dict) and "step" in value:
            found.append(value)
    return found


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(_text(path))
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""
