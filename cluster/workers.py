"""One task on several workers: placed all together or not at all, and started anew where one is lost.

Ray Train places, starts and watches the workers, from within the trial; the trial holds no CPU itself, or two
trials could each hold the last one that the other waits for. Legend: rank 0 is the worker that tracks and saves.
"""

import asyncio
import logging
import os
import tempfile
import threading
import traceback
from collections.abc import Mapping
from typing import Any, Literal

from cluster.dispatch import LAST_WORDS, MOVES
from cluster.errors import MachineError
from cluster.space import Pruned, Report, SearchRun
from cluster.tasks import Answer, Failure, Payload, Run, Share, one_line, told_to_stop

TURN = 0.2  # seconds between two looks at whether the workers are through
SETTINGS = {
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",  # by itself Ray Train looks every 2 s for who is done, or gone
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # relative paths are the task's own affair
    "RAY_TRAIN_ENABLE_CONTROLLER_STRUCTURED_LOGGING": "0",
    "RAY_TRAIN_ENABLE_WORKER_STRUCTURED_LOGGING": "0",
}
Way = Literal["grid", "search"]


def on_workers(run: Run | SearchRun, payload: Payload, share: Share, report: Report | None = None) -> Answer:
    """What `run` gave on rank 0 of `share.workers` workers, or why there is nothing. Called in a Ray worker.

    run: payload -> result, or with `report` (payload, report) -> result. Every rank calls it in a process of its
        own, with RANK, WORLD_SIZE and a process group (NCCL with GPUs, else gloo) as under torchrun.
    report: called here, at the pace of rank 0; where it raises Pruned, every rank's report does.

    Where a worker or its machine is lost, all start again, MOVES times at most: the task goes on from what it left
    on disk. A task that raises is not tried again. KeyboardInterrupt here: the event of `told_to_stop` is set on
    rank 0, which has LAST_WORDS seconds, and the answer is a Failure that says "stopped".
    """
    import ray

    here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
        ray.get_runtime_context().get_node_id(), soft=False
    )
    desk = ray.remote(Desk).options(num_cpus=0, scheduling_strategy=here).remote()
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    with tempfile.TemporaryDirectory(prefix="graft-workers-") as storage:
        crew = _Fitting(_trainer(run, payload, share, desk, storage, "search" if report else "grid"))
        try:
            _listen(ray, desk, crew, report)
        except KeyboardInterrupt:
            ray.get(desk.stop.remote())
            crew.join(LAST_WORDS)
            return Failure("stopped", "stopped")
        finally:
            answer: Answer | None = ray.get(desk.failure.remote())
            ray.kill(desk)
    return answer or crew.answer()


class Desk:
    """Where a trial and its rank 0 leave word for each other: reports, verdicts, failures, the word to stop."""

    def __init__(self) -> None:
        self.reports: asyncio.Queue[tuple[int, dict[str, float]]] = asyncio.Queue()
        self.verdicts: asyncio.Queue[bool] = asyncio.Queue()
        self.stopping = asyncio.Event()
        self.failed: Failure | None = None

    async def ask(self, step: int, scores: dict[str, float]) -> bool:
        """Rank 0 reports, and waits to hear whether to go on."""
        self.reports.put_nowait((step, scores))
        return await self.verdicts.get()

    async def asked(self) -> tuple[int, dict[str, float]]:
        """The next report."""
        return await self.reports.get()

    async def tell(self, go_on: bool) -> None:
        """The verdict on it."""
        self.verdicts.put_nowait(go_on)

    async def stop(self) -> None:
        """All are to save and stop."""
        self.stopping.set()

    async def stopped(self) -> bool:
        """True as soon as that was said."""
        return await self.stopping.wait()

    async def fail(self, failure: Failure) -> None:
        """A rank raised; the first to say so is the cause, the others fell over it."""
        self.failed = self.failed or failure

    async def failure(self) -> Failure | None:
        """What the first of them said."""
        return self.failed


class _Fitting:
    """A TorchTrainer at work in a thread, so that this one can listen."""

    def __init__(self, trainer: Any) -> None:
        self.result: Any = None
        self.error: Exception | None = None
        self.thread = threading.Thread(target=self._fit, args=(trainer,), daemon=True)
        self.thread.start()

    def _fit(self, trainer: Any) -> None:
        try:
            self.result = trainer.fit()
        except Exception as error:
            self.error = error

    @property
    def busy(self) -> bool:
        return self.thread.is_alive()

    def join(self, seconds: float) -> None:
        self.thread.join(seconds)

    def answer(self) -> Answer:
        """What rank 0 returned; else that the workers died too often."""
        if self.error is not None:
            return Failure(f"its workers died, {MOVES + 1} times: {one_line(self.error)}", "died")
        answer: Answer = self.result.return_value
        return answer


def _trainer(run: Run | SearchRun, payload: Payload, share: Share, desk: Any, storage: str, way: Way) -> Any:
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    logging.getLogger("ray.train").setLevel(logging.ERROR)  # what went wrong, the answer says
    config = {"run": run, "payload": dict(payload), "threads": share.threads, "desk": desk, "way": way}
    return TorchTrainer(
        rank_of_task,
        train_loop_config=config,
        torch_config=TorchConfig(backend="nccl" if share.gpus else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=share.workers,
            use_gpu=bool(share.gpus),
            resources_per_worker={"CPU": share.cpus} | ({"GPU": share.gpus} if share.gpus else {}),
        ),
        run_config=RunConfig(
            name="workers",
            storage_path=storage,  # stays empty: the task keeps its own checkpoints
            failure_config=FailureConfig(max_failures=MOVES),
            worker_runtime_env={"env_vars": share.environment()},
        ),
    )


def _listen(ray: Any, desk: Any, crew: _Fitting, report: Report | None) -> None:
    """Pass reports on and verdicts back until the workers are through."""
    waiting = [desk.asked.remote()]
    while crew.busy:
        if report is None:
            crew.join(TURN)
            continue
        ready, _ = ray.wait(waiting, timeout=TURN)
        if not ready:
            continue
        step, scores = ray.get(ready[0])
        try:
            report(step, scores)
        except Pruned:
            ray.get(desk.tell.remote(False))
            crew.join(LAST_WORDS)
            raise
        ray.get(desk.tell.remote(True))
        waiting = [desk.asked.remote()]


def rank_of_task(config: Mapping[str, Any]) -> Answer | None:
    """A worker's part, in the thread that Ray Train gives it.

    A task that raises is written down at the desk, then ends the group: the others may wait for this rank in a
    collective. A MachineError is what those others then meet, or after a worker was killed: Ray Train starts anew.
    """
    import ray
    import torch

    torch.set_num_threads(config["threads"])
    desk, told = config["desk"], told_to_stop()
    if ray.get(desk.failure.remote()) is not None:
        return None  # Ray Train tries again what cannot be mended so
    rank = int(os.environ["RANK"])
    if rank == 0:
        threading.Thread(target=_pass_on, args=(ray, desk, told), daemon=True).start()
    try:
        if config["way"] == "grid":
            result: Any = config["run"](config["payload"])
        else:
            result = config["run"](config["payload"], _reporter(ray, desk, rank))
    except KeyboardInterrupt:
        return Failure("stopped", "stopped")
    except Pruned:
        return Failure("pruned", "stopped")
    except MachineError:
        raise
    except Exception as error:
        ray.get(desk.fail.remote(Failure(one_line(error), "raised", traceback.format_exc())))
        raise
    return result if rank == 0 else None


def _pass_on(ray: Any, desk: Any, told: threading.Event) -> None:
    if ray.get(desk.stopped.remote()):
        told.set()


def _reporter(ray: Any, desk: Any, rank: int) -> Report:
    """Every rank calls it; rank 0 asks the trial, and all hear the answer."""
    import torch.distributed as dist

    def report(step: int, scores: Mapping[str, float]) -> None:
        verdict = [ray.get(desk.ask.remote(step, dict(scores))) if rank == 0 else None]
        try:
            dist.broadcast_object_list(verdict)
        except RuntimeError as error:
            raise MachineError(f"rank {rank} heard no verdict: a rank is gone ({one_line(error)})") from error
        if not verdict[0]:
            raise Pruned

    return report
