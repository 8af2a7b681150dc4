"""One object on its way into a file: resumed where it breaks off, held against its digest, never half used."""

import hashlib
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any

from cluster.errors import MachineError

PROGRESS = 8 << 20  # bytes; after so many a new failure is the first one again
BLOCK = 1 << 20  # bytes asked for at once


@dataclass(frozen=True)
class Limits:
    """Seconds to connect, seconds between bytes, tries in all, seconds of the first pause, slowest bytes/s."""

    connect: float = 2.0
    read: float = 5.0
    tries: int = 4
    pause: float = 0.5
    slowest: float = 1024.0  # on average over each `patience` seconds
    patience: float = 30.0


LIMITS = Limits()
JITTER = random.Random()  # of its own: the program's random numbers are not touched


@dataclass(frozen=True)
class Object:
    """One object. name: its key behind what was listed, "" for that itself; sha256: "" where not known."""

    url: str
    name: str
    bytes: int
    etag: str
    sha256: str = ""


@dataclass(frozen=True)
class Answer:
    """What a store begins to send: from byte `at`, of `size` in all; "" for a digest that it does not say.

    read: the next bytes, at most so many, as they come, none at the end; raises Torn.
    """

    at: int
    size: int
    etag: str
    sha256: str
    md5: str
    read: Callable[[int], bytes]


class Torn(Exception):
    """A body that did not arrive whole: it is asked for again. useless: also what has arrived of it."""

    def __init__(self, why: str, useless: bool = False) -> None:
        super().__init__(why)
        self.useless = useless


class Download:
    """An object, and the open file that it goes into. ask: (url, from byte, etag) -> Answer."""

    def __init__(self, url: str, file: IO[bytes], etag: str, ask: Callable[[str, int, str], Answer]) -> None:
        self.url, self.file, self.etag, self.ask = url, file, etag, ask

    def whole(self) -> Object:
        """Tries until all of it is there and is what was put; at most LIMITS.tries times without progress.

        Raises MachineError (exit code 5), and what `ask` raises.
        """
        failures = 0
        while True:
            before = self.file.tell()
            try:
                return self._checked(self._received())
            except Torn as torn:
                failures = 1 if self.file.tell() - before >= PROGRESS else failures + 1
                if failures >= LIMITS.tries:
                    raise MachineError(
                        f"{self.url}: does not arrive whole ({torn}; tried {failures} times); look at the "
                        "network and the store, or put the object there again"
                    ) from None
                if torn.useless:
                    self._begin_anew()
            time.sleep(LIMITS.pause * 2**failures * JITTER.random())

    def _received(self) -> Answer:
        """Asks for what is missing; a body that trickles, or begins to, is noticed within twice the patience."""
        answer = self.ask(self.url, self.file.tell(), self.etag)
        self.etag = answer.etag  # what is asked for later must be of the same object
        if answer.at != self.file.tell():
            self._begin_anew()  # a server that knows no ranges sends everything again
        began, received = time.monotonic(), 0
        while block := answer.read(BLOCK):
            self.file.write(block)
            received += len(block)
            seconds = time.monotonic() - began
            if seconds > LIMITS.patience:
                if received / seconds < LIMITS.slowest:
                    raise Torn(f"{received / seconds:.0f} bytes a second")
                began, received = time.monotonic(), 0
        return answer

    def _checked(self, answer: Answer) -> Object:
        """What has arrived, if it is what was put."""
        if self.file.tell() != answer.size:
            raise Torn(f"{self.file.tell():,} of {answer.size:,} bytes")
        digest = self._digest("sha256")
        if answer.sha256 and digest != answer.sha256:
            raise Torn("its sha256 is not that of what was put there", useless=True)
        if not answer.sha256 and answer.md5 and self._digest("md5") != answer.md5:
            raise Torn("its MD5 is not that of what was put there", useless=True)
        return Object(self.url, "", answer.size, answer.etag, digest)

    def _digest(self, kind: str) -> str:
        self.file.seek(0)
        return hashlib.file_digest(self.file, kind).hexdigest()  # type: ignore[arg-type]  # IO[bytes] is enough

    def _begin_anew(self) -> None:
        self.file.seek(0)
        self.file.truncate()


class _AsItComes:
    """A stream whose `read` gives what is there and does not wait for the rest."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def read(self, amount: int) -> Any:
        return self.stream.read1(amount)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def as_it_comes(body: Any) -> Any:
    """The same body of botocore's, counted and checked as before; by itself it waits for all that was asked for.

    There is no public switch; without the private name, or urllib3's read1, it goes on waiting.
    """
    if hasattr(getattr(body, "_raw_stream", None), "read1"):
        body._raw_stream = _AsItComes(body._raw_stream)
    return body
