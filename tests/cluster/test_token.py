"""A Ray behind a token, started by configs/cluster/two_nodes.sh on loopback, where it takes no second node."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from cluster.checks import ports, ray_cluster
from cluster.checks.servers import get
from cluster.ray_token import USE_TOKEN
from tests.cluster.listeners import closed_port
from tests.sweeps import Sweeps, alive, descendants, until
from tests.tiny import Tiny

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
ROOT = Path(__file__).parents[2]
SCRIPT = str(ROOT / "configs" / "cluster" / "two_nodes.sh")
PATIENCE = 90.0  # seconds to join; 3 where nothing else runs

MEET = """
import json, sys
from cluster.fleet import run_many
from cluster.tasks import Share
from tests.cluster.toys import toy

tasks = [(name, {"do": "meet", "folder": sys.argv[1], "me": name, "other": other}) for name, other in ("ab", "ba")]
found = run_many(toy, tasks, share=Share(cpus=1), on_result=lambda key, answer: None)
print(json.dumps({key: str(answer) for key, answer in found.items()}))
"""


@dataclass(frozen=True)
class Guarded:
    """A head of two CPUs. known: variables of one who has the token; stranger: of one who has not."""

    port: int
    jobs: int
    known: dict[str, str]
    stranger: dict[str, str]
    pid: int


def bare() -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    return {**kept, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


@contextmanager
def started(words: list[str], environ: dict[str, str], log: Path) -> Iterator[int]:
    """The script while it runs; at the end its processes are gone, and no others."""
    with log.open("w") as out:
        process = subprocess.Popen(
            ["bash", SCRIPT, *words], env=environ, stdout=out, stderr=out, start_new_session=True
        )
    try:
        yield process.pid
    finally:
        below = descendants(process.pid)
        process.terminate()
        try:
            process.wait(timeout=60)
        finally:
            for pid in filter(alive, [process.pid, *below]):
                os.kill(pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    home = tmp_path_factory.mktemp("home")
    port, jobs = closed_port(), closed_port()
    own = {"HOME": str(home), "BIN": str(Path(sys.executable).parent), "TOKEN_FILE": str(home / "token")}
    own |= {"HEAD_ADDRESS": "127.0.0.1", "PORT": str(port), "DASHBOARD_PORT": str(jobs), "CPUS": "2"}
    environ = bare() | own
    subprocess.run(["bash", SCRIPT, "token"], env=environ, check=True, stdout=subprocess.DEVNULL)
    session = Path(tempfile.mkdtemp(prefix="graft-ray-"))  # the paths of sockets must be short
    head = ["head", "--object-store-memory=134217728", f"--temp-dir={session}"]
    head += [f"--dashboard-agent-listen-port={closed_port()}", f"--ray-client-server-port={closed_port()}"]
    stranger = bare() | {"HOME": str(home)}
    known = stranger | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(home / "token")}
    try:
        with started(head, environ, home / "head.log") as pid:

            def up() -> bool:
                assert alive(pid), (home / "head.log").read_text()
                return ray_cluster.address(5, PATIENCE, known | gcs(port)).state == "ok"

            until(up)
            yield Guarded(port, jobs, known, stranger, pid)
    finally:
        shutil.rmtree(session, ignore_errors=True)


def gcs(port: int) -> dict[str, str]:
    return {"RAY_ADDRESS": f"127.0.0.1:{port}"}


def dashboard(port: int) -> dict[str, str]:
    return {"RAY_ADDRESS": f"http://127.0.0.1:{port}"}


def test_the_jobs_api_answers_401_without_the_token(guarded: Guarded) -> None:
    where = f"http://127.0.0.1:{guarded.jobs}"
    for path in ("/api/version", "/api/jobs/"):
        assert get(f"{where}{path}", 30).status == 401
        assert get(f"{where}{path}", 30, {"Authorization": f"Bearer {'0' * 64}"}).status in (401, 403)
    token = Path(guarded.known["RAY_AUTH_TOKEN_PATH"]).read_text()
    assert get(f"{where}/api/jobs/", 30, {"Authorization": f"Bearer {token}"}).status == 200


def test_doctor_knows_who_is_let_in(guarded: Guarded) -> None:
    assert ray_cluster.token(guarded.known | gcs(guarded.port)).state == "ok"
    wrong = guarded.stranger | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64}
    for address in (gcs(guarded.port), dashboard(guarded.jobs)):
        found = ray_cluster.address(30, PATIENCE, guarded.known | address)
        assert found.state == "ok", found
        for who in (guarded.stranger, wrong):
            refused = ray_cluster.address(30, PATIENCE, who | address)
            assert (refused.state, refused.mend) == ("fail", USE_TOKEN)
            assert "asks for a token" in refused.found


def sentence(guarded: Guarded, variables: dict[str, str], folder: Path, tiny: Tiny) -> str:
    """What a sweep that wants to run there ends with, and exit code 5; nothing has begun."""
    sweeps = Sweeps(folder, tiny, {"HOME": str(folder)} | variables | gcs(guarded.port))
    done = sweeps.run(sweeps.write("tiny", {"method": ["tgan"]}, {"steps": 2}))
    assert done.returncode == 5, done.stdout + done.stderr
    *progress, said = done.stderr.splitlines()
    assert all(line.startswith("[") for line in progress), done.stderr
    assert not list((folder / "runs").rglob("result.json"))
    return said


def test_tasks_of_one_who_has_the_token_meet_there(guarded: Guarded, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", MEET, str(tmp_path)],
        env=guarded.known | gcs(guarded.port),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert sorted(found) == ["a", "b"]
    assert not any("Failure" in answer for answer in found.values()), found


@pytest.mark.parametrize(
    ("shown", "because"),
    [
        ({}, "asks for a token, and it was shown none"),
        ({"RAY_AUTH_TOKEN": "0" * 64}, "asks for a token, and the one it was shown is not its own"),
        ({"RAY_AUTH_TOKEN_PATH": "/nowhere/token"}, "/nowhere/token: no token can be read (No such file"),
    ],
)
def test_a_sweep_of_one_who_has_it_not_is_refused_in_one_sentence(
    guarded: Guarded, tiny: Tiny, tmp_path: Path, shown: dict[str, str], because: str
) -> None:
    said = sentence(guarded, shown, tmp_path, tiny)
    assert said.startswith("error: ")
    assert because in said
    assert said.endswith("RAY_AUTH_TOKEN_PATH=FILE, with the token of the cluster in FILE")
    assert "0" * 64 not in said


def test_everything_of_it_that_listens_asks_for_the_token(guarded: Guarded) -> None:
    below = descendants(guarded.pid)
    mine = [door for door in ports.doors() if door.pid in below]
    assert guarded.port in [door.port for door in mine]
    assert all(door.guarded for door in mine), mine
    assert ports.ports(mine).state == "ok"
