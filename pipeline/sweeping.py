"""A sweep: search the weights, run the grid, skip what is done."""

import errno
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from cluster.fleet import joined, run_many
from cluster.objects import url_of
from cluster.search import search
from cluster.space import Trial
from cluster.tasks import Failure, Share
from pipeline.cell import finished, result_of
from pipeline.errors import CONFIG, ENVIRONMENT, GraftError
from pipeline.grid import Sweep
from pipeline.job import Job, Pretrain, digest_of
from pipeline.mirror import put_ledgers, take_ledgers
from pipeline.problems import problems
from pipeline.resources import applied
from pipeline.store import read_json, write_json
from pipeline.task import job_from, run_payload, run_trial

Chosen = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Sweeping:
    """A sweep on disk: its folder, what every worker is told, and whom it tells."""

    sweep: Sweep
    folder: Path
    uri: str | None
    device: str
    store: str | None = None
    tick: Callable[[], None] = field(default=lambda: None)

    def payload(self, job: Job | Pretrain, folder: Path) -> dict[str, Any]:
        """What a worker needs for one cell."""
        return {
            "kind": type(job).__name__,
            "job": job.model_dump(mode="json"),
            "folder": str(folder),
            "cache": str(self.folder.parent / "cache"),
            "tracker": self.sweep.tracker,
            "uri": self.uri,
            "parent": str(self.folder),
            "device": self.device,
            "resources": self.sweep.used_by(job).model_dump(),
            "here": str(Path.cwd()),
            "store": self.store and url_of(self.store, job.id),
        }

    def one_ray(self) -> AbstractContextManager[Any]:
        """Within, searches and grid share one Ray, where a search is still to be run: each would start its own."""
        searched = self.sweep.search is None or (self.folder / "search" / "chosen.json").is_file()
        return nullcontext() if searched or self.sweep.share.backend != "ray" else joined()

    def share_of(self, job: Job | Pretrain) -> Share:
        """What a job's trial may use."""
        used = self.sweep.used_by(job)
        return Share(used.cpus, used.gpus, used.workers, used.threads)


def jobs_of(sweep: Sweep, chosen: Chosen | None = None) -> list[Job | Pretrain]:
    """Every cell of the grid, checked, with what the search chose for its method and target."""
    jobs = []
    for cell in sweep.cells():
        try:
            plain = sweep.job_of(cell)
            job = sweep.job_of(cell, (chosen or {}).get(sweep.group_of(plain)))
        except (ValidationError, KeyError, TypeError) as error:
            first = error.errors()[0] if isinstance(error, ValidationError) else None
            said = f"{'.'.join(map(str, first['loc']))}: {first['msg']}" if first else f"no such key {error}"
            raise GraftError(f"grid: the cell {json.dumps(cell)} cannot be: {said}", CONFIG) from error
        for problem in problems(job):
            raise GraftError(f"grid: the cell {json.dumps(cell)}: {problem.key}: {problem.sentence}", CONFIG)
        jobs.append(applied(job, sweep.used_by(job)))
    if not jobs:
        raise GraftError("grid: there is no cell in it; exclude takes all of them away", CONFIG)
    return list({job.id: job for job in jobs}.values())


def run_grid(sweeping: Sweeping, jobs: list[Job | Pretrain]) -> dict[str, dict[str, Any]]:
    """Run every cell that is not finished; returns all results by id."""
    results = {job.id: finished(sweeping.folder / job.id) for job in jobs}
    waiting = [job for job in jobs if results[job.id] is None]
    by_id = {job.id: job for job in jobs}
    for job in waiting:
        (sweeping.folder / job.id / "result.json").unlink(missing_ok=True)  # of a try that failed

    def ended(key: str, answer: Any) -> None:
        if isinstance(answer, Failure):
            job, folder = by_id[key], sweeping.folder / key
            if os.strerror(errno.ENOSPC) in answer.detail:  # of no cell: it ends the sweep
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))
            status = "stopped" if answer.kind == "stopped" else "failed"
            answer = result_of(job, status, answer.reason, None, folder)
            folder.mkdir(parents=True, exist_ok=True)
            if finished(folder) is None:  # another command of this cell may have brought it to its end
                write_json(folder / "result.json", answer)
        results[key] = answer

    run_many(
        run_payload,
        [(job.id, sweeping.payload(job, sweeping.folder / job.id)) for job in waiting],
        share=sweeping.share_of(jobs[0]),
        shares={job.id: sweeping.share_of(job) for job in waiting},
        on_result=ended,
        backend=sweeping.sweep.share.backend,
        tick=sweeping.tick,
        retries=sweeping.sweep.share.retries,
    )
    return {key: result for key, result in results.items() if result is not None}


def run_search(sweeping: Sweeping, say: Callable[[str], None]) -> Chosen:
    """Search every method that has a space, for every target and number of shots of the grid."""
    settings = sweeping.sweep.search
    if settings is None:
        return {}
    sweep, ledgers = sweeping.sweep, sweeping.store and url_of(sweeping.store, "search")
    if ledgers:
        take_ledgers(sweeping.folder / "search", ledgers)
    groups = {sweep.group_of(job): job for job in jobs_of(sweep) if sweep.space_of(job)}
    chosen: Chosen = {}
    for name, job in groups.items():
        trials = _search_group(sweeping, name, job, say)
        done = [trial for trial in trials if trial.status == "done"]
        if not done:
            raise GraftError(
                f"search of {name}: no trial finished; see {sweeping.folder / 'search'}", ENVIRONMENT
            )
        chosen[name] = {key: float(number) for key, number in done[0].values.items()}
        words = ", ".join(f"{key} {number:.4g}" for key, number in chosen[name].items())
        say(f"search of {name}: {len(done)} of {len(trials)} trials to the end; chosen {words}")
    write_json(sweeping.folder / "search" / "chosen.json", chosen)
    if ledgers:
        put_ledgers(sweeping.folder / "search", ledgers)
    return chosen


def _search_group(
    sweeping: Sweeping, name: str, job: Job | Pretrain, say: Callable[[str], None]
) -> list[Trial]:
    settings, folder = sweeping.sweep.search, sweeping.folder / "search" / name
    space = sweeping.sweep.space_of(job)
    assert settings is not None
    folder.mkdir(parents=True, exist_ok=True)
    tried = job_from(type(job).__name__, {**job.model_dump(), "seed": settings.seed, "steps": settings.steps})
    step = settings.steps // settings.rungs
    rungs = [step * (i + 1) for i in range(settings.rungs)]
    score = sweeping.sweep.score.model_dump()
    known = _known(folder, digest_of([tried.digest, space, rungs, score]))

    def keep(trial: Trial) -> None:
        known[trial.id] = trial
        write_json(folder / "trials.json", [vars(each) for each in known.values()])

    say(f"search of {name}: {settings.trials} trials of {settings.steps} steps")
    payload = sweeping.payload(tried, folder)
    payload |= {"rungs": rungs, "score": score, "store": None}  # of trials the ledger alone is kept
    with tempfile.TemporaryDirectory(prefix="graft-search-") as storage:  # Tune pickles: never among the runs
        return search(
            run_trial,
            space,
            trials=settings.trials,
            seed=settings.seed,
            mode="max",
            score_name="score",
            share=sweeping.share_of(tried),
            rungs=rungs,
            storage=Path(storage),
            on_trial=keep,
            payload=payload,
            known=list(known.values()),
            backend=sweeping.sweep.share.backend,
            tick=sweeping.tick,
        )


def _known(folder: Path, asked: str) -> dict[str, Trial]:
    """Trials of an earlier run of this search, by id; none if something else was asked for then."""
    ledger, mark = folder / "trials.json", folder / "asked.json"
    if mark.is_file() and read_json(mark) == asked:
        return {str(entry["id"]): Trial(**entry) for entry in (read_json(ledger) if ledger.is_file() else [])}
    ledger.unlink(missing_ok=True)
    write_json(mark, asked)
    return {}


def best_of(results: Mapping[str, Mapping[str, Any]], sweep: Sweep) -> str | None:
    """The id of the finished cell with the highest score, or None."""
    from pipeline.task import worth

    weights = sweep.score.model_dump()
    worths = {
        key: worth({s["name"]: s["value"] for s in result["scores"] if s["value"] is not None}, weights)
        for key, result in results.items()
        if result["status"] == "done"
    }
    return max(worths, key=lambda key: worths[key]) if worths else None
