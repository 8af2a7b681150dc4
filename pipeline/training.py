"""The loop around the step: reading, sampling, saving, and stopping in good order."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch

from cluster.tasks import told_to_stop
from pipeline.agreement import agree
from pipeline.job import Every
from pipeline.store import Checkpoints
from pipeline.tracking.jsonl import Lines, flat
from pipeline.tracking.trackers import Tracker
from pipeline.trainer import Trainer


class Stopped(KeyboardInterrupt):
    """Asked to stop: the checkpoint is written, the same command continues."""


@dataclass
class Run:
    """One run on disk and its mirror. `sample(step)` draws the grid of a step and returns where it lies."""

    folder: Path
    trainer: Trainer
    tracker: Tracker
    every: Every
    steps: int
    batch: int
    sample: Callable[[int], Path | None]
    at_step: Callable[[int], None] = lambda step: None
    checksum_every: int = field(default=0, kw_only=True)
    saved: Callable[[int, Path], None] = lambda step, checkpoint: None

    def __post_init__(self) -> None:
        self.lines = Lines(self.folder / "metrics.jsonl")
        self.checkpoints = Checkpoints(self.folder / "checkpoints")
        self.leads = self.trainer.engine.rank == 0

    def resume(self) -> bool:
        """Continue from the newest whole checkpoint, if there is one."""
        found = self.checkpoints.newest()
        if found is None:
            if self.leads:
                self.lines.truncate_after(-1)
            return False
        tensors, state = found
        self.trainer.nets.load(tensors)
        self.trainer.load(state)
        if self.leads:
            self.lines.truncate_after(self.trainer.step_number)
        return True

    def go(self) -> None:
        """Train to the last step. Raises Stopped after a signal, Diverged when the numbers do."""
        trainer = self.trainer
        if trainer.step_number == 0:
            self._draw()
        with asked_to_stop() as stop:
            began, first = time.perf_counter(), trainer.step_number
            while trainer.step_number < self.steps:
                trainer.step()
                step = trainer.step_number
                if step % self.every.log == 0 or step == self.steps:
                    self._log(time.perf_counter() - began, step - first)
                    began, first = time.perf_counter(), step
                if step % self.every.sample == 0 or step == self.steps:
                    self._draw()
                self.at_step(step)  # before the checkpoint: a run killed in between does it again
                if self.checksum_every and step % self.checksum_every == 0:
                    agree(trainer.nets.state(), trainer.engine, step)
                asked = self._agreed(stop.is_set())
                if step % self.every.save == 0 or step == self.steps or asked:
                    self._save()
                if asked and step < self.steps:
                    raise Stopped

    def note(self, step: int, readings: dict[str, float]) -> None:
        """Write numbers that were read off the pictures of a step."""
        if readings and self.leads:
            self.lines.append({"step": step, "probe": readings})
            self.tracker.log(step, {f"probe/{name}": value for name, value in readings.items()})

    def _agreed(self, asked: bool) -> bool:
        """True when any process was asked to stop: all of them then stop after the same step."""
        engine = self.trainer.engine
        if engine.world == 1:
            return asked
        return bool(engine.gather(torch.tensor([float(asked)], device=engine.device)).any())

    def _log(self, seconds: float, steps: int) -> None:
        step, terms = self.trainer.step_number, self.trainer.readings()
        rate = steps * self.batch / max(seconds, 1e-9)
        line = {
            "step": step,
            "images": step * self.batch,
            "seconds": round(seconds, 3),
            "images_per_second": round(rate, 2),
            "terms": terms,
        }
        if self.leads:
            self.lines.append(line)
            self.tracker.log(step, flat(line))

    def _draw(self) -> None:
        path = self.sample(self.trainer.step_number) if self.leads else None
        if path is not None:
            self.tracker.picture(self.trainer.step_number, path)

    def _save(self) -> None:
        """Write a checkpoint, if all processes hold the same bits. Each asks for the state: engines gather it."""
        trainer, state, tensors = self.trainer, self.trainer.state(), self.trainer.nets.state()
        agree(tensors, trainer.engine, trainer.step_number)
        if self.leads:
            path = self.checkpoints.save(trainer.step_number, tensors, state)
            self.saved(self.trainer.step_number, path)
        self.trainer.engine.barrier()


@contextmanager
def asked_to_stop() -> Iterator[threading.Event]:
    """An event that SIGINT and SIGTERM set, so that a step is never cut in two; in a thread, told_to_stop's."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield told_to_stop()
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, lambda *_: event.set())
    try:
        yield event
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
