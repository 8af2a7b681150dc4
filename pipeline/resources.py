"""How a job runs, not what it computes: its engine, its processes, its share of a machine.

Nothing here is in a job's digest: with other workers, another engine or the batch in parts a run gives the same
numbers up to rounding. Precision is the exception. bf16 changes the numbers, so `applied` hands it to the job, whose
id then says so.
"""

from pathlib import Path
from typing import Literal, TypeVar

from pydantic import Field, field_validator, model_validator

from pipeline.errors import GraftError
from pipeline.job import Job, Pretrain
from pipeline.methods.settings import Frozen, value

CONFIGS = Path("configs/resources")
J = TypeVar("J", Job, Pretrain)


class Resources(Frozen):
    """What runs a job: the engine, its workers, and what each of them may use."""

    engine: Literal["accelerate", "deepspeed"] = value(
        "accelerate", "who holds the processes of a job together", "Graft"
    )
    zero: int = Field(
        0,
        description="what DeepSpeed deals out over the workers: 0 nothing, 1 moments, 2 moments and gradients",
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
        if zero == 3:
            raise ValueError(
                "ZeRO 3 takes parameters apart before the second backward of a gradient penalty needs them; use 0"
            )
        if zero not in (0, 1, 2):
            raise ValueError(f"there is no ZeRO {zero}; use 0, 1 or 2")
        return zero

    @model_validator(mode="after")
    def _proven(self) -> "Resources":
        if self.zero and self.engine != "deepspeed":
            raise ValueError(f"zero: {self.zero} is a stage of DeepSpeed; set engine: deepspeed, or zero: 0")
        if self.zero and self.accumulate > 1:
            raise ValueError(
                f"accumulate: {self.accumulate} with zero: {self.zero} was not shown to be exact; set one of them "
                "back (accumulate: 1, or zero: 0)"
            )
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
    """The job with the precision that the resources ask for. GraftError where its batch cannot be dealt out so."""
    shares = resources.workers * resources.accumulate
    if job.batch % shares:
        raise GraftError(
            f"a batch of {job.batch} cannot be dealt out to {resources.workers} workers x {resources.accumulate} "
            f"parts; use a multiple of {shares} as batch, or other resources.workers or resources.accumulate"
        )
    return job
