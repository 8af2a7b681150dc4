"""`sweep`: a grid of methods, targets, shots and seeds, with a search over loss weights, on Ray."""

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

from pipeline.cli import arguments, resources_option, run
from pipeline.keeping import absolute, disk, in_store, mirror_option

EXAMPLE = "python -m pipeline.sweep configs/sweep_rssa.yaml grid.seed=[0,1]"


def main(argv: Sequence[str] | None = None) -> int:
    parser = arguments("sweep", EXAMPLE)
    parser.add_argument("config", nargs="?", help="a YAML file: configs/sweep_*.yaml")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="values over those of the file")
    parser.add_argument(
        "--runs", type=disk, help="folder of runs (default: runs; in a Ray job: ~/graft/runs)"
    )
    parser.add_argument(
        "--exports", type=Path, help="folder of exports (also s3://...; default: beside runs)"
    )
    mirror_option(parser)
    resources_option(parser)
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    parser.add_argument(
        "--explain", metavar="KEY", help="say what a key means, its range, default and source"
    )
    given = parser.parse_intermixed_args(argv)
    if given.config is None and given.explain is None:
        parser.error("the following arguments are required: config")
    from pipeline.grid import Sweep, explained

    if given.explain is not None:
        print(explained(Sweep, given.explain))
        return 0
    from pipeline.inputs import look_at_inputs
    from pipeline.problems import sweep_problems
    from pipeline.read import read
    from pipeline.resources import as_override

    sweep = read(given.config, [*as_override(given.resources), *given.overrides], Sweep, sweep_problems)
    look_at_inputs(sweep.job_of(cell) for cell in sweep.cells())
    runs = (given.runs or default_runs()).absolute()
    exports = absolute(given.exports or runs.parent / "exports")
    return run_sweep(sweep, runs, exports, given.device, in_store(given.mirror, sweep.name))


def default_runs() -> Path:
    """runs/ here; a submitted Ray job works in a copy that is thrown away, so there it is in the home folder."""
    return Path.home() / "graft" / "runs" if "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ else Path("runs")


def run_sweep(
    sweep: "Sweep",  # type: ignore[name-defined]  # noqa: F821
    runs: Path,
    exports: Path,
    device: str,
    store: str | None = None,
) -> int:
    """Search, grid, table, report, export; returns the exit code. store: the address of the sweep's copy."""
    import yaml
    from rich.console import Console

    from models.files import write_whole
    from pipeline.errors import CELLS_FAILED
    from pipeline.finish import chosen_trials, failed, finish, say_finished
    from pipeline.job import entry_of
    from pipeline.mirror import put_outcome
    from pipeline.store import alone
    from pipeline.sweeping import Sweeping, best_of, jobs_of, run_search
    from pipeline.tracking.card import tracking_uri
    from pipeline.tracking.trackers import TRACKERS

    console = Console(highlight=False)
    folder, jobs = runs / sweep.name, jobs_of(sweep)
    uri = tracking_uri() if sweep.tracker == "mlflow" else None
    with alone(folder, "give this sweep another name"):
        text = yaml.safe_dump(sweep.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
        write_whole(folder / "sweep.yaml", text.encode())
        for name in dict.fromkeys(job.method for job in jobs):
            first = next(job for job in jobs if job.method == name)
            print(entry_of(first).table(first.method_settings()).table(), end="\n\n")
        tracker = TRACKERS[sweep.tracker](folder, uri)
        begin = cache(partial(tracker.begin, sweep.name, {"cells": len(jobs), "grid": sweep.grid}))
        sweeping = Sweeping(sweep, folder, uri, device, store)
        with sweeping.one_ray():
            if sweep.search is not None:
                begin()
            jobs = jobs_of(sweep, run_search(sweeping, partial(console.print, soft_wrap=True)))
            results = _run_shown(sweeping, jobs, begin)
        begin()  # where every cell was done already
        best = best_of(results, sweep) if sweep.export == "best" else None
        ended = finish(sweep.name, folder, [job.id for job in jobs], best, exports, chosen_trials(folder))
        if store:
            put_outcome(folder, store)
        bad = failed(results)
        tracker.end("failed" if bad else "done", {"cells": len(results), "failed": len(bad)})
        say_finished(ended, folder, uri, console)
    if bad:
        console.print(f"{len(bad)} of {len(jobs)} cells failed: the table says which and why", markup=False)
    return CELLS_FAILED if bad else 0


def _run_shown(
    sweeping: "Sweeping",  # type: ignore[name-defined]  # noqa: F821
    jobs: Sequence[Any],
    begin: Callable[[], None],
) -> dict[str, dict[str, Any]]:
    """The grid with its progress; `begin` is called once a cell has begun, and again later.

    Not before: to open MLflow takes seconds of a core, and the start of the workers wants every one.
    """
    from pipeline.sweeping import run_grid
    from pipeline.tracking.progress import CellView, Progress

    views = [CellView(job.id, sweeping.folder / job.id, job.steps) for job in jobs]
    with Progress(views) as progress:

        def tick() -> None:
            progress.refresh()
            if any(view.folder.exists() for view in views):
                begin()

        return run_grid(replace(sweeping, tick=tick), list(jobs))


if __name__ == "__main__":
    raise SystemExit(run(main))
