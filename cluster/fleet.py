"""Many tasks over many machines with Ray, or over this one without it: one function, `run_many`."""

import contextlib
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal

from cluster.actors import RayCrew
from cluster.dispatch import Crew, dispatch
from cluster.errors import MachineError
from cluster.head import watched
from cluster.local import HereCrew, ProcessCrew
from cluster.ray_settings import check_reachable, settle_variables
from cluster.ray_token import check_admitted, own_token
from cluster.tasks import Answer, OnResult, Run, Share, Task, one_line, own_cpus

Backend = Literal["ray", "processes", "here"]
OBJECT_STORE = 128 * 2**20  # bytes; tasks and results are small dictionaries, pictures go through files


def run_many(
    run: Run,
    tasks: Iterable[Task],
    *,
    share: Share,
    shares: Mapping[str, Share] | None = None,
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
        With share.workers > 1 see cluster.workers.on_workers: each worker calls it.
    share: what a task may use; shares: by id, where one may use something else.
    on_result: called here with (id, result or Failure) as each ends, in any order.
    address: a Ray cluster to join; without it, RAY_ADDRESS; without that a Ray of our own, on loopback.
    local: CPUs to count on this machine, where it is used alone; None: as many as this process may use.
    tick: called in this process about twice a second; with "here" from another thread, while a task runs.
    retries: further tries for a task that failed. A task whose machine was lost moves on without them.

    Ctrl-C or SIGTERM: see cluster.dispatch. Raises MachineError if no machine can hold a task.
    """
    listed = list(tasks)
    if len({key for key, _ in listed}) < len(listed):
        raise ValueError("two tasks have the same id")
    if not listed:
        return {}
    own = {key: (shares or {}).get(key, share) for key, _ in listed}
    if backend == "ray":
        with joined(address, local) as ray:
            return dispatch(RayCrew(ray, run, own), listed, on_result=on_result, tick=tick, retries=retries)
    for each in own.values():
        if each.workers > 1:
            raise MachineError(
                f"a task asks for {each}, and backend: {backend} gives each task one process; use backend: ray, or "
                f"start it by itself, by torchrun with --nproc-per-node {each.workers}"
            )
    answers: dict[str, Answer] = {}
    for each in dict.fromkeys(own.values()):  # without Ray nobody counts what different tasks hold together
        crew: Crew = HereCrew(run, tick) if backend == "here" else ProcessCrew(run, each, local)
        alike = [(key, payload) for key, payload in listed if own[key] == each]
        answers |= dispatch(crew, alike, on_result=on_result, tick=tick, retries=retries)
    return answers


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
    token = own_token()
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
        check_reachable(address)
        check_admitted(address, token)
        _join(ray, address, quiet)
    try:
        with _silent_raylet(), watched(ray):
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
    try:
        ray.init(address=address, **quiet)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise MachineError(
            f"no Ray cluster could be joined at {address} ({one_line(error)}); check that it runs there, with "
            "the Ray and the Python of this machine"
        ) from error
