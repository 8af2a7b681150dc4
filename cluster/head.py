"""The head of a Ray cluster: whether it is still there, and how a run ends that has lost it."""

import contextlib
import os
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

from cluster.errors import MachineError
from cluster.ray_settings import check_reachable

GONE = 10.0  # seconds in which a head that is silent may come back
ORDERLY = 20.0  # more of them, in which a run may end by itself; after 60 in all Ray ends the process
LOOK = 2.0  # seconds between looks at it
LOST = 5  # exit code: of the environment


def check_head(ray: Any) -> None:
    """Raises MachineError if the head of this Ray is gone. Asked without Ray, which would wait, and then exit."""
    address = ray.get_runtime_context().gcs_address
    deadline = time.monotonic() + GONE
    while True:
        try:
            return check_reachable(address)
        except MachineError as error:
            if time.monotonic() >= deadline:
                raise MachineError(_gone(address)) from error
        time.sleep(0.2)


@contextlib.contextmanager
def watched(ray: Any) -> Iterator[None]:
    """Within, a run whose head is gone ends by itself or is ended here, with the sentence of check_head.

    A call to Ray may be under way when the head goes. Some of them never return then and cannot be interrupted; Ray
    would print a page of its own and exit with 1.
    """
    over = threading.Event()
    address = ray.get_runtime_context().gcs_address
    thread = threading.Thread(target=_watch, args=(address, over), name="graft-head", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()


def _watch(address: str, over: threading.Event) -> None:
    heard = time.monotonic()
    while not over.wait(LOOK):
        with contextlib.suppress(MachineError):
            check_reachable(address)
            heard = time.monotonic()
        if time.monotonic() - heard > GONE + ORDERLY and not over.is_set():
            print(f"error: {_gone(address)}", file=sys.stderr, flush=True)
            os._exit(LOST)


def _gone(address: str) -> str:
    return f"the head of the Ray cluster at {address} is gone; once it runs again, the same command continues"
