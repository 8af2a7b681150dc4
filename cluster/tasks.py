"""What a fleet passes around: tasks out, results or failures back, and what one task may use."""

import math
import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any, Literal

from cluster.errors import MachineError

Payload = Mapping[str, Any]
Result = dict[str, Any]
Run = Callable[[Payload], Result]  # top level in a module, so that a worker can import it by name
Task = tuple[str, Payload]


@dataclass(frozen=True)
class Share:
    """What one task may use: so many workers, each with CPUs and GPUs, fractions allowed (0.5 GPU: two on one).

    own_threads: threads that a worker computes with; 0: as many as its whole CPUs, at least 1.
    """

    cpus: float = 1.0
    gpus: float = 0.0
    workers: int = 1
    own_threads: int = 0

    def __post_init__(self) -> None:
        if min(self.cpus, self.gpus) < 0 or not (self.cpus or self.gpus):
            raise MachineError(f"a task cannot use {self}; cpus and gpus are >= 0, and one of them above 0")
        if self.workers < 1 or self.own_threads < 0:
            raise MachineError(f"a task cannot have {self.workers} workers of {self.own_threads} threads")

    def __str__(self) -> str:
        each = f"{self.cpus:g} CPUs and {self.gpus:g} GPUs"
        return each if self.workers == 1 else f"{self.workers} workers of {each} each"

    @property
    def threads(self) -> int:
        """Threads that a worker may compute with, >= 1."""
        return self.own_threads or max(1, int(self.cpus))

    def slots(self, machines: Iterable[tuple[float, float]]) -> int:
        """How many such tasks machines of these CPUs and GPUs run at once; workers may lie on several."""
        return sum(self.fits(cpus, gpus) for cpus, gpus in machines) // self.workers

    def fits(self, cpus: float, gpus: float) -> int:
        """How many such workers one machine of this size runs at once; a fraction never spans two GPUs."""
        slots = math.inf
        if self.cpus:
            slots = _floor(cpus / self.cpus)
        if 0 < self.gpus < 1:
            slots = min(slots, int(gpus) * _floor(1 / self.gpus))
        elif self.gpus:
            slots = min(slots, _floor(gpus / self.gpus))
        return int(slots)

    def environment(self) -> dict[str, str]:
        """Variables of a worker, set before it imports torch: by itself each would take every core."""
        threads = str(self.threads)
        variables = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), threads)
        return variables if self.gpus else variables | {"CUDA_VISIBLE_DEVICES": ""}


def _floor(slots: float) -> int:
    return math.floor(slots + 1e-9)  # 1 / 0.1 must be 10, and 0.3 / 0.1 must be 3


@dataclass(frozen=True)
class Failure:
    """A task without a result.

    reason: one line. kind: it "raised"; its worker "died"; the machine of its worker was "lost"; or it was
    "stopped" with the whole run, and the same command continues it. detail: the traceback, if any.
    """

    reason: str
    kind: Literal["raised", "died", "lost", "stopped"]
    detail: str = ""


Answer = Result | Failure
OnResult = Callable[[str, Answer], None]


def attempt(run: Callable[[Payload], Answer], payload: Payload) -> Answer:
    """The result of `run`, or why there is none. An interrupt counts as stopped."""
    try:
        return run(payload)
    except KeyboardInterrupt:
        return Failure("stopped", "stopped")
    except SystemExit as left:
        return Failure(f"left with exit status {left.code}", "raised", traceback.format_exc())
    except Exception as error:
        return Failure(one_line(error), "raised", traceback.format_exc())


def one_line(error: BaseException) -> str:
    """The class of an exception and the first line of what it says."""
    said = str(error).strip().splitlines()
    return f"{type(error).__name__}: {said[0]}" if said else type(error).__name__


@contextmanager
def termination_interrupts() -> Iterator[None]:
    """Within, SIGTERM (Slurm, Kubernetes, spot machines) raises KeyboardInterrupt, as Ctrl-C does.

    Outside the main thread Python allows no signal handlers, and nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


_TOLD = threading.Event()


def told_to_stop() -> threading.Event:
    """Set once this process's task is to save and stop, where no signal can say so: it is not in the main thread."""
    return _TOLD


def settle_in(threads: int) -> None:
    """First thing in a worker: leave Ctrl-C of the terminal to the driver, and keep to one's threads."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    import torch  # here, so that it is imported after the variables were set, and once a worker

    torch.set_num_threads(threads)


def own_cpus() -> int:
    """CPUs that this process may run on; a container's or cpuset's, not the whole host's."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
