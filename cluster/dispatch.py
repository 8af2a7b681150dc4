"""Many tasks over a few workers: the loop that is the same with Ray, with processes and with neither."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from cluster.tasks import Answer, Failure, OnResult, Payload, Task, termination_interrupts

BEAT = 0.5  # seconds between two ticks, and the longest wait for an answer
LAST_WORDS = 10.0  # seconds that workers get to write a checkpoint once the run is told to stop
MOVES = 3  # a task whose machine was lost starts again elsewhere, so many times


class Crew(Protocol):
    """Workers, each busy with at most one task."""

    def staff(self, keys: Sequence[str]) -> None:
        """Have workers for these tasks, as far as the machines go; they may still be on their way."""

    def free(self, key: str) -> bool:
        """Whether a worker could take this task now."""

    def hand(self, key: str, payload: Payload) -> None:
        """Give a task to a free worker."""

    def answers(self, seconds: float) -> list[tuple[str, Answer]]:
        """What came back, waiting up to `seconds` for the first. A worker that died answers a Failure."""

    def interrupt(self) -> None:
        """Tell all busy workers to save and stop: KeyboardInterrupt in the task."""

    def close(self) -> None:
        """End all workers, whatever they do."""


def dispatch(
    crew: Crew,
    tasks: Iterable[Task],
    *,
    on_result: OnResult,
    tick: Callable[[], None] | None,
    retries: int,
) -> dict[str, Answer]:
    """Run all tasks and return their answers by id; `on_result` sees each as it comes, in any order.

    Ctrl-C and SIGTERM: busy workers are interrupted, get LAST_WORDS seconds, and what they answer goes to
    `on_result`; tasks not begun are not answered; then KeyboardInterrupt is raised.
    """
    waiting = list(tasks)
    running: dict[str, Payload] = {}
    tries: Counter[str] = Counter()
    done: dict[str, Answer] = {}

    def settle(key: str, answer: Answer) -> None:
        del running[key]
        done[key] = answer
        on_result(key, answer)

    beat = Beat(tick)
    with termination_interrupts():
        try:
            while waiting or running:
                crew.staff([*running, *(key for key, _ in waiting)])
                for key, payload in [task for task in waiting if crew.free(task[0])]:
                    if not crew.free(key):
                        continue
                    waiting.remove((key, payload))
                    running[key] = payload
                    tries[key] += 1
                    crew.hand(key, payload)
                for key, answer in crew.answers(BEAT):
                    if _again(answer, tries[key], retries):
                        waiting.append((key, running.pop(key)))
                    else:
                        settle(key, answer)
                beat()
        except KeyboardInterrupt:
            _last_words(crew, running, settle, beat)
            raise
        finally:
            crew.close()
    return done


def _last_words(
    crew: Crew, running: dict[str, Payload], settle: Callable[[str, Answer], None], beat: "Beat"
) -> None:
    """Interrupt the busy workers, and hear those who answer in time."""
    crew.interrupt()
    deadline = time.monotonic() + LAST_WORDS
    while running and time.monotonic() < deadline:
        for key, answer in crew.answers(BEAT):
            settle(key, answer)
        beat()
    for key in list(running):
        settle(key, Failure("stopped before it could save", "stopped"))


def _again(answer: Answer, tries: int, retries: int) -> bool:
    if not isinstance(answer, Failure):
        return False
    moved = answer.kind in ("lost", "stopped")  # stopped without us: somebody is clearing that machine
    return tries <= (max(retries, MOVES) if moved else retries)


class Beat:
    """Calls `tick` at most once in BEAT seconds, however fast answers come."""

    def __init__(self, tick: Callable[[], None] | None) -> None:
        self.tick = tick
        self.due = 0.0

    def __call__(self) -> None:
        if self.tick and time.monotonic() >= self.due:
            self.tick()
            self.due = time.monotonic() + BEAT
