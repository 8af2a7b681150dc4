"""The MLflow mirror completed from what lies on disk. Doing it twice changes nothing."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from . import jsonl
from .mlflow_tracker import Mirror, Run

SWEEP_FILES = ("table.md", "table.csv", "table.json", "report.html")
LINES_TAG, TABLES_TAG = "graft.lines", "graft.tables"


@dataclass
class Completed:
    """What was sent."""

    runs: int = 0
    numbers: int = 0
    files: int = 0


def complete(folder: Path, uri: str | None = None) -> Completed:
    """Mirror a cell's folder, or a sweep's with all its cells. Raises what the client of MLflow raises."""
    mirror, sent = Mirror(uri or ""), Completed()
    folder = folder.absolute()
    if _is_cell(folder):
        _cell(mirror, folder, _sweep_of(folder), sent)
    else:
        _sweep(mirror, folder, sent)
    return sent


def summary(result: Mapping[str, Any]) -> dict[str, float]:
    """The final numbers of a result.json by name: each score with its interval, and the cost."""
    values: dict[str, float] = {}
    for score in result.get("scores", []):
        for part, name in (("value", ""), ("low", "_low"), ("high", "_high")):
            if isinstance(score.get(part), int | float):
                values[score["name"] + name] = float(score[part])
    for name in ("images", "seconds"):
        if isinstance(result.get(name), int | float):
            values[name] = float(result[name])
    return values


def _is_cell(folder: Path) -> bool:
    return any((folder / name).exists() for name in ("config.yaml", "metrics.jsonl", "result.json"))


def _sweep_of(cell: Path) -> Path | None:
    return cell.parent if (cell.parent / "sweep.yaml").exists() else None


def _sweep(mirror: Mirror, folder: Path, sent: Completed) -> None:
    run = mirror.open(folder, folder.name, _values(folder / "sweep.yaml"))
    sent.runs += 1
    cells = sorted(cell for cell in folder.iterdir() if cell.is_dir() and _is_cell(cell))
    for cell in cells:
        _cell(mirror, cell, folder, sent)
    tables = [folder / name for name in SWEEP_FILES if (folder / name).exists()]
    state = hashlib.sha256(b"".join(path.read_bytes() for path in tables)).hexdigest()
    if tables and run.tags.get(TABLES_TAG) != state:  # they are written anew whenever a cell is added
        mirror.files(run, tables)
        mirror.tag(run, {TABLES_TAG: state})
        sent.files += len(tables)
    if all((cell / "result.json").exists() for cell in cells) and "graft.status" not in run.tags:
        mirror.end(run, "done", {})


def _cell(mirror: Mirror, folder: Path, parent: Path | None, sent: Completed) -> None:
    run = mirror.open(folder, folder.name, _values(folder / "config.yaml"), parent)
    sent.runs += 1
    lines = jsonl.read(folder / "metrics.jsonl")
    result = _values(folder / "result.json")
    position = _position(run, lines)
    status = str(result.get("status", ""))
    if position < len(lines) or run.tags.get("graft.status", "") != status:
        mirror.recall(run)
        before = len(run.known)
        mirror.log(
            run, [(int(line["step"]), jsonl.flat(line)) for line in lines[position:] if "step" in line]
        )
        mirror.tag(run, {LINES_TAG: _mark(lines)})
        run.card.lines = len(lines)
        run.card.write()
        if status:
            mirror.end(run, status, summary(result), result.get("reason"))
        sent.numbers += len(run.known) - before
    there = mirror.file_names(run, "samples")
    missing = [path for path in sorted((folder / "samples").glob("*.png")) if path.name not in there]
    mirror.files(run, missing)
    sent.files += len(missing)


def _position(run: Run, lines: list[dict[str, Any]]) -> int:
    """How many lines need no look: what was noted here, if the server says the same of the same lines."""
    noted = run.card.lines
    return noted if noted <= len(lines) and run.tags.get(LINES_TAG) == _mark(lines[:noted]) else 0


def _mark(lines: list[dict[str, Any]]) -> str:
    """How many lines, and their digest: a run that went on from an earlier step has written others."""
    return f"{len(lines)} {hashlib.sha256(json.dumps(lines).encode()).hexdigest()[:16]}"


def _values(path: Path) -> dict[str, Any]:
    """A YAML or JSON file as a mapping; empty where it is missing or not one."""
    try:
        text = path.read_text(encoding="utf-8")
        value = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return value if isinstance(value, dict) else {}
