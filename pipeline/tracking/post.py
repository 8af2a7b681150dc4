"""Delivery off the training thread: a bounded queue, one thread, and a single warning."""

import threading
from collections.abc import Callable
from queue import Empty, Full, Queue
from typing import Generic, TypeVar

Item = TypeVar("Item")

ROOM = 4096  # items that may wait; more than that is dropped here and completed later from disk
BATCH = 256  # items handed over at once
GATHER = 0.5  # seconds between looks, so that quick steps leave in batches
PAUSE = 30.0  # seconds between attempts after a failure


class Post(Generic[Item]):
    """Hands items in order to `deliver`, from a thread of its own.

    `deliver(items)` is called again with the same items after it raised, so it must bear repetition. `warn`
    is called with the first failure only. `put` never waits; `close` waits at most its patience.
    """

    def __init__(self, deliver: Callable[[list[Item]], None], warn: Callable[[Exception], None]) -> None:
        self._deliver = deliver
        self._warn = warn
        self._warned = threading.Lock()  # taken once, by whoever warns
        self._queue: Queue[Item] = Queue(ROOM)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, name="graft-post", daemon=True)
        self._thread.start()

    def put(self, item: Item) -> None:
        try:
            self._queue.put_nowait(item)
        except Full:
            self._warn_once(OSError("too much is waiting"))

    def close(self, last: Item, patience: float) -> bool:
        """Deliver what waits and then `last`, within `patience` seconds. Returns whether all arrived."""
        try:
            self._queue.put_nowait(last)
        except Full:
            self._warn_once(OSError("too much is waiting"))
        self._closing.set()
        self._thread.join(patience)
        if self._thread.is_alive():
            self._warn_once(TimeoutError(f"no answer within {patience:g} s"))
        return self._queue.empty() and not self._thread.is_alive()

    def _work(self) -> None:
        while items := self._next():
            while not self._attempt(items):
                if self._closing.wait(PAUSE):
                    if not self._attempt(items):
                        return
                    break

    def _next(self) -> list[Item]:
        """The next batch; empty once closing and nothing is left."""
        self._closing.wait(GATHER)
        while True:
            items = self._waiting()
            if items or self._closing.is_set():
                return items or self._waiting()
            try:
                return [self._queue.get(timeout=GATHER), *self._waiting(BATCH - 1)]
            except Empty:
                continue

    def _waiting(self, most: int = BATCH) -> list[Item]:
        items: list[Item] = []
        while len(items) < most:
            try:
                items.append(self._queue.get_nowait())
            except Empty:
                break
        return items

    def _attempt(self, items: list[Item]) -> bool:
        try:
            self._deliver(items)
        except Exception as error:  # whatever a client library raises: a mirror must not stop a job
            self._warn_once(error)
            return False
        return True

    def _warn_once(self, error: Exception) -> None:
        if self._warned.acquire(blocking=False):
            self._warn(error)
