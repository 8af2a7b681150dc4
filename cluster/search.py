"""Search over settings with Ray Tune: TPE from Optuna proposes, ASHA prunes at logged rungs."""

import contextlib
import logging
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from cluster.actors import slots_of, terminate
from cluster.conversation import Conversation, outcome
from cluster.dispatch import LAST_WORDS, Beat
from cluster.fleet import joined
from cluster.search_alone import search_here
from cluster.space import (
    FACTOR,
    Goal,
    Mode,
    Names,
    Report,
    SearchRun,
    Space,
    Trial,
    Values,
    budget,
    distributions,
    ranked,
)
from cluster.tasks import Answer, Payload, Share, settle_in, termination_interrupts

SETTINGS = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # the trials' own files are the record
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # a trial's first word is where it lives, not a score
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C and SIGTERM are answered alike, below
    "RAY_AIR_NEW_OUTPUT": "0",
}


def search(
    run: SearchRun,
    space: Space,
    *,
    trials: int,
    seed: int,
    mode: Mode,
    score_name: str,
    share: Share,
    rungs: Sequence[int],
    storage: Path,
    on_trial: Callable[[Trial], None],
    payload: Payload | None = None,
    known: Sequence[Trial] = (),
    address: str | None = None,
    backend: str = "ray",
    local: int | None = None,
    tick: Callable[[], None] | None = None,
    retries: int = 0,
) -> list[Trial]:
    """Try `trials` proposals from `space`; return all, best first, those that failed last.

    run: (payload, report) -> result, a callable of a module that workers can import. Its payload is
        `payload` with "id" (stable for the same values: a trial finds what it left) and "values" (dotted
        name -> value). It calls report(step, {score_name: value}) at logged steps, which may raise
        cluster.space.Pruned: let it through. Result: "status" ("done", else it failed, with a "reason") and
        "scores", a list of {"name", "value"}; without its score there the last reported one counts.
    rungs: ascending steps; of the trials that reach one, the better half goes on.
    known: trials of an earlier run of this search. Finished ones are told to the proposer and count among
        `trials`; those with status "started" run first.
    on_trial: called here with each trial as it starts (status "started") and as it ends.
    storage: an existing folder for Tune's own files, of no use afterwards.
    backend: "ray", or anything else for one trial after the other in this process.
    address, local, tick, retries: as for cluster.fleet.run_many.

    A trial that crashes, diverges or has no finite score is told to the proposer as the worst there is.
    Ctrl-C or SIGTERM: trials get ten seconds to save (KeyboardInterrupt in `run`), then KeyboardInterrupt.
    """
    goal = Goal(trials, seed, mode, score_name, tuple(sorted(rungs)), dict(payload or {}), tuple(known))
    if backend != "ray":
        return ranked(search_here(run, space, goal, on_trial, tick), goal)
    count = trials - len(goal.finished)
    if count <= 0:
        return ranked(goal.finished, goal)
    with _settings(), joined(address, local) as ray:
        slots = slots_of(ray, share)
        watch = _watcher(score_name, on_trial, Beat(tick))
        trainable = _trainable(run, share, goal)
        _fit(trainable, _proposals(space, goal), watch, goal, (count, slots), storage, retries)
        return ranked(goal.finished + watch.ended, goal)


@contextlib.contextmanager
def _settings() -> Iterator[None]:
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # what it would say, each trial's record says
    before = {name: os.environ.get(name) for name in SETTINGS}
    os.environ.update(SETTINGS)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _fit(
    trainable: Any,
    proposals: Any,
    watch: Any,
    goal: Goal,
    counts: tuple[int, int],
    storage: Path,
    retries: int,
) -> None:
    """counts: trials in all, and at once: Tune does not see what the workers of a trial hold."""
    from ray import tune
    from ray.tune.schedulers import ASHAScheduler

    halving = ASHAScheduler(
        time_attr="budget",
        metric="score",
        mode=goal.mode,
        grace_period=1,
        reduction_factor=FACTOR,
        max_t=budget(len(goal.rungs) + 2),  # beyond the end, which the trial itself says
    )
    tuner = tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            num_samples=counts[0],
            max_concurrent_trials=counts[1],
            search_alg=proposals,
            scheduler=halving,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(storage.resolve()),
            verbose=0,
            callbacks=[watch],
            checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
            failure_config=tune.FailureConfig(max_failures=retries),
        ),
    )
    with termination_interrupts():
        try:
            tuner.fit()
        except KeyboardInterrupt:
            watch.stop()
            raise


def _proposals(space: Space, goal: Goal) -> Any:
    import optuna
    from ray.tune.search.optuna import OptunaSearch

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    names = Names(goal.known)

    class Proposals(OptunaSearch):  # type: ignore[misc]
        """Proposals with ids; a trial without a score is told as the worst."""

        def suggest(self, trial_id: str) -> dict[str, Any] | None:
            values: Values | None = super().suggest(trial_id)
            return None if values is None else {"id": names.name(values), "values": values}

        def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
            if result.get("score") is not None:
                super().on_trial_result(trial_id, result)

        def on_trial_complete(
            self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
        ) -> None:
            if error or not result or result.get("score") is None:
                result = {"score": goal.worst}
            super().on_trial_complete(trial_id, result, False)

    proposals = Proposals(
        distributions(space),
        metric="score",
        mode=goal.mode,
        points_to_evaluate=goal.begun or None,
        sampler=goal.sampler(),
    )
    for trial in goal.finished:
        proposals.add_evaluated_point(trial.values, goal.told(trial))
    return proposals


def _trainable(run: SearchRun, share: Share, goal: Goal) -> Any:
    from ray import tune

    class OneTrial(tune.Trainable):  # type: ignore[misc]
        """A trial in a worker that is kept for the next one: a step is the way to the next rung."""

        talk: Conversation
        greeted: bool

        def setup(self, config: dict[str, Any]) -> None:
            os.environ.update(share.environment())
            settle_in(share.threads)
            signal.signal(signal.SIGTERM, self._leave)
            self._begin(config)

        def _begin(self, config: dict[str, Any]) -> None:
            self.greeted = False
            ranks = run if share.workers == 1 else partial(_on_workers, run, share)
            self.talk = Conversation(ranks, {**goal.payload, **config}, goal)

        def _leave(self, number: int, frame: FrameType | None) -> None:
            self.talk.end()
            os._exit(0)

        def step(self) -> dict[str, Any]:
            if self.greeted:
                return self.talk.advance()
            self.greeted = True  # first the driver learns where to send its SIGTERM
            return {"home": (os.getpid(), _node()), "budget": 0}

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            if not self.talk.end():
                return False
            self._begin(new_config)
            return True

        def cleanup(self) -> None:
            self.talk.end()

    if share.workers == 1:
        return tune.with_resources(OneTrial, {"cpu": share.cpus, "gpu": share.gpus})
    # Tune refuses a trial that holds nothing, and any part of a CPU could be the one that its workers wait for.
    return tune.with_resources(OneTrial, tune.PlacementGroupFactory([{"memory": 1}]))


def _on_workers(run: SearchRun, share: Share, payload: Payload, report: Report) -> Answer:
    from cluster.workers import on_workers  # Ray Train takes seconds to import

    return on_workers(run, payload, share, report)


def _node() -> str:
    import ray

    return str(ray.get_runtime_context().get_node_id())


def _watcher(score_name: str, on_trial: Callable[[Trial], None], beat: Beat) -> Any:
    import ray
    from ray import tune

    class Watch(tune.Callback):  # type: ignore[misc]
        """Tells of trials as they start and end, ticks, and can stop those that run."""

        def __init__(self) -> None:
            self.ended: list[Trial] = []
            self.homes: dict[str, tuple[Any, int, str]] = {}

        def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
            beat()

        def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            on_trial(Trial(trial.config["id"], trial.config["values"], "started"))

        def on_trial_result(
            self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
        ) -> None:
            if "home" in result:
                self.homes[trial.trial_id] = (trial.temporary_state.ray_actor, *result["home"])

        def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            self._settle(trial, outcome(trial.config, trial.last_result, score_name))

        def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            self._settle(trial, _crashed(trial))

        def _settle(self, trial: Any, outcome: Trial) -> None:
            self.homes.pop(trial.trial_id, None)
            self.ended.append(outcome)
            on_trial(outcome)

        def stop(self) -> None:
            """SIGTERM to the running trials, and LAST_WORDS seconds for them to end."""
            gone = []
            for actor, pid, node in self.homes.values():
                gone.append(actor.__ray_ready__.remote())  # answered only by the actor's end
                terminate(ray, pid, node)
            if gone:
                ray.wait(gone, num_returns=len(gone), timeout=LAST_WORDS)

    return Watch()


def _crashed(trial: Any) -> Trial:
    last: Mapping[str, Any] = trial.last_result or {}
    step = (last.get("last") or (None,))[0]
    said = "worker died (killed or crashed; out of memory, perhaps)"
    return Trial(trial.config["id"], trial.config["values"], "failed", None, step, said)
