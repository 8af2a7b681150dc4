"""Tasks on this machine without Ray: in this process one after the other, or in spawned processes."""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess

from cluster.dispatch import BEAT, LAST_WORDS
from cluster.errors import MachineError
from cluster.tasks import (
    Answer,
    Failure,
    Payload,
    Run,
    Share,
    attempt,
    one_line,
    own_cpus,
    settle_in,
    termination_interrupts,
)

SPAWN = multiprocessing.get_context("spawn")  # a forked torch or CUDA is not safe


class HereCrew:
    """No workers: a task runs in this process when its answer is asked for, and `tick` beside it from a thread.

    Threads of PyTorch are left alone.
    """

    def __init__(self, run: Run, tick: Callable[[], None] | None = None) -> None:
        self.run = run
        self.tick = tick
        self.given: list[tuple[str, Payload]] = []
        self.stopped: list[tuple[str, Answer]] = []

    def staff(self, keys: Sequence[str]) -> None:
        """See Crew.staff."""

    def free(self, key: str) -> bool:
        """See Crew.free."""
        return not self.given

    def hand(self, key: str, payload: Payload) -> None:
        """See Crew.hand."""
        self.given.append((key, payload))

    def answers(self, seconds: float) -> list[tuple[str, Answer]]:
        """See Crew.answers. An interrupt ends the task, then the run; the task's answer is kept for it."""
        if not self.given:
            return [self.stopped.pop()] if self.stopped else []
        key, payload = self.given.pop()
        with _ticking(self.tick):
            answer = attempt(self.run, payload)
        if isinstance(answer, Failure) and answer.kind == "stopped":
            self.stopped.append((key, answer))
            raise KeyboardInterrupt
        return [(key, answer)]

    def interrupt(self) -> None:
        """See Crew.interrupt: the task in this process has felt it already."""

    def close(self) -> None:
        """See Crew.close."""


@contextmanager
def _ticking(tick: Callable[[], None] | None) -> Iterator[None]:
    """Within, `tick` is called every BEAT seconds, by one thread, which has ended when this block has."""
    over = threading.Event()

    def beat() -> None:
        while tick and not over.wait(BEAT):
            tick()

    thread = threading.Thread(target=beat, name="graft-tick", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@dataclass
class _Member:
    process: SpawnProcess
    pipe: Connection
    slot: int
    key: str | None = None


class ProcessCrew:
    """One spawned process a slot, kept for many tasks, so that torch is imported once in each."""

    def __init__(self, run: Run, share: Share, cpus: int | None) -> None:
        self.run = run
        self.share = share
        self.gpus = _visible_gpus() if share.gpus else []
        total = cpus or own_cpus()
        self.slots = share.fits(total, len(self.gpus))
        if not self.slots:
            raise MachineError(
                f"a task asks for {share}, but this machine has {total} CPUs and {len(self.gpus)} GPUs; "
                "change what a task may use"
            )
        self.members: list[_Member] = []

    def staff(self, keys: Sequence[str]) -> None:
        """See Crew.staff."""
        taken = {member.slot for member in self.members}
        for slot in [slot for slot in range(self.slots) if slot not in taken]:
            if len(self.members) >= len(keys):
                return
            self.members.append(self._start(slot))

    def _start(self, slot: int) -> _Member:
        mine, theirs = SPAWN.Pipe()
        process = SPAWN.Process(
            target=_serve, args=(theirs, self.run, self.share.threads), name=f"cell-{slot}"
        )
        with _environment(self.share.environment() | self._gpus_of(slot)):
            process.start()
        theirs.close()  # or the end of the child would not be seen on this side
        return _Member(process, mine, slot)

    def _gpus_of(self, slot: int) -> dict[str, str]:
        if not self.share.gpus:
            return {}
        if self.share.gpus < 1:
            picked = [self.gpus[slot // int(1 / self.share.gpus + 1e-9)]]
        else:
            whole = int(self.share.gpus)
            picked = self.gpus[slot * whole : (slot + 1) * whole]
        return {"CUDA_VISIBLE_DEVICES": ",".join(picked)}

    def free(self, key: str) -> bool:
        """See Crew.free. A process that is still starting may have its task already: the pipe holds it."""
        return any(member.key is None for member in self.members)

    def hand(self, key: str, payload: Payload) -> None:
        """See Crew.hand."""
        member = next(member for member in self.members if member.key is None)
        member.key = key
        try:
            member.pipe.send(payload)
        except (BrokenPipeError, ConnectionResetError):
            return  # it died meanwhile: `answers` finds its end

    def answers(self, seconds: float) -> list[tuple[str, Answer]]:
        """See Crew.answers."""
        found: list[tuple[str, Answer]] = []
        pipes = {member.pipe: member for member in self.members}
        for pipe in wait(list(pipes), seconds):
            member = pipes[pipe]  # type: ignore[index]  # wait() is typed for files and sockets too
            try:
                answer: Answer = member.pipe.recv()
            except (EOFError, ConnectionResetError):
                answer = self._bury(member)
            if member.key is not None:
                found.append((member.key, answer))
                member.key = None
        return found

    def _bury(self, member: _Member) -> Failure:
        self.members.remove(member)
        member.process.join(LAST_WORDS)
        code = member.process.exitcode or 0
        member.pipe.close()
        return Failure(f"worker died ({f'signal {-code}' if code < 0 else f'exit status {code}'})", "died")

    def interrupt(self) -> None:
        """See Crew.interrupt."""
        for member in self.members:
            if member.key is not None:
                member.process.terminate()

    def close(self) -> None:
        """See Crew.close."""
        for member in self.members:
            member.pipe.close()
            member.process.kill()
        for member in self.members:
            member.process.join()
        self.members.clear()


def _serve(pipe: Connection, run: Run, threads: int) -> None:
    """A worker's life: payloads in, answers out, until the pipe closes."""
    threading.Thread(target=_follow_parent, daemon=True).start()
    settle_in(threads)
    while True:
        try:
            payload = pipe.recv()
        except EOFError:
            return
        with termination_interrupts():
            answer = attempt(run, payload)
        try:
            pipe.send(answer)
        except (TypeError, AttributeError, ValueError) as error:
            pipe.send(Failure(f"its result cannot be sent back: {one_line(error)}", "raised"))


def _follow_parent() -> None:
    """A driver that was killed must not leave workers writing where its successor will write."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    wait([parent.sentinel])
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(LAST_WORDS)
    os._exit(1)


@contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    """Within, a started process sees `variables` from its first line on."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _visible_gpus() -> list[str]:
    import torch

    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if listed is not None:
        return [name for name in listed.split(",") if name]
    return [str(number) for number in range(torch.cuda.device_count())]
