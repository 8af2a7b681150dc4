"""Many tasks over many machines with Ray, or over this one without it: one function, `run_many`."""

import contextlib
import logging
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from cluster.dispatch import Crew, dispatch
from cluster.errors import MachineError
from cluster.local import HereCrew, ProcessCrew
from cluster.ray_settings import check_reachable, settle_variables
from cluster.tasks import (
    Answer,
    Failure,
    OnResult,
    Payload,
    Run,
    Share,
    Task,
    attempt,
    one_line,
    own_cpus,
    settle_in,
    termination_interrupts,
)

Backend = Literal["ray", "processes", "here"]
OBJECT_STORE = 128 * 2**20  # bytes; tasks and results are small dictionaries, pictures go through files
FALSE_STARTS = 3  # workers that do not start, in a row, until the run gives up


def run_many(
    run: Run,
    tasks: Iterable[Task],
    *,
    share: Share,
    on_result: OnResult,
    address: str | None = None,
    backend: Backend = "ray",
    local: int | None = None,
    tick: Callable[[], None] | None = None,
    retries: int = 0,
) -> dict[str, Answer]:
    """Run every (id, payload) and return result or Failure by id.

    run: a callable of a module that workers can import, payload -> dict. It may meet KeyboardInterrupt
        (the whole run stops): it has ten seconds to save. Workers are kept, so it must not leave state
        behind; their folder need not be the driver's, so paths in the payload should be absolute.
    on_result: called here with (id, result or Failure) as each ends, in any order.
    address: a Ray cluster to join; without it, RAY_ADDRESS; without that a Ray of our own, on loopback.
    local: CPUs to count on this machine, where it is used alone; None: as many as this process may use.
    tick: called here about twice a second ("here": between tasks).
    retries: further tries for a task that failed. A task whose machine was lost moves on without them.

    Ctrl-C or SIGTERM: see cluster.dispatch. Raises MachineError if no machine can hold a task.
    """
    listed = list(tasks)
    if len({key for key, _ in listed}) < len(listed):
        raise ValueError("two tasks have the same id")
    if not listed:
        return {}
    if backend == "ray":
        with joined(address, local) as ray:
            crew: Crew = _RayCrew(ray, run, share)
            return dispatch(crew, listed, on_result=on_result, tick=tick, retries=retries)
    crew = HereCrew(run) if backend == "here" else ProcessCrew(run, share, local)
    return dispatch(crew, listed, on_result=on_result, tick=tick, retries=retries)


@contextlib.contextmanager
def joined(address: str | None = None, local: int | None = None) -> Iterator[Any]:
    """Within, this process is a Ray driver: of the cluster at `address` or RAY_ADDRESS, else of its own.

    A Ray of our own lives on loopback alone, without dashboard and usage reports, asks for a token that
    only this process and its workers have, and ends with the block. Where Ray is joined already, that one
    is used and left alone. Yields the ray module.
    """
    address = address or os.environ.get("RAY_ADDRESS") or None
    ray = _ray(address)
    if ray.is_initialized():
        yield ray
        return
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR, "configure_logging": False}
    if address is None:
        ray.init(
            address="local",
            num_cpus=local or own_cpus(),
            include_dashboard=False,
            object_store_memory=OBJECT_STORE,
            **quiet,
        )
    else:
        _join(ray, address, quiet)
    try:
        with _silent_raylet():
            yield ray
    finally:
        ray.shutdown()


@contextlib.contextmanager
def _silent_raylet() -> Iterator[None]:
    """Within, Ray does not print its page about a worker's death: the Failure tells it, and stdout is ours.

    There is no public switch, log_to_driver=False leaves it on; without the private name it is printed.
    """
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(ImportError):
            from ray._private import worker

            if hasattr(worker, "print_to_stdstream"):
                stack.enter_context(_replaced(worker, "print_to_stdstream", lambda *data, **more: None))
        yield


@contextlib.contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


def _ray(address: str | None) -> Any:
    """The ray module, its variables set before it is imported."""
    settle_variables(address)
    try:
        import ray
    except ImportError as error:
        raise MachineError(
            f"Ray cannot be imported ({error}); install it, or use backend: processes"
        ) from None
    return ray


def _join(ray: Any, address: str, quiet: dict[str, Any]) -> None:
    check_reachable(address)
    try:
        ray.init(address=address, **quiet)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise MachineError(
            f"no Ray cluster could be joined at {address} ({one_line(error)}); check that it runs there and, "
            "if it asks for a token, set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH"
        ) from error


class _Worker:
    """The actor: one process on some machine, one task at a time, in its main thread."""

    def __init__(self, run: Run, threads: int) -> None:
        settle_in(threads)
        self.run = run

    def hello(self) -> tuple[int, str]:
        """Process id and Ray's id of the machine."""
        import ray

        return os.getpid(), ray.get_runtime_context().get_node_id()

    def work(self, payload: Payload) -> Answer:
        """The answer to one task."""
        with termination_interrupts():
            return attempt(self.run, payload)


@dataclass
class _Member:
    actor: Any
    ref: Any  # of the hello, then of the task; None while free
    pid: int | None = None
    node: str = ""
    key: str | None = None


class _RayCrew:
    """One actor a slot, kept for many tasks. One that was asked for may have to wait for its resources."""

    def __init__(self, ray: Any, run: Run, share: Share) -> None:
        self.ray = ray
        self.run = run
        self.share = share
        self.members: list[_Member] = []
        self.false_starts = 0
        self.make = self.ray.remote(_Worker).options(
            num_cpus=share.cpus,
            num_gpus=share.gpus,
            max_restarts=0,
            runtime_env={"env_vars": share.environment()},
        )
        if not self._slots():
            sizes = [f"{cpus:g} CPUs and {gpus:g} GPUs" for _, cpus, gpus in self._machines()]
            raise MachineError(
                f"a task asks for {share}, but no machine of this Ray has that ({', '.join(sizes)}); "
                "change what a task may use"
            )

    def _machines(self) -> list[tuple[str, float, float]]:
        alive = [node for node in self.ray.nodes() if node["Alive"]]
        sizes = [(node["NodeID"], node["Resources"]) for node in alive]
        return [(name, size.get("CPU", 0.0), size.get("GPU", 0.0)) for name, size in sizes]

    def _slots(self) -> int:
        return sum(self.share.fits(cpus, gpus) for _, cpus, gpus in self._machines())

    def staff(self, wanted: int) -> None:
        """See Crew.staff. Counts the machines anew each time it is short: they come and go."""
        if len(self.members) >= wanted:
            return
        for _ in range(min(wanted, self._slots()) - len(self.members)):
            actor = self.make.remote(self.run, self.share.threads)
            self.members.append(_Member(actor, actor.hello.remote()))

    def free(self) -> int:
        """See Crew.free."""
        return sum(member.ref is None for member in self.members)

    def hand(self, key: str, payload: Payload) -> None:
        """See Crew.hand."""
        member = next(member for member in self.members if member.ref is None)
        member.key, member.ref = key, member.actor.work.remote(payload)

    def answers(self, seconds: float) -> list[tuple[str, Answer]]:
        """See Crew.answers."""
        refs = {member.ref: member for member in self.members if member.ref is not None}
        ready, _ = self.ray.wait(list(refs), timeout=seconds)
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
            if member.node not in [name for name, _, _ in self._machines()]:
                return Failure("its machine was lost", "lost")
            return Failure(_death(error), "died", str(error))
        except errors.RayError as error:
            return Failure(one_line(error), "raised", str(error))

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
