"""The head of a Ray cluster of one machine, as somebody starts it by hand for others to join."""

import contextlib
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

from tests.sweeps import Sweeps, alive, descendants, until
from tests.tiny import Tiny

RAY = str(Path(sys.executable).with_name("ray"))
STARTED = b"Ray runtime started."  # its ports answer before, and it may still give up then


@dataclass(frozen=True)
class Head:
    """Where drivers and jobs knock, and what they must know; started again it is at the same place."""

    port: int
    jobs: int
    others: tuple[int, int]
    home: Path
    variables: dict[str, str]

    @classmethod
    def described(cls, home: Path) -> "Head":
        """On free ports of loopback, with a token; its home is `home`."""
        token = home / "token"
        token.touch(0o600)
        token.write_text(secrets.token_hex(32))
        variables = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
        variables |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
        variables |= {"HOME": str(home), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        port, jobs, client, agent = free_ports(4)
        return cls(port, jobs, (client, agent), home, variables)


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]


@contextlib.contextmanager
def a_head(head: Head) -> Iterator[subprocess.Popen[bytes]]:
    """`ray start --head` as described; afterwards its own processes end, and no others."""
    session = Path(tempfile.mkdtemp(prefix="graft-ray-"))  # the paths of sockets must be short
    client, agent = head.others
    command = [RAY, "start", "--head", "--block", "--num-cpus=2", "--disable-usage-stats"]
    command += [f"--port={head.port}", f"--dashboard-port={head.jobs}", f"--temp-dir={session}"]
    command += ["--dashboard-host=127.0.0.1", "--node-ip-address=127.0.0.1"]
    command += [f"--ray-client-server-port={client}", f"--dashboard-agent-listen-port={agent}"]
    command += ["--object-store-memory=134217728"]
    seen = Sweeps(head.home, Tiny(head.home, head.home, head.home), head.variables).environment
    told = head.home / "ray.log"
    with told.open("a") as log:
        before = log.tell()
        process = subprocess.Popen(
            command, cwd=head.home, env=seen, stdout=log, stderr=log, start_new_session=True
        )
    try:
        until(lambda: STARTED in told.read_bytes()[before:] or process.poll() is not None)
        assert process.poll() is None, told.read_text()
        until(lambda: _answers(head.jobs) and _answers(head.port), process)
        yield process
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
