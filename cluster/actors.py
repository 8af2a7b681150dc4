"""The workers of a fleet on Ray: actors that are kept for many tasks, on whatever machine has room for them."""

import contextlib
import os
import signal
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cluster.errors import MachineError
from cluster.head import LOOK, check_head
from cluster.tasks import (
    Answer,
    Failure,
    Payload,
    Run,
    Share,
    attempt,
    one_line,
    settle_in,
    termination_interrupts,
)

UNSURE = 15.0  # seconds in which Ray surely hears that a machine is gone; it looks every few
FALSE_STARTS = 3  # workers that do not start, in a row, until the run gives up


class _Worker:
    """The actor: one process on some machine, one task at a time, in its main thread."""

    def __init__(self, run: Run, share: Share) -> None:
        settle_in(share.threads)
        self.run, self.share = run, share

    def hello(self) -> tuple[int, str]:
        """Process id and Ray's id of the machine."""
        import ray

        return os.getpid(), ray.get_runtime_context().get_node_id()

    def work(self, payload: Payload) -> Answer:
        """The answer to one task."""
        with termination_interrupts():
            if self.share.workers == 1:
                return attempt(self.run, payload)
            from cluster.workers import on_workers  # Ray Train takes seconds to import

            return on_workers(self.run, payload, self.share)


@dataclass
class _Member:
    share: Share
    actor: Any
    ref: Any  # of the hello, then of the task; None while free
    pid: int | None = None
    node: str = ""
    key: str | None = None


class RayCrew:
    """One actor a slot, kept for many tasks. One that was asked for may have to wait for its resources.

    The actor of a task with several workers holds nothing; they hold what they use.
    """

    def __init__(self, ray: Any, run: Run, shares: Mapping[str, Share]) -> None:
        """shares: of each task, by its id."""
        self.ray = ray
        self.run = run
        self.shares = shares
        self.members: list[_Member] = []
        self.false_starts = 0
        self.looked = time.monotonic()
        for share in dict.fromkeys(shares.values()):
            slots_of(ray, share)

    def staff(self, keys: Sequence[str]) -> None:
        """See Crew.staff. Counts the machines anew each time it is short: they come and go."""
        wanted = Counter(self.shares[key] for key in keys)
        here = Counter(member.share for member in self.members)
        for member in [each for each in self.members if each.ref is None]:
            if here[member.share] > wanted[member.share]:  # what it holds, another task may wait for
                here[member.share] -= 1
                self.members.remove(member)
                self.ray.kill(member.actor)
        for share, count in wanted.items():
            if here[share] < count:
                for _ in range(min(count, share.slots(machines(self.ray).values())) - here[share]):
                    self._start(share)

    def _start(self, share: Share) -> None:
        alone = share.workers == 1
        make = self.ray.remote(_Worker).options(
            num_cpus=share.cpus if alone else 0,
            num_gpus=share.gpus if alone else 0,
            max_restarts=0,
            runtime_env={"env_vars": share.environment()},
        )
        actor = make.remote(self.run, share)
        self.members.append(_Member(share, actor, actor.hello.remote()))

    def free(self, key: str) -> bool:
        """See Crew.free."""
        share = self.shares[key]
        return any(member.ref is None and member.share == share for member in self.members)

    def hand(self, key: str, payload: Payload) -> None:
        """See Crew.hand."""
        share = self.shares[key]
        member = next(each for each in self.members if each.ref is None and each.share == share)
        member.key, member.ref = key, member.actor.work.remote(payload)

    def answers(self, seconds: float) -> list[tuple[str, Answer]]:
        """See Crew.answers."""
        refs = {member.ref: member for member in self.members if member.ref is not None}
        ready, _ = self.ray.wait(list(refs), timeout=seconds)
        if time.monotonic() - self.looked > LOOK:
            check_head(self.ray)
            self.looked = time.monotonic()
        found = []
        for ref in ready:
            member = refs[ref]
            member.ref = None
            if member.pid is None:
                self._welcome(member, ref)
                continue
            assert member.key is not None
            found.append((member.key, self._answer(member, ref)))
            member.key = None
        return found

    def _welcome(self, member: _Member, ref: Any) -> None:
        try:
            member.pid, member.node = self.ray.get(ref)
            self.false_starts = 0
        except self.ray.exceptions.RayError as error:
            self.members.remove(member)
            self.false_starts += 1
            if self.false_starts >= FALSE_STARTS:
                cause = str(error).strip().splitlines()[-1]
                raise MachineError(f"{FALSE_STARTS} workers in a row did not start ({cause})") from error

    def _answer(self, member: _Member, ref: Any) -> Answer:
        errors = self.ray.exceptions
        try:
            answer: Answer = self.ray.get(ref)
            return answer
        except (errors.RayActorError, errors.WorkerCrashedError, errors.OutOfMemoryError) as error:
            self.members.remove(member)
            # "Unavailable": nobody answers, and Ray has not found out yet whether the whole machine is gone.
            if self._lost(member.node, UNSURE if isinstance(error, errors.ActorUnavailableError) else 0.0):
                return Failure("its machine was lost", "lost")
            return Failure(_death(error), "died", str(error))
        except errors.RayError as error:
            return Failure(one_line(error), "raised", str(error))

    def _lost(self, node: str, seconds: float) -> bool:
        """Whether a machine is gone, or is seen to be within so many seconds."""
        deadline = time.monotonic() + seconds
        while node in machines(self.ray):
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.2)
        return True

    def interrupt(self) -> None:
        """See Crew.interrupt: a SIGTERM to each busy worker, on whatever machine it is."""
        for member in self.members:
            if member.key is not None and member.pid is not None:
                terminate(self.ray, member.pid, member.node)

    def close(self) -> None:
        """See Crew.close."""
        for member in self.members:
            self.ray.kill(member.actor)
        self.members.clear()


def machines(ray: Any) -> dict[str, tuple[float, float]]:
    """CPUs and GPUs of every machine of a Ray, by Ray's id of it. Raises MachineError if its head is gone."""
    check_head(ray)
    alive = {node["NodeID"]: node["Resources"] for node in ray.nodes() if node["Alive"]}
    return {name: (size.get("CPU", 0.0), size.get("GPU", 0.0)) for name, size in alive.items()}


def slots_of(ray: Any, share: Share) -> int:
    """How many tasks of this share run at once on a Ray as it is. Raises MachineError where not one could."""
    slots = share.slots(machines(ray).values())
    if not slots:
        sizes = ", ".join(f"{cpus:g} CPUs and {gpus:g} GPUs" for cpus, gpus in machines(ray).values())
        has = "no machine of this Ray has that" if share.workers == 1 else "this Ray has less"
        raise MachineError(f"a task asks for {share}, but {has} ({sizes}); change what a task may use")
    return slots


def terminate(ray: Any, pid: int, node: str) -> None:
    """SIGTERM to a process of ours on the machine that Ray calls `node`; it may be gone already."""
    if node == ray.get_runtime_context().get_node_id():
        _terminate(pid)
        return
    affinity = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node, soft=False)
    elsewhere = ray.remote(_terminate).options(num_cpus=0, max_retries=0, scheduling_strategy=affinity)
    elsewhere.remote(pid)


def _terminate(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)


def _death(error: Exception) -> str:
    """One line from Ray's page. It does not learn the signal; its own memory monitor it names."""
    if "memory monitor" in str(error) or "running low on memory" in str(error):
        return "worker died (its machine ran low on memory)"
    return "worker died (killed or crashed; out of memory, perhaps)"
