import socket
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pipeline.tracking import jsonl
from pipeline.tracking.card import Card, tracking_uri, without_login
from pipeline.tracking.jsonl import Lines
from pipeline.tracking.mlflow_tracker import ENVIRONMENT, MlflowTracker
from pipeline.tracking.post import ROOM, Post
from pipeline.tracking.sync import complete
from pipeline.tracking.trackers import TRACKERS


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)


def line(step: int) -> dict[str, Any]:
    return {
        "step": step,
        "images": 4 * step,
        "seconds": step / 10,
        "terms": {"G/fool": 1 / (step + 1), "D/real": 0.5},
    }


def client(uri: str) -> Any:
    from mlflow.tracking import MlflowClient

    return MlflowClient(tracking_uri=uri)


def points(uri: str, run_id: str, metric: str) -> list[int]:
    return sorted(point.step for point in client(uri).get_metric_history(run_id, metric))


def make_cell(folder: Path, steps: range) -> None:
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("method: rssa\nsteps: 40\nweights: {fool: 1.0, scc: 5.0}\n")
    (folder / "samples").mkdir()
    lines = Lines(folder / "metrics.jsonl")
    for step in steps:
        lines.append(line(step))
    Image.new("RGB", (4, 4)).save(folder / "samples" / "000000.png")


def test_a_sweep_killed_and_continued_and_synced_is_one_tree_of_runs_without_doubles(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = tmp_path / "my runs ü" / "few"
    cell = sweep / "rssa-pixelArt-10-0-12345678"
    (tmp_path / "ml ü").mkdir()
    uri = f"sqlite:///{tmp_path / 'ml ü' / 'ml flow.db'}"
    make_cell(cell, range(0, 30, 10))
    (sweep / "sweep.yaml").write_text("grid: {method: [rssa, cdc]}\n")
    said: list[str] = []

    parent = MlflowTracker(sweep, uri, said.append)
    parent.begin("few", {"grid": {"method": ["rssa", "cdc"]}})
    assert parent.ready(300)  # the first use of a SQLite file migrates it
    first = MlflowTracker(cell, uri, said.append)
    first.begin(cell.name, {"method": "rssa", "weights": {"scc": 5.0}}, sweep)
    for step in (0, 10, 20):
        first.log(step, jsonl.flat(line(step)))
    first.picture(0, cell / "samples" / "000000.png")
    first.end("stopped", {})

    Lines(cell / "metrics.jsonl").truncate_after(10)  # the newest checkpoint was of step 10
    again = MlflowTracker(cell, uri, said.append)
    again.begin(cell.name, {"method": "rssa", "weights": {"scc": 5.0}}, sweep)
    for step in (20, 30):
        Lines(cell / "metrics.jsonl").append(line(step))
        again.log(step, jsonl.flat(line(step)))
    again.end("done", {"kid": 0.02})
    parent.end("done", {})

    run_id, parent_id = Card.read(cell).run_id, Card.read(sweep).run_id
    run = client(uri).get_run(run_id)
    assert said == []
    assert points(uri, run_id, "G/fool") == points(uri, run_id, "images") == [0, 10, 20, 30]
    assert run.info.status == "FINISHED"
    assert run.info.run_name == cell.name
    assert run.data.tags["mlflow.parentRunId"] == parent_id
    assert run.data.params == {"method": "rssa", "weights.scc": "5.0"}
    assert run.data.metrics["final/kid"] == 0.02
    assert [item.path for item in client(uri).list_artifacts(run_id, "samples")] == ["samples/000000.png"]

    # what came while the server was away is completed from disk, once
    for step in (40, 50):
        Lines(cell / "metrics.jsonl").append(line(step))
    Image.new("RGB", (4, 4)).save(cell / "samples" / "000040.png")
    (cell / "result.json").write_text(
        '{"status": "done", "scores": [{"name": "kid", "value": 0.02, "low": 0.01}]}'
    )
    other = sweep / "cdc-pixelArt-10-0-87654321"
    make_cell(other, range(0, 20, 10))
    (sweep / "table.md").write_text("| a |\n")
    sent = complete(sweep, uri)
    assert (sent.runs, sent.files) == (3, 3)  # a sample of each cell and the table
    twice = complete(sweep, uri)
    assert (twice.runs, twice.numbers, twice.files) == (3, 0, 0)
    assert points(uri, run_id, "G/fool") == [0, 10, 20, 30, 40, 50]
    other_run = client(uri).get_run(Card.read(other).run_id)
    assert points(uri, other_run.info.run_id, "D/real") == [0, 10]
    assert other_run.data.tags["mlflow.parentRunId"] == parent_id
    assert other_run.info.status == "RUNNING"  # nothing on disk says how it ended

    # a sync whose note was lost asks the server and still sends nothing twice
    card = Card.read(cell)
    card.lines = 0
    card.write()
    assert complete(cell, uri).numbers == 0
    runs = client(uri).search_runs([run.info.experiment_id])
    assert Counter(r.info.run_name for r in runs) == {cell.name: 1, other.name: 1, "few": 1}
    assert capsys.readouterr() == ("", "")


def test_a_server_that_accepts_and_never_answers_costs_training_nothing_and_warns_once(
    tmp_path: Path,
) -> None:
    said: list[str] = []
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(16)
        tracker = MlflowTracker(
            tmp_path, f"http://me:secret@127.0.0.1:{silent.getsockname()[1]}", said.append
        )
        began = time.monotonic()
        tracker.begin("cell", {"a": 1})
        for step in range(3 * ROOM):  # more than may wait
            tracker.log(step, {"G/fool": 1.0})
        assert time.monotonic() - began < 2.0
        began = time.monotonic()
        tracker.end("stopped", {})
        assert time.monotonic() - began < 6.0
    assert len(said) == 1
    assert said[0].startswith("warning: MLflow at http://127.0.0.1:")
    assert "pipeline.sync" in said[0]
    assert "secret" not in said[0]


def test_nobody_listening_is_one_warning_and_a_quick_end(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    said: list[str] = []
    tracker = MlflowTracker(tmp_path, f"http://127.0.0.1:{port}", said.append)
    tracker.begin("cell", {})
    assert not tracker.ready(0.01)
    tracker.log(0, {"a": 1.0})
    began = time.monotonic()
    tracker.end("stopped", {})
    assert time.monotonic() - began < 6.0
    assert len(said) == 1


def test_post_delivers_again_what_failed_and_keeps_the_order() -> None:
    seen: list[int] = []
    failures: list[Exception] = []
    broken = [True]

    def deliver(items: list[int]) -> None:
        if broken and broken.pop():
            raise OSError("away")
        seen.extend(items)

    post = Post(deliver, failures.append)
    for item in range(1000):
        post.put(item)
    assert post.close(1000, patience=20)
    assert seen == list(range(1001))
    assert len(failures) == 1


def test_the_default_is_a_file_in_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert tracking_uri() == f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    assert tracking_uri() == "http://127.0.0.1:5000"
    assert tracking_uri("sqlite:////elsewhere/a.db") == "sqlite:////elsewhere/a.db"
    assert without_login("https://me:secret@host:5000/path") == "https://host:5000/path"


def test_the_tracker_none_writes_nothing(tmp_path: Path) -> None:
    tracker = TRACKERS["none"](tmp_path, None)
    tracker.begin("cell", {})
    tracker.log(0, {"a": 1.0})
    tracker.picture(0, tmp_path / "a.png")
    tracker.end("done", {})
    assert list(tmp_path.iterdir()) == []
