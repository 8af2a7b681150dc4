"""Which MLflow run mirrors a folder: mlflow.json, and the address it is at."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from pipeline.store import held

FILE = "sqlite:///"
PLACE = "_MLFLOW_SERVER_ARTIFACT_ROOT"  # has no public name


@dataclass
class Card:
    """mlflow.json: which MLflow run mirrors this folder, and how many of its lines are known to be there."""

    folder: Path
    uri: str = ""
    key: str = (
        ""  # ours, set before the run exists: finds the run again when the answer to its creation was lost
    )
    run_id: str = ""
    lines: int = 0

    @classmethod
    def read(cls, folder: Path) -> "Card":
        try:
            value = json.loads((folder / "mlflow.json").read_text(encoding="utf-8"))
            return cls(folder, value["uri"], value["key"], value["run_id"], value["lines"])
        except (OSError, ValueError, KeyError, TypeError):
            return cls(folder)

    def write(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        value = {"uri": self.uri, "key": self.key, "run_id": self.run_id, "lines": self.lines}
        aside = self.folder / f"mlflow.json.{os.getpid()}"
        aside.write_text(json.dumps(value) + "\n", encoding="utf-8")
        aside.replace(self.folder / "mlflow.json")


def tracking_uri(uri: str | None = None) -> str:
    """`uri`, or MLFLOW_TRACKING_URI, or mlflow.db in the current folder; SQLite paths made absolute."""
    chosen = uri or os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"
    if not chosen.startswith(FILE):
        return chosen
    return FILE + str(Path(chosen.removeprefix(FILE)).absolute())


@contextmanager
def one_at_a_time(uri: str) -> Iterator[None]:
    """Hold a SQLite file while it is opened: MLflow makes its tables then, and of two that make them one fails.

    It also writes where artefacts lie into SQL as Python would, which a path with both kinds of quotes breaks; a file
    URI has neither.
    """
    if not uri.startswith(FILE):
        yield
        return
    path = Path(uri.removeprefix(FILE))
    path.parent.mkdir(parents=True, exist_ok=True)
    with held(path.with_name(f".{path.name}.lock")):
        ours = PLACE not in os.environ
        os.environ.setdefault(PLACE, (path.parent / "mlartifacts").as_uri())
        try:
            yield
        finally:
            if ours:
                os.environ.pop(PLACE, None)


def without_login(uri: str) -> str:
    """The URI without user and password: it is written to disk and shown in sentences."""
    parts = urlsplit(uri)
    if "@" not in parts.netloc:
        return uri
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
