"""A trial that pushes its reports, turned into one that is asked for them, as a scheduler wants it."""

import ctypes
import math
import queue
import threading
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from cluster.dispatch import LAST_WORDS
from cluster.space import Goal, Pruned, SearchRun, Trial, budget, ended, pruned, rung_of
from cluster.tasks import Answer, Failure, Payload, attempt


class Conversation:
    """`run` in a thread of its own, held at each rung until the next `advance`.

    `run` is outside the main thread here: it cannot set signal handlers.
    """

    def __init__(self, run: SearchRun, payload: Payload, goal: Goal) -> None:
        self.goal = goal
        self.climbed = 0
        self.last: tuple[int, float] | None = None
        self.pruned = False
        self.said: queue.SimpleQueue[Answer | None] = queue.SimpleQueue()  # None: a rung was reported
        self.go: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self.thread = threading.Thread(target=self._speak, args=(run, payload), daemon=True)
        self.begun = False

    def _speak(self, run: SearchRun, payload: Payload) -> None:
        answer = attempt(lambda given: run(given, self.report), payload)
        self.said.put(answer)

    def report(self, step: int, scores: Mapping[str, float]) -> None:
        """Called by `run` at any logged step; steps between rungs pass. Raises Pruned."""
        if self.pruned:
            raise Pruned
        rung = rung_of(step, self.goal.rungs)
        self.last = (step, float(scores[self.goal.score_name]))
        if rung <= self.climbed:
            return
        self.climbed = rung
        self.said.put(None)
        if not self.go.get():
            raise Pruned

    def advance(self) -> dict[str, Any]:
        """Let it run to its next rung or to its end, and say what a scheduler and the driver want to know.

        "score" and "budget" (the rung, on the clock of halving) are the scheduler's; "last" is the newest
        report; at the end also "done", and "said" with "failure": what the run returned, or its Failure.
        """
        if self.begun:
            self.go.put(True)
        else:
            self.begun = True
            self.thread.start()
        answer = self.said.get()
        if answer is None:
            assert self.last is not None
            score = self.last[1] if math.isfinite(self.last[1]) else self.goal.worst
            return {"score": score, "budget": budget(self.climbed), "last": self.last}
        return {
            "score": self.goal.told(ended("", {}, answer, self.goal.score_name, self.last)),
            "budget": budget(len(self.goal.rungs) + 1),
            "last": self.last,
            "done": True,
            "said": asdict(answer) if isinstance(answer, Failure) else answer,
            "failure": isinstance(answer, Failure),
        }

    def end(self) -> bool:
        """Stop it: Pruned at a rung, KeyboardInterrupt between two. True once it is gone."""
        self.pruned = True
        if self.thread.is_alive():
            self.go.put(False)
            self.thread.join(0.2)
        if self.thread.is_alive() and self.thread.ident is not None:
            ctypes.pythonapi.PyThreadState_SetAsyncExc(
                ctypes.c_ulong(self.thread.ident), ctypes.py_object(KeyboardInterrupt)
            )
            self.thread.join(LAST_WORDS)
        return not self.thread.is_alive()


def outcome(config: Mapping[str, Any], result: Mapping[str, Any], score_name: str) -> Trial:
    """The trial that ended with `result`, from `advance`; config has its "id" and "values"."""
    last = tuple(result["last"]) if result["last"] else None
    if "said" in result:
        answer = Failure(**result["said"]) if result["failure"] else result["said"]
        return ended(config["id"], config["values"], answer, score_name, last)
    assert last is not None
    return pruned(config["id"], config["values"], last, score_name)
