"""A real S3 server on loopback, with a proxy in front that misbehaves as it is told."""

import http.client
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

from moto.server import ThreadedMotoServer

from cluster.download import Limits

BUCKET = "graft"
SHORT = Limits(connect=1.0, read=0.5, tries=3, pause=0.01)  # a test does not wait as people do
EXPIRED = b"""<?xml version="1.0" encoding="UTF-8"?>
<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>"""
BUSY = b"""<?xml version="1.0" encoding="UTF-8"?>
<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"""


@dataclass
class Fault:
    """What happens to the next `times` requests of this method whose path and query hold `part`.

    kind: 503, expired (403 as Amazon sends it), cut (half a body, then the end), stall (half a body, then nothing),
    drip (half a body, then a hundred bytes a second), corrupt (one byte of the body is another), same (nothing: to
    count). The first `after` such requests are spared.
    """

    kind: str
    part: str = ""
    method: str = "GET"
    times: int = 10**9
    after: int = 0


@dataclass
class Store:
    """The address of the proxy, what was asked of it, and what is to go wrong."""

    url: str = ""
    faults: list[Fault] = field(default_factory=list)
    asked: list[tuple[str, str, str]] = field(default_factory=list)  # method, path, Range
    stop: threading.Event = field(default_factory=threading.Event)
    turn: threading.Lock = field(default_factory=threading.Lock)

    def fault(self, method: str, path: str) -> str:
        with self.turn:
            for one in self.faults:
                if one.times > 0 and one.method == method and one.part in path:
                    if one.after > 0:
                        one.after -= 1
                        continue
                    one.times -= 1
                    return one.kind
        return ""

    def count(self, method: str, part: str) -> int:
        """Requests of this method whose path holds `part`, so far."""
        return sum(asked == method and part in path for asked, path, _ in self.asked)

    def environment(self) -> dict[str, str]:
        """Variables under which every AWS tool finds this store."""
        return {
            "AWS_ENDPOINT_URL_S3": self.url,
            "AWS_ACCESS_KEY_ID": "graft",
            "AWS_SECRET_ACCESS_KEY": "graft",
            "AWS_EC2_METADATA_DISABLED": "true",
        }


@contextmanager
def running_store() -> Iterator[Store]:
    """A store with an empty bucket, until the end of the block."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    store = Store()
    proxy = ThreadingHTTPServer(("127.0.0.1", 0), _answering(store, host, port))
    proxy.daemon_threads = True
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    store.url = f"http://127.0.0.1:{proxy.server_address[1]}"
    made = http.client.HTTPConnection(host, port)
    made.request("PUT", f"/{BUCKET}", headers={"Host": f"{host}:{port}"})
    assert made.getresponse().status == 200
    made.close()
    try:
        yield store
    finally:
        store.stop.set()
        proxy.shutdown()
        proxy.server_close()
        server.stop()


def _answering(store: Store, host: str, port: int) -> type[BaseHTTPRequestHandler]:
    class Proxy(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def forward(self) -> None:
            path = unquote(self.path)
            store.asked.append((self.command, path, self.headers.get("Range", "")))
            sent = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            kind = store.fault(self.command, path)
            if kind == "503":
                self.answer(503, {"Content-Type": "application/xml"}, BUSY)
            elif kind == "expired":
                self.answer(403, {"Content-Type": "application/xml"}, EXPIRED)
            else:
                self.answer(*self.ask(sent), kind)

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = forward

        def ask(self, sent: bytes) -> tuple[int, dict[str, str], bytes]:
            connection = http.client.HTTPConnection(host, port)
            connection.request(self.command, self.path, sent, dict(self.headers.items()))
            reply = connection.getresponse()
            content = reply.read()
            connection.close()
            kept = {key: value for key, value in reply.getheaders() if not _own(key)}
            return reply.status, kept, content

        def answer(self, status: int, headers: dict[str, str], content: bytes, kind: str = "") -> None:
            self.send_response(status)
            for key, value in headers.items():
                self.send_header(key, value)
            length = headers.get("Content-Length", len(content)) if self.command == "HEAD" else len(content)
            if "Content-Length" not in headers:
                self.send_header("Content-Length", str(length))
            self.end_headers()
            if kind in ("cut", "stall", "drip"):
                self.wfile.write(content[: len(content) // 2])
                self.wfile.flush()
                if kind == "stall":
                    store.stop.wait(20)
                if kind == "drip":
                    self.drip(content[len(content) // 2 :])
                self.close_connection = True
                return
            if kind == "corrupt" and content:
                content = content[:-1] + bytes([content[-1] ^ 1])
            self.wfile.write(content)

        def drip(self, rest: bytes) -> None:
            """Until nobody listens any more, or for a minute."""
            with suppress(OSError):
                for at in range(0, min(len(rest), 6000), 5):
                    self.wfile.write(rest[at : at + 5])
                    if store.stop.wait(0.05):
                        break

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Proxy


def _own(key: str) -> bool:
    """Of one connection, or a checksum: without it only Graft's own digest can notice a wrong byte."""
    return key.lower() in ("connection", "transfer-encoding", "date", "server") or "checksum" in key.lower()


def wait_for(holds: object, seconds: float = 60) -> None:
    """Until holds() is true; fails after so many seconds."""
    deadline = time.monotonic() + seconds
    while not holds():  # type: ignore[operator]
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.02)


def under(store: Store) -> dict[str, str]:
    """This process's environment with the store's variables."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "GRAFT_"))}
    return kept | store.environment() | {"OMP_NUM_THREADS": "1"}
