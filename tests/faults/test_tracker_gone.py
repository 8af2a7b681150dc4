"""A tracking server that never comes, and one that is killed while a run trains: its files are the calm run's."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipeline.tracking.card import Card
from pipeline.tracking.sync import complete
from tests.sweeps import DEADLINE, Sweeps, steps_of, until
from tests.test_resume import config, same
from tests.tiny import Tiny
from tests.tracking.server import Server, free_port
from tests.tracking.test_tracking_load import Trial, held, mirrored_once

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(1500)]
STEPS, SOME = 240, 10


@contextmanager
def adapting(folder: Path, tiny: Tiny, runs: str, uri: str) -> Iterator[subprocess.Popen[str]]:
    """One cell that is tracked there, or nowhere."""
    path = config(folder / "tgan.yaml", tiny, "tgan", STEPS, save=60, sample=120)
    command = [sys.executable, "-m", "pipeline.adapt", path.name, "--runs", runs, "--device", "cpu"]
    with subprocess.Popen(
        [*command, "--tracker", "mlflow" if uri else "none"],
        cwd=folder,
        env=Sweeps(folder, tiny, {"MLFLOW_TRACKING_URI": uri}).environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def ended(process: subprocess.Popen[str]) -> str:
    """stderr of a run that ended well."""
    _, said = process.communicate(timeout=DEADLINE)
    assert process.returncode == 0, said
    return said


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory, tiny: Tiny) -> Path:
    folder = tmp_path_factory.mktemp("calm")
    with adapting(folder, tiny, "calm", "") as process:
        assert "warning" not in ended(process)
    return folder / "calm"


def cell_of(runs: Path) -> Path:
    """The folder of the one cell, as soon as it trains."""
    (found,) = until(lambda: list(runs.glob("*-*/metrics.jsonl")))
    return Path(found).parent


def completed(cell: Path, server: Server) -> None:
    """The server has every number and picture once after a sync, and a second one sends nothing."""
    server.start()
    complete(cell, server.uri)
    before = mirrored_once(server.uri, [Trial(cell, server.uri)])
    twice = complete(cell, server.uri)
    assert (twice.numbers, twice.files) == (0, 0)
    assert held(server.uri) == before


def one_warning(said: str, cell: Path) -> None:
    """That says how the mirror is completed."""
    (warning,) = [line for line in said.splitlines() if "warning" in line]
    assert warning.startswith("warning: MLflow at http://127.0.0.1:")
    assert f"pipeline.sync {cell}" in warning
    assert "Traceback" not in said


def test_a_server_that_is_away_for_ever_changes_nothing(tiny: Tiny, calm: Path, tmp_path: Path) -> None:
    server = Server(tmp_path, free_port())
    with adapting(tmp_path, tiny, "away", server.uri) as process:
        said = ended(process)
    cell = cell_of(tmp_path / "away")
    one_warning(said, cell)
    same(calm, tmp_path / "away")
    try:
        completed(cell, server)
    finally:
        server.kill()


def test_a_server_that_is_killed_while_a_run_trains_changes_nothing(
    tiny: Tiny, calm: Path, tmp_path: Path
) -> None:
    server = Server(tmp_path)
    try:
        server.start()
        with adapting(tmp_path, tiny, "killed", server.uri) as process:
            cell = cell_of(tmp_path / "killed")
            until(lambda: steps_of(cell) >= SOME and Card.read(cell).run_id, process)
            server.kill()
            at = steps_of(cell)
            said = ended(process)
        assert SOME <= at < STEPS, "the server outlived the training"
        one_warning(said, cell)
        same(calm, tmp_path / "killed")
        assert json.loads((cell / "result.json").read_text())["status"] == "done"
        completed(cell, server)
    finally:
        server.kill()
