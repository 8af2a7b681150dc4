"""How a job runs, not what it computes: its engine, its processes, its share of a machine.

Nothing here is in a job's digest: with other workers, another engine or the batch in parts a run gives the same
numbers up to rounding. Precision is the exception. bf16 changes the numbers, so `applied` hands it to the job, whose
id then says so.

What is accepted together was shown together, for every method: tests/test_combined.py, tests/test_deepspeed.py.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypeVar

import torch
from pydantic import Field, field_validator, model_validator

from cluster.engine import pick_device
from pipeline.errors import GraftError
from pipeline.job import Job, Pretrain, entry_of
from pipeline.methods.settings import Frozen, value
from pipeline.nearest import did_you_mean
from pipeline.phase import Method
from pipeline.precision import look_at_precision
from pipeline.read import read, read_words

CONFIGS = Path("configs/resources")
PREFIX = "resources."
# Every row of their tables gives every parameter of what it trains a gradient, and none clips it.
DEALT_OUT = ("stargan2", "dcgan", "bicycle")
J = TypeVar("J", bound=Job | Pretrain)


class Resources(Frozen):
    """What runs a job: the engine, its workers, and what each of them may use."""

    engine: Literal["accelerate", "deepspeed"] = value(
        "accelerate", "who holds the processes of a job together", "Graft"
    )
    zero: int = Field(
        0,
        description="what DeepSpeed deals out over the workers: 0 nothing, 1 the moments of Adam",
        json_schema_extra={"source": "DeepSpeed", "unit": ""},
    )
    precision: Literal["fp32", "bf16"] | None = value(
        None, "of the networks' forward and backward; null: as the job's config says", "Graft"
    )
    accumulate: int = value(
        1, "parts that a worker takes its share of the batch in, one after the other", "Graft", "parts", low=1
    )
    workers: int = value(1, "processes of the job", "Graft", "processes", low=1)
    cpus: float = value(1.0, "CPUs of a worker, also as a fraction", "Graft", low=0.1)
    gpus: float = value(0.0, "GPUs of a worker, also as a fraction", "Graft", low=0)
    threads: int = value(
        0, "threads a worker computes with; 0: as many as its whole CPUs, at least 1", "Graft", low=0
    )
    checksum_every: int = value(
        500,
        "compare all workers' networks and moments on every k-th step; 0: only with checkpoints",
        "Graft",
        "steps",
        low=0,
    )

    @property
    def computing_threads(self) -> int:
        """Threads of one worker, >= 1."""
        return self.threads or max(1, int(self.cpus))

    @field_validator("zero")
    @classmethod
    def _stages_that_were_shown(cls, zero: int) -> int:
        if zero in (2, 3):
            raise ValueError(
                "ZeRO 2 takes gradients away during the backward, before it is known whether all of them are finite; "
                "use 0 or 1"
                if zero == 2
                else "ZeRO 3 takes parameters apart before the second backward of a gradient penalty needs them; use "
                "0 or 1"
            )
        if zero not in (0, 1):
            raise ValueError(f"there is no ZeRO {zero}; use 0 or 1")
        return zero

    @model_validator(mode="after")
    def _proven(self) -> "Resources":
        if self.zero and self.engine != "deepspeed":
            raise ValueError(f"zero: {self.zero} is a stage of DeepSpeed; set engine: deepspeed, or zero: 0")
        if self.gpus > 1 and self.gpus != int(self.gpus):
            raise ValueError(
                f"gpus: {self.gpus:g} is neither a fraction of one GPU nor a whole number of them"
            )
        if self.workers > 1 and 0 < self.gpus < 1:
            raise ValueError(
                f"{self.workers} workers with {self.gpus:g} of a GPU each would share one, which NCCL refuses; "
                "give each gpus: 1, or use one worker"
            )
        return self


def applied(job: J, resources: Resources) -> J:
    """The job with the precision that the resources ask for. GraftError where they cannot run it as one process does.

    The job is one that `problems` has found nothing wrong with.
    """
    settings = job.method_settings()
    group = min(job.batch, getattr(settings, "group", getattr(settings, "stddev_group", 1)))
    shares = resources.workers * resources.accumulate * group
    if job.batch % shares:
        raise GraftError(
            f"a batch of {job.batch} cannot be dealt out to {resources.workers} workers x {resources.accumulate} "
            f"parts in groups of {group}; use a multiple of {shares} as batch, or other resources.workers or "
            "resources.accumulate"
        )
    method = entry_of(job).table(settings)
    if resources.accumulate > 1:
        _look_at_parts(method)
    if resources.zero:
        _look_at_zero(job.method)
    if resources.engine == "deepspeed" and "bf16" in (resources.precision, job.precision):
        raise GraftError("bf16 was shown to be right with Accelerate alone; set resources.engine: accelerate")
    if resources.precision is None:
        return job
    changed = job.model_copy(update={"precision": resources.precision})
    assert isinstance(changed, type(job))
    return changed


def _look_at_parts(method: Method) -> None:
    """GraftError where a term compares the samples of all parts with each other."""
    terms = [
        f"{phase.name}/{term.name}"
        for phase in method.phases
        for term in phase.terms
        if term.across and not phase.whole
    ]
    if terms:
        raise GraftError(
            f"{', '.join(terms)} of {method.name} compares all pictures of the batch with each other, which a batch in "
            "parts never holds; set resources.accumulate: 1 (more workers are exact), or the term's weight to 0"
        )


def _look_at_zero(method: str) -> None:
    """GraftError for a method that ZeRO 1 was not shown to be exact for."""
    if method not in DEALT_OUT:
        raise GraftError(
            f"ZeRO 1 was shown to be exact for {', '.join(DEALT_OUT)}, not for {method}: rows of its table leave "
            "parameters without gradient, whose moments ZeRO would age, or clip gradients that ZeRO has taken away; "
            "set resources.zero: 0"
        )


def read_resources(name: str | None, overrides: Sequence[str]) -> Resources:
    """What `--resources NAME_OR_FILE` and `resources.key=value` say. Raises GraftError.

    name: a file of configs/resources without its ending, or the path of another; None: nothing but the overrides.
    """
    keys = [each.removeprefix(PREFIX) for each in overrides]
    if name is None:
        return read_words({}, keys, Resources)
    named = CONFIGS / f"{name}.yaml"
    if not named.is_file() and not Path(name).suffix:
        known = sorted(each.stem for each in CONFIGS.glob("*.yaml"))
        raise GraftError(f"--resources {name}: no such file in {CONFIGS}{did_you_mean(name, known)}")
    return read(named if named.is_file() else name, keys, Resources)


def as_override(name: str | None) -> list[str]:
    """`--resources` of a sweep as the first of its overrides, which later ones change key by key."""
    said = {} if name is None else read_resources(name, []).model_dump(exclude_unset=True)
    return [f"resources={json.dumps(said)}"] if said else []


def parted(overrides: Sequence[str]) -> tuple[list[str], list[str]]:
    """The overrides of the job, and those of its resources."""
    own = [each for each in overrides if each.startswith(PREFIX)]
    return [each for each in overrides if each not in own], own


def ready(job: J, name: str | None, overrides: Sequence[str], device: str) -> tuple[J, Resources]:
    """A checked job as its verb will run it in this process, and by what. GraftError for what cannot be.

    name and overrides: as `read_resources` takes them. device: see `pick_device`.
    """
    resources = started(read_resources(name, overrides))
    job = applied(job, resources)
    look_at_precision(job.precision, pick_device(device))
    settle_threads(resources)
    return job, resources


def started(resources: Resources) -> Resources:
    """The same with the workers that this process was started among. GraftError where others were asked for.

    A command is one process. Its launcher (torchrun) says in the environment how many there are.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if "workers" in resources.model_fields_set and resources.workers != world:
        raise GraftError(
            f"resources.workers is {resources.workers}, but this command was started as {world} of them; start it "
            f"with torchrun --standalone --nproc_per_node={resources.workers} -m pipeline.VERB, or as a cell of a sweep"
        )
    return resources.model_copy(update={"workers": world})


def settle_threads(resources: Resources) -> None:
    """Keep this process to its threads, where its resources say anything of them."""
    if {"threads", "cpus"} & resources.model_fields_set:
        torch.set_num_threads(resources.computing_threads)
