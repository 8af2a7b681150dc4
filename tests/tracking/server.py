"""A real `mlflow server` that a test starts and stops, what it holds, and a line to it on which answers get lost."""

import contextlib
import http.client
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

DEADLINE = 240.0


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@dataclass
class Server:
    """SQLite behind it, loopback, one worker, no telemetry. Killed and started again it has the same address."""

    folder: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--backend-store-uri", f"sqlite:///{self.folder}/mlflow.db", "--workers", "1"]
        command += ["--artifacts-destination", str(self.folder / "artifacts")]
        quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                command,
                env=os.environ | quiet,
                cwd=self.folder,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + DEADLINE
        while not self._answers():
            assert self.process.poll() is None, (self.folder / "server.log").read_text()
            assert time.monotonic() < deadline, "the server never came up"
            time.sleep(0.1)

    def kill(self) -> None:
        """-9 to all of it."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.uri}/health", timeout=5) as answer:
            return bool(answer.status == 200)
        return False


def held(uri: str) -> dict[str, dict[str, Any]]:
    """By the id of each run: its name, status, tags, params, pictures, and all points of every metric."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    runs = client.search_runs([each.experiment_id for each in client.search_experiments()], max_results=1000)
    found = {}
    for run in runs:
        points = [p for key in run.data.metrics for p in client.get_metric_history(run.info.run_id, key)]
        found[run.info.run_id] = {
            "name": run.info.run_name,
            "status": run.info.status,
            "tags": dict(run.data.tags),
            "params": dict(run.data.params),
            "pictures": sorted(item.path for item in client.list_artifacts(run.info.run_id, "samples")),
            "points": sorted((p.key, p.step, repr(p.value), p.timestamp) for p in points),
        }
    return found


class _Lossy(BaseHTTPRequestHandler):
    """Passes every request on; of some, the answer is thrown away and the connection closed."""

    protocol_version = "HTTP/1.1"
    server: "Line"

    def pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        onward = http.client.HTTPConnection("127.0.0.1", self.server.to, timeout=60)
        headers = {key: value for key, value in self.headers.items() if key.lower() != "host"}
        onward.request(self.command, self.path, body, headers)
        answer = onward.getresponse()
        content = answer.read()
        onward.close()
        if self.server.loses():
            self.close_connection = True
            return
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.headers.get("Content-Type", "application/json"))
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = pass_on

    def log_message(self, *said: object) -> None:
        """Nothing: the test says what it saw."""


class Line(ThreadingHTTPServer):
    """Between trackers and a server. share: of the answers, how many get lost on the way."""

    daemon_threads = True

    def __init__(self, to: int, share: float, seed: int) -> None:
        super().__init__(("127.0.0.1", 0), _Lossy)
        self.to, self.share, self.lost = to, share, 0
        self._random, self._lock = random.Random(seed), threading.Lock()

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def loses(self) -> bool:
        with self._lock:
            gone = self._random.random() < self.share
            self.lost += gone
            return gone


@contextlib.contextmanager
def line_to(server: Server, share: float, seed: int) -> Iterator[Line]:
    line = Line(server.port, share, seed)
    threading.Thread(target=line.serve_forever, daemon=True).start()
    try:
        yield line
    finally:
        line.shutdown()
        line.server_close()
