"""The search without Ray: one trial after the other in this process, Optuna proposing and halving."""

import math
from collections.abc import Callable, Mapping

import optuna

from cluster.dispatch import Beat
from cluster.space import (
    FACTOR,
    Goal,
    Names,
    Pruned,
    SearchRun,
    Space,
    Trial,
    budget,
    distributions,
    ended,
    pruned,
    rung_of,
)
from cluster.tasks import Answer, Payload, attempt, termination_interrupts


def search_here(
    run: SearchRun,
    space: Space,
    goal: Goal,
    on_trial: Callable[[Trial], None],
    tick: Callable[[], None] | None,
) -> list[Trial]:
    """The finished trials, old and new; see cluster.search.search.

    Halving is asynchronous here too: a trial is held against those before it.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # it announces every trial
    rules = distributions(space)
    study = optuna.create_study(
        direction="minimize" if goal.mode == "min" else "maximize",
        sampler=goal.sampler(),
        pruner=optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=FACTOR),
    )
    for trial in goal.finished:
        study.add_trial(optuna.create_trial(params=trial.values, distributions=rules, value=goal.told(trial)))
    for values in goal.begun:
        study.enqueue_trial(values)
    names, beat, new = Names(goal.known), Beat(tick), []
    with termination_interrupts():
        for _ in range(goal.trials - len(goal.finished)):
            asked = study.ask(rules)
            name = names.name(asked.params)
            on_trial(Trial(name, asked.params, "started"))
            turn = _Turn(asked, goal, beat)
            answer = turn.take(run, {**goal.payload, "id": name, "values": asked.params})
            trial = turn.ended(name, answer)
            on_trial(trial)
            if trial.status == "started":
                raise KeyboardInterrupt
            study.tell(asked, goal.told(trial))
            new.append(trial)
            beat()
    return goal.finished + new


class _Turn:
    """One trial: its reports, and whether it was sent away."""

    def __init__(self, asked: optuna.Trial, goal: Goal, beat: Beat) -> None:
        self.asked = asked
        self.goal = goal
        self.beat = beat
        self.climbed = 0
        self.last: tuple[int, float] | None = None
        self.pruned = False

    def take(self, run: SearchRun, payload: Payload) -> Answer:
        return attempt(lambda given: run(given, self.report), payload)

    def report(self, step: int, scores: Mapping[str, float]) -> None:
        score = float(scores[self.goal.score_name])
        self.last = (step, score)
        self.beat()
        rung = rung_of(step, self.goal.rungs)
        if rung <= self.climbed:
            return
        self.climbed = rung
        self.asked.report(score if math.isfinite(score) else self.goal.worst, budget(rung))
        if self.asked.should_prune():
            self.pruned = True
            raise Pruned

    def ended(self, name: str, answer: Answer) -> Trial:
        if self.pruned and self.last:
            return pruned(name, self.asked.params, self.last, self.goal.score_name)
        return ended(name, self.asked.params, answer, self.goal.score_name, self.last)
