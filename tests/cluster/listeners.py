"""Servers on loopback with faults of their own, each gone at the end of its block."""

import contextlib
import os
import socket
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Answers = dict[str, tuple[int, str]]
LISTEN = """
import socket, sys
host = sys.argv[1]
with socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET) as server:
    print(server.getsockname()[1], flush=True)
    sys.stdin.read()
"""


@contextlib.contextmanager
def mute() -> Iterator[int]:
    """The port of a server on loopback that accepts, reads and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield int(server.getsockname()[1])


@contextlib.contextmanager
def speaking(answers: Answers, token: str = "") -> Iterator[str]:
    """The address of an HTTP server: status and body by path, 404 else; 401 where it wants a token and has none."""

    class Speaks(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = answers.get(self.path.partition("?")[0], (404, "nothing here"))
            if token and self.headers.get("Authorization") != f"Bearer {token}":
                status, body = 401, "no"
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *said: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Speaks) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()


class Babbles(socketserver.StreamRequestHandler):
    """Speaks, but not HTTP."""

    def handle(self) -> None:
        self.rfile.readline()
        self.wfile.write(b"220 mail.example ESMTP\r\n")


@contextlib.contextmanager
def babbling() -> Iterator[str]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Babbles) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()


def closed_port() -> int:
    with socket.socket() as each:
        each.bind(("127.0.0.1", 0))
        return int(each.getsockname()[1])


@contextlib.contextmanager
def listening(name: str, host: str, **variables: str) -> Iterator[tuple[int, int]]:
    """Port and id of a process that takes connections at `host`, with `name` among its words."""
    process = subprocess.Popen(
        [sys.executable, "-c", LISTEN, host, name],
        env={**os.environ, **variables},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline()), process.pid
    finally:
        process.kill()
        process.communicate()
