"""What a search works on: ranges to propose from, trials with their scores, and the reports between.

A search space is a mapping from a setting's dotted name to one of
{"log": [low, high]}, {"uniform": [low, high]}, {"choice": [value, ...]}.
"""

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import optuna

from cluster.errors import MachineError
from cluster.tasks import Answer, Failure, Payload, Result

Space = Mapping[str, Mapping[str, Sequence[Any]]]
Values = dict[str, Any]
Mode = Literal["min", "max"]
Report = Callable[[int, Mapping[str, float]], None]
SearchRun = Callable[[Payload, Report], Answer]

WORST = 1e30  # a failed trial's score for the proposer: finite, since ASHA takes percentiles
FACTOR = 2  # of the trials that reach a rung, one in so many goes on


class Pruned(Exception):
    """Raised by `report`: this trial is behind the others. `run` lets it through."""


@dataclass(frozen=True)
class Trial:
    """One proposal and what became of it.

    status: "done", "pruned", "started" (not finished: it runs first when the search goes on), or what the
    result said instead of done ("diverged", "failed", ...). score: the last reported one; None for a failure,
    which counts as worst. step: where `score` was reported. result: what `run` returned, if it did.
    """

    id: str
    values: Values
    status: str
    score: float | None = None
    step: int | None = None
    reason: str | None = None
    result: Result | None = field(default=None, compare=False)

    @property
    def scored(self) -> bool:
        """Whether its score may stand beside others."""
        return self.status in ("done", "pruned") and self.score is not None


@dataclass(frozen=True)
class Goal:
    """What a search looks for and how long; see cluster.search.search for each."""

    trials: int
    seed: int
    mode: Mode
    score_name: str
    rungs: tuple[int, ...]
    payload: Payload
    known: tuple[Trial, ...]

    @property
    def finished(self) -> list[Trial]:
        """Known trials that need not run again."""
        return [trial for trial in self.known if trial.status != "started"]

    @property
    def begun(self) -> list[Values]:
        """Values of known trials that an interrupt cut short."""
        return [trial.values for trial in self.known if trial.status == "started"]

    @property
    def worst(self) -> float:
        """The score that a proposer is told for a trial without one."""
        return WORST if self.mode == "min" else -WORST

    def told(self, trial: Trial) -> float:
        """The score that a proposer learns from."""
        return trial.score if trial.scored and trial.score is not None else self.worst

    def sampler(self) -> optuna.samplers.TPESampler:
        """TPE. A search that goes on draws another stream, or its first proposals would come again."""
        startup = min(10, max(2, self.trials // 3))
        return optuna.samplers.TPESampler(seed=self.seed + len(self.finished), n_startup_trials=startup)


def distributions(space: Space) -> dict[str, optuna.distributions.BaseDistribution]:
    """The space as Optuna has it. Raises MachineError for a range that is none."""
    made: dict[str, optuna.distributions.BaseDistribution] = {}
    for name, rule in space.items():
        kind, given = next(iter(rule.items())) if len(rule) == 1 else ("", ())
        try:
            if kind == "choice":
                made[name] = optuna.distributions.CategoricalDistribution(list(given))
            elif kind in ("log", "uniform"):
                low, high = (float(bound) for bound in given)
                made[name] = optuna.distributions.FloatDistribution(low, high, log=kind == "log")
            else:
                raise ValueError("one of log, uniform and choice was expected")
        except (ValueError, TypeError) as error:
            raise MachineError(
                f"search over {name}: {dict(rule)} is no range ({error}); "
                "write log: [low, high], uniform: [low, high] or choice: [...]"
            ) from None
    if not made:
        raise MachineError("a search needs at least one setting to search over")
    return made


class Names:
    """Trial ids: a hash of the values, so that a proposal finds the files it left; twins are counted."""

    def __init__(self, known: Sequence[Trial]) -> None:
        self.finished = {trial.id for trial in known if trial.status != "started"}

    def name(self, values: Values) -> str:
        """The id of the next trial with these values."""
        digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]
        name, twin = digest, 2
        while name in self.finished:
            name, twin = f"{digest}-{twin}", twin + 1
        self.finished.add(name)
        return name


def rung_of(step: int, rungs: Sequence[int]) -> int:
    """How many of the rungs (ascending steps) lie at or below `step`."""
    return sum(rung <= step for rung in rungs)


def budget(rung: int) -> int:
    """Rungs on the clock of successive halving, which knows only powers of its factor: 1, 2, 4, ..."""
    return int(FACTOR ** (rung - 1))


def ended(
    name: str, values: Values, answer: Answer, score_name: str, last: tuple[int, float] | None
) -> Trial:
    """The trial that `answer` ends; `last` is its newest report (step, score), which a result may renew."""
    step, score = last or (None, None)
    if isinstance(answer, Failure):
        status = "started" if answer.kind == "stopped" else "failed"
        return Trial(name, values, status, None, step, answer.reason)
    status = str(answer.get("status", "done"))
    if status != "done":
        return Trial(name, values, status, None, step, answer.get("reason") or status, answer)
    for entry in answer.get("scores", ()):
        if entry["name"] == score_name:
            score = float(entry["value"])
    if score is None or not math.isfinite(score):
        return Trial(name, values, "failed", None, step, f"no finite score {score_name}", answer)
    return Trial(name, values, "done", score, step, None, answer)


def pruned(name: str, values: Values, last: tuple[int, float], score_name: str) -> Trial:
    """The trial that was sent away after its report `last` (step, score)."""
    step, score = last
    if not math.isfinite(score):
        return Trial(name, values, "failed", None, step, f"no finite score {score_name}")
    return Trial(name, values, "pruned", score, step, f"behind at step {step}")


def ranked(trials: Sequence[Trial], goal: Goal) -> list[Trial]:
    """Best first: finished, then pruned, then those without a score."""

    def place(trial: Trial) -> tuple[int, float]:
        group = 2 if not trial.scored else 0 if trial.status == "done" else 1
        return group, goal.told(trial) * (1 if goal.mode == "min" else -1)

    return sorted(trials, key=place)
