"""Sweeps on a Ray cluster that somebody else started: as a submitted job, and from a shell beside it."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.sweeps import DEADLINE, REPO, Sweeps, alive, descendants, until
from tests.tiny import Tiny, make_tiny

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]
RAY = str(Path(sys.executable).with_name("ray"))
GRID = {"method": ["tgan", "cdc"], "seed": [0]}


@dataclass(frozen=True)
class Head:
    """A cluster of one machine: where drivers and jobs knock, and what they must know."""

    port: int
    jobs: int
    home: Path
    variables: dict[str, str]


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    """`ray start --head`, on loopback, with a token; afterwards its own processes end, and no others."""
    home = tmp_path_factory.mktemp("home")
    token = home / "token"
    token.touch(0o600)
    token.write_text(secrets.token_hex(32))
    variables = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token), "RAY_USAGE_STATS_ENABLED": "0"}
    variables |= {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "HOME": str(home)}
    variables["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    port, jobs, client, agent = free_ports(4)
    session = Path(tempfile.mkdtemp(prefix="graft-ray-"))  # the paths of sockets must be short
    command = [
        RAY,
        "start",
        "--head",
        "--block",
        f"--port={port}",
        f"--dashboard-port={jobs}",
        "--num-cpus=2",
    ]
    command += ["--dashboard-host=127.0.0.1", "--node-ip-address=127.0.0.1", "--disable-usage-stats"]
    command += [f"--ray-client-server-port={client}", f"--dashboard-agent-listen-port={agent}"]
    command += ["--object-store-memory=134217728", f"--temp-dir={session}"]
    seen = Sweeps(home, Tiny(home, home, home), variables).environment
    with (home / "ray.log").open("w") as log:
        process = subprocess.Popen(
            command, cwd=home, env=seen, stdout=log, stderr=log, start_new_session=True
        )
    try:
        until(lambda: _answers(jobs) and _answers(port))
        yield Head(port, jobs, home, variables)
    finally:
        below = descendants(process.pid)
        process.terminate()
        process.wait(timeout=60)
        for pid in filter(alive, below):
            os.kill(pid, signal.SIGKILL)
        shutil.rmtree(session, ignore_errors=True)


def _answers(port: int) -> bool:
    with socket.socket() as knock:
        return knock.connect_ex(("127.0.0.1", port)) == 0


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
