"""MLflow as a mirror of the disk: the one file that imports mlflow.

Runs are addressed by explicit ids, never by the fluent state of a process. A run's id lies in its folder as
mlflow.json, so a run that is continued, or completed later from disk, stays the same run, and no (metric,
step) is sent twice.
"""

import logging
import os
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .card import Card, one_at_a_time, tracking_uri, without_login
from .post import Post

# Read by mlflow when it is imported or at each call. Its own defaults wait for minutes on a server that is
# gone (7 retries, 120 s each), report usage, and print. What the user has set stays.
ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
}
EXPERIMENT = "graft"
PARENT_TAG = "mlflow.parentRunId"
STATUS = {"done": "FINISHED", "stopped": "KILLED"}  # every other status of result.json is FAILED
MOST_METRICS, MOST_PARAMS, LONGEST_PARAM = 1000, 100, 6000  # of one log_batch; longest value that is accepted
PATIENCE, LITTLE_PATIENCE = 15.0, 3.0  # seconds that `end` waits; little after a stop or a failure

Point = tuple[int, Mapping[str, float]]


@dataclass
class Run:
    """An open run of the mirror: where it lies, when it began, and which (metric, step) it has."""

    card: Card
    start: int  # milliseconds
    status: str  # MLflow's word
    parent: Path | None
    tags: dict[str, str]
    known: set[tuple[str, int]] = field(default_factory=set)
    seconds: float = 0.0


class Mirror:
    """A tracking server or file, spoken to directly: every call may take seconds and may raise."""

    def __init__(self, uri: str) -> None:
        for name, value in ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        for noisy in ("mlflow", "alembic"):  # the first use of a SQLite file tells of every migration
            logging.getLogger(noisy).setLevel(logging.ERROR)
        from mlflow.tracking import MlflowClient  # two seconds, paid where MLflow is used

        self.uri = tracking_uri(uri)
        with one_at_a_time(self.uri):
            self._client: Any = MlflowClient(tracking_uri=self.uri)
        self._experiment = ""

    def open(self, folder: Path, name: str, params: Mapping[str, object], parent: Path | None = None) -> Run:
        """The run that mirrors `folder`: the one named in its mlflow.json, else a new one."""
        card = Card.read(folder)
        found = self._find(card) or self._create(card, name, parent)
        run = Run(card, found.info.start_time, found.info.status, parent, dict(found.data.tags))
        self._write_params(card.run_id, params, found.data.params)
        self.adopt(run)
        return run

    def recall(self, run: Run) -> None:
        """Ask which (metric, step) the server has, so that `log` sends none of them again."""
        for metric in self._client.get_run(run.card.run_id).data.metrics:
            history = self._client.get_metric_history(run.card.run_id, metric)
            run.known |= {(metric, point.step) for point in history}

    def reopen(self, run: Run) -> None:
        """A run that continues is running again."""
        if run.status != "RUNNING":
            self._client.update_run(run.card.run_id, status="RUNNING")
            run.status = "RUNNING"

    def adopt(self, run: Run) -> None:
        """Set the tag that hangs a cell under its sweep, as soon as the sweep has a run here."""
        if run.parent is None or PARENT_TAG in run.tags:
            return
        parent = Card.read(run.parent)
        if parent.run_id and parent.uri == run.card.uri:
            self.tag(run, {PARENT_TAG: parent.run_id})

    def tag(self, run: Run, tags: Mapping[str, str]) -> None:
        for name, value in tags.items():
            if run.tags.get(name) != value:
                self._client.set_tag(run.card.run_id, name, value[:LONGEST_PARAM])
                run.tags[name] = value

    def log(self, run: Run, points: Iterable[Point]) -> None:
        """Send the numbers that are not there yet; times come from `seconds`, so a repetition is equal."""
        from mlflow.entities import Metric

        batch, seconds = [], run.seconds
        for step, values in points:
            seconds = values.get("seconds", seconds)
            time_ms = run.start + round(1000 * seconds)
            for name, value in values.items():
                metric = _metric_name(name)
                if name != "seconds" and (metric, step) not in run.known:
                    batch.append(Metric(metric, float(value), time_ms, step))
        for first in range(0, len(batch), MOST_METRICS):
            part = batch[first : first + MOST_METRICS]
            self._client.log_batch(run.card.run_id, metrics=part)
            run.known |= {(metric.key, metric.step) for metric in part}
        run.seconds = seconds  # not before: what is sent again after a lost answer has the same times

    def files(self, run: Run, paths: Iterable[Path]) -> None:
        """Copy files; each lies in the run where it lies in the run's folder."""
        for path in paths:
            if path.exists():
                place = path.parent.relative_to(run.card.folder).as_posix()
                self._client.log_artifact(run.card.run_id, str(path), None if place == "." else place)

    def file_names(self, run: Run, place: str) -> set[str]:
        return {Path(item.path).name for item in self._client.list_artifacts(run.card.run_id, place)}

    def end(self, run: Run, status: str, summary: Mapping[str, float], reason: str | None = None) -> None:
        self.adopt(run)
        self.log(run, [(0, {f"final/{name}": value for name, value in summary.items()})])
        self.tag(run, {"graft.status": status, **({"graft.reason": reason} if reason else {})})
        self._keep_one(run.card)
        final = STATUS.get(status, "FAILED")
        if run.status != final:
            self._client.set_terminated(run.card.run_id, final, _written(run.card.folder / "result.json"))
            run.status = final

    def _find(self, card: Card) -> Any:
        from mlflow.exceptions import MlflowException

        if card.uri != without_login(self.uri) or not card.key:
            return None
        self._keep_one(card)
        try:
            found = self._client.get_run(card.run_id) if card.run_id else None
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None
        if found is None or found.info.lifecycle_stage != "active":
            return None
        card.write()
        return found

    def _keep_one(self, card: Card) -> None:
        """Where the answer to a creation was lost, it was asked for again: one of the runs of this key stays."""
        found = self._client.search_runs([self._experiment_id()], f"tags.`graft.key` = '{card.key}'")
        ids = {run.info.run_id for run in found}
        card.run_id = card.run_id or min(ids, default="")
        for twin in ids - {card.run_id}:
            self._client.delete_run(twin)

    def _create(self, card: Card, name: str, parent: Path | None) -> Any:
        card.uri, card.key, card.run_id, card.lines = without_login(self.uri), uuid.uuid4().hex, "", 0
        card.write()
        tags = {"graft.key": card.key, **({"graft.sweep": parent.name} if parent else {})}
        start = _written(card.folder / "config.yaml")
        created = self._client.create_run(self._experiment_id(), start, tags, run_name=name)
        card.run_id = created.info.run_id
        card.write()
        return created

    def _experiment_id(self) -> str:
        if not self._experiment:
            name = os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT)
            found = self._client.get_experiment_by_name(name)
            self._experiment = str(found.experiment_id) if found else self._new_experiment(name)
        return self._experiment

    def _new_experiment(self, name: str) -> str:
        from mlflow.exceptions import MlflowException

        beside = Path(self.uri.removeprefix("sqlite:///")).parent / "mlartifacts"
        place = beside.as_uri() if self.uri.startswith("sqlite:///") else None  # a server decides for itself
        try:
            return str(self._client.create_experiment(name, artifact_location=place))
        except MlflowException:  # another cell was quicker
            found = self._client.get_experiment_by_name(name)
            if found is None:
                raise
            return str(found.experiment_id)

    def _write_params(self, run_id: str, params: Mapping[str, object], there: Mapping[str, str]) -> None:
        """Params are write-once: a second value is refused by MLflow, so only missing ones are sent."""
        from mlflow.entities import Param

        missing = [
            Param(name, str(value)[:LONGEST_PARAM]) for name, value in _dotted(params) if name not in there
        ]
        for first in range(0, len(missing), MOST_PARAMS):
            self._client.log_batch(run_id, params=missing[first : first + MOST_PARAMS])


def refusals() -> tuple[type[Exception], ...]:
    """What a Mirror raises when the server is away, refuses, or its answers make no sense."""
    from mlflow.exceptions import MlflowException

    return (MlflowException, OSError)


def _dotted(params: Mapping[str, object], front: str = "") -> Iterable[tuple[str, object]]:
    for name, value in params.items():
        if isinstance(value, Mapping):
            yield from _dotted(value, f"{front}{name}.")
        else:
            yield front + str(name), value


def _metric_name(name: str) -> str:
    """MLflow takes letters, digits and _-./ and space."""
    return "".join(c if c.isalnum() or c in "_-./ " else "_" for c in name)[:250]


def _written(path: Path) -> int:
    """When a file was written, in milliseconds; now, where there is none."""
    return round(1000 * (path.stat().st_mtime if path.exists() else time.time()))


@dataclass(frozen=True)
class End:
    status: str
    summary: Mapping[str, float]
    reason: str | None


Item = Point | Path | End | None  # numbers, a picture, the end; None only opens the run


class MlflowTracker:
    """Mirrors one run while it goes. Every verb returns at once; `end` waits for the server a little."""

    def __init__(
        self,
        folder: Path,
        uri: str | None = None,
        say: Callable[[str], None] = lambda line: print(line, file=sys.stderr),
    ) -> None:
        self.folder = folder.absolute()
        self.uri = tracking_uri(uri)
        self._say = say
        self._failed = False
        self._opened = threading.Event()
        self._mirror: Mirror | None = None
        self._run: Run | None = None

    def begin(self, name: str, params: Mapping[str, object], parent: Path | None = None) -> None:
        self._name, self._params, self._parent = name, dict(params), parent
        self._post: Post[Item] = Post(self._deliver, self._warn)
        self._post.put(None)

    def ready(self, seconds: float) -> bool:
        """Wait until the run exists on the server; whether it does. No job waits for it."""
        return self._opened.wait(seconds)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._post.put((step, dict(values)))

    def picture(self, step: int, path: Path) -> None:
        self._post.put(path.absolute())

    def end(self, status: str, summary: Mapping[str, float], reason: str | None = None) -> None:
        hurried = status == "stopped" or self._failed
        self._post.close(End(status, dict(summary), reason), LITTLE_PATIENCE if hurried else PATIENCE)

    def _deliver(self, items: list[Item]) -> None:
        if self._mirror is None:
            self._mirror = Mirror(self.uri)
        if self._run is None:
            run = self._mirror.open(self.folder, self._name, self._params, self._parent)
            self._mirror.recall(run)
            self._mirror.reopen(run)
            self._run = run
            self._opened.set()
        self._mirror.log(self._run, [item for item in items if isinstance(item, tuple)])
        self._mirror.files(self._run, [item for item in items if isinstance(item, Path)])
        for item in items:
            if isinstance(item, End):
                self._mirror.end(self._run, item.status, item.summary, item.reason)

    def _warn(self, error: Exception) -> None:
        self._failed = True
        self._say(
            f"warning: MLflow at {without_login(self.uri)} does not keep up ({type(error).__name__}); "
            f"the job goes on, and `python -m pipeline.sync {self.folder}` completes the mirror later"
        )
