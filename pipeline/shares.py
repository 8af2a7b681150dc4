"""What runs the cells of a sweep, and which of that cannot be; found before anything starts."""

from collections.abc import Iterator, Sequence

from pipeline.errors import GraftError
from pipeline.grid import Sweep
from pipeline.job import Job, Pretrain
from pipeline.nearest import did_you_mean
from pipeline.read import Problem
from pipeline.resources import Resources, applied


def resource_problems(sweep: Sweep, jobs: Sequence[Job | Pretrain]) -> Iterator[Problem]:
    """Names of resources that no cell has; workers without Ray; batches that cannot be dealt out."""
    rows = [job.method for job in jobs] + [job.variant for job in jobs if job.variant]
    for name in sweep.resources_of:
        if name not in rows:
            yield Problem(
                f"resources_of.{name}",
                f"'resources_of.{name}': no cell of the grid has this method{did_you_mean(name, rows)}",
            )
    found = {job.id: (_place(sweep, job), sweep.used_by(job), job) for job in jobs}
    for place, used, job in found.values():
        yield from _cannot_be(sweep, place, used, job)


def _place(sweep: Sweep, job: Job | Pretrain) -> str:
    """The key of the sweep that says what runs a job."""
    named = [name for name in (job.variant, job.method) if name in sweep.resources_of]
    return f"resources_of.{named[0]}" if named else "resources" if sweep.resources else "share"


def _cannot_be(sweep: Sweep, place: str, used: Resources, job: Job | Pretrain) -> Iterator[Problem]:
    backend = sweep.share.backend
    if used.workers > 1 and backend != "ray":
        yield Problem(
            f"{place}.workers",
            f"'{place}.workers' is {used.workers}, but share.backend: {backend} gives each cell one process; use "
            "backend: ray, or start a cell by itself with torchrun",
        )
    if used.workers > 1 and used.engine != "accelerate":
        yield Problem(
            f"{place}.engine",
            f"'{place}.engine' is {used.engine}, which was not shown to be exact in the workers of a sweep; use "
            "accelerate, or start a cell by itself with torchrun",
        )
    try:
        applied(job, used)
    except GraftError as error:
        yield Problem(f"{place}.workers", f"'{place}': {error}")
