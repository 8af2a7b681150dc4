"""Where a run is mirrored while it goes. JSON lines are written always, and are not a tracker's business."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from .mlflow_tracker import MlflowTracker


class Tracker(Protocol):
    """Four verbs, none of which may stop or slow a job."""

    def begin(self, name: str, params: Mapping[str, object], parent: Path | None = None) -> None:
        """Start or continue the run called `name`; `parent` is the folder of the sweep it belongs to."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Numbers of one step, as `jsonl.flat` gives them."""

    def picture(self, step: int, path: Path) -> None:
        """A picture of one step that lies on disk."""

    def end(self, status: str, summary: Mapping[str, float], reason: str | None = None) -> None:
        """Close the run: `status` as in result.json, `summary` the final numbers by name."""


class NoTracker:
    """Mirrors nothing."""

    def __init__(self, folder: Path, uri: str | None = None) -> None:
        self.folder = folder

    def begin(self, name: str, params: Mapping[str, object], parent: Path | None = None) -> None:
        pass

    def log(self, step: int, values: Mapping[str, float]) -> None:
        pass

    def picture(self, step: int, path: Path) -> None:
        pass

    def end(self, status: str, summary: Mapping[str, float], reason: str | None = None) -> None:
        pass


# name in the config -> tracker of one run: (the run's folder, tracking URI or None for the default)
TRACKERS: dict[str, Callable[[Path, str | None], Tracker]] = {"none": NoTracker, "mlflow": MlflowTracker}
