"""Sweeps on a Ray cluster that somebody else started: as a submitted job, and from a shell beside it."""

import subprocess
from collections.abc import Iterator

import pytest

from tests.heads import RAY, Head, a_head
from tests.sweeps import DEADLINE, REPO, Sweeps
from tests.tiny import make_tiny

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]
GRID = {"method": ["tgan", "cdc"], "seed": [0]}


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    head = Head.described(tmp_path_factory.mktemp("home"))
    with a_head(head):
        yield head


@pytest.fixture(scope="module")
def sweeps(head: Head, tmp_path_factory: pytest.TempPathFactory) -> Sweeps:
    folder = tmp_path_factory.mktemp("work")
    return Sweeps(folder, make_tiny(folder / "tiny"), head.variables)


def submit(head: Head, sweeps: Sweeps, *words: str) -> subprocess.CompletedProcess[str]:
    """`ray job submit` of a sweep, to its end."""
    command = [RAY, "job", "submit", "--address", f"http://127.0.0.1:{head.jobs}", "--working-dir", str(REPO)]
    command += ["--", "python", "-m", "pipeline.sweep", *words]
    return subprocess.run(
        command, env=sweeps.environment, capture_output=True, text=True, timeout=DEADLINE, check=False
    )


def test_a_submitted_job_leaves_runs_and_exports_where_it_is_told(head: Head, sweeps: Sweeps) -> None:
    config = sweeps.write("told", GRID, {})
    runs, exports = sweeps.folder / "runs", sweeps.folder / "exports"
    ended = submit(head, sweeps, str(config), "--runs", str(runs), "--exports", str(exports))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "succeeded" in ended.stdout
    assert [result["status"] for result in sweeps.results("told").values()] == ["done", "done"]
    assert (runs / "told" / "report.html").is_file()
    assert (exports / "told" / "model.safetensors").is_file()


def test_a_job_that_is_told_nothing_leaves_them_in_the_home_folder(head: Head, sweeps: Sweeps) -> None:
    ended = submit(head, sweeps, str(sweeps.write("untold", {"method": ["tgan"]}, {})))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert (head.home / "graft" / "runs" / "untold" / "table.md").is_file()
    assert (head.home / "graft" / "exports" / "untold" / "model.safetensors").is_file()


def test_a_sweep_joins_the_cluster_of_ray_address_with_paths_of_its_own_folder(
    head: Head, sweeps: Sweeps
) -> None:
    beside = Sweeps(sweeps.folder, sweeps.tiny, head.variables | {"RAY_ADDRESS": f"127.0.0.1:{head.port}"})
    config = beside.write("joined", {"method": ["tgan"]}, {"target": "tiny/target", "source": "tiny/source"})
    ended = beside.run(config)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert [result["status"] for result in beside.results("joined").values()] == ["done"]
