"""What a sweep is told: a base job, a grid, a search, and what one cell may use."""

from collections.abc import Mapping
from itertools import product
from typing import Any, Literal

from pydantic import Field, field_validator
from pydantic.fields import FieldInfo

from pipeline.explain import explain
from pipeline.job import Job, Pretrain, digest_of, inside, last_part
from pipeline.methods import METHODS, PRETRAINING
from pipeline.methods.settings import Frozen, value
from pipeline.resources import Resources


class Score(Frozen):
    """What a search maximises: a weighted sum of the cell's numbers, so that the trade is on the table."""

    kid: float = value(
        -20.0,
        "weight of kid, whose scale is its network's: -20 fits graft_eye, -1 efficientnet_lite0",
        "Graft",
        high=0,
    )
    structure: float = value(1.0, "weight of structural consistency", "Graft", low=0)
    kid_latent: float = value(0.0, "weight of a translator's kid_latent", "Graft", high=0)
    kid_reference: float = value(0.0, "weight of a translator's kid_reference", "Graft", high=0)
    diversity_latent: float = value(0.0, "weight of a translator's diversity_latent", "Graft", low=0)
    diversity_reference: float = value(0.0, "weight of a translator's diversity_reference", "Graft", low=0)
    diversity: float = value(0.0, "weight of a conditional generator's diversity", "Graft", low=0)


class Search(Frozen):
    """Loss weights searched by Ray Tune: TPE proposes, ASHA prunes."""

    space: dict[str, dict[str, dict[str, Any]]] = value(
        {}, "method, or name of a row -> key -> {log|uniform: [low, high]}", "Graft"
    )
    trials: int = value(8, "trials of every method and target", "Graft", low=1)
    seed: int = value(1000, "seed of the search's cells; never one of the grid's", "Graft", low=0)
    steps: int = value(200, "steps of a trial", "Graft", "steps", low=1)
    rungs: int = value(
        2, "times at which a trial is scored; at all but the last it may be ended", "Graft", low=1
    )


class Share(Frozen):
    """What one trial may use, who runs it, and how often it is tried."""

    cpus: float = value(1.0, "CPUs, also as a fraction", "Graft", low=0.1)
    gpus: float = value(0.0, "GPUs, also as a fraction", "Graft", low=0)
    backend: Literal["ray", "processes", "here"] = value("ray", "who runs the cells", "Graft")
    retries: int = value(
        0,
        "further tries of a cell that crashed; not of one that diverged or ran out of memory, nor of a search's trial",
        "Graft",
        low=0,
        high=1,
    )

    @field_validator("gpus")
    @classmethod
    def _of_one_or_whole(cls, gpus: float) -> float:
        if gpus > 1 and gpus != int(gpus):
            raise ValueError(f"{gpus:g} is neither a fraction of one GPU nor a whole number of them")
        return gpus


class Sweep(Frozen):
    """A base job, a grid and/or a search, and what one job may use."""

    name: str = Field(description="name of the sweep and of its folder under runs/")
    job: Job = Job()
    pretrain: Pretrain | None = value(
        None, "what every cell starts from, where cells are pretraining runs", "Graft"
    )
    grid: dict[str, list[Any]] = value({}, "key -> values; the full product is run", "Graft")
    exclude: list[dict[str, Any]] = value([], "combinations that are left out", "Graft")
    methods: dict[str, dict[str, Any]] = value(
        {}, "method -> weights, settings or profile of its own", "Graft"
    )
    search: Search | None = None
    score: Score = Score()
    share: Share = Share()
    resources: Resources | None = value(
        None, "what runs every cell, in place of share's cpus and gpus", "Graft"
    )
    resources_of: dict[str, Resources] = value(
        {}, "method, or name of a row -> what runs its cells instead", "Graft"
    )
    tracker: Literal["mlflow", "none"] = value("mlflow", "where runs are mirrored", "Graft")
    export: Literal["best", "none"] = value("best", "export the best cell", "Graft")

    def cells(self) -> list[dict[str, Any]]:
        """Values of every cell of the grid, as keys and values over `job`, in the order of the grid."""
        names = list(self.grid)
        found = [dict(zip(names, values, strict=True)) for values in product(*self.grid.values())]
        return [cell for cell in found if not any(rule.items() <= cell.items() for rule in self.exclude)]

    @property
    def base(self) -> "Job | Pretrain":
        """What every cell starts from."""
        return self.pretrain or self.job

    def job_of(self, cell: Mapping[str, Any], chosen: Mapping[str, float] | None = None) -> "Job | Pretrain":
        """The job of one cell; `chosen` are keys found by the search. ValidationError for what the schema refuses."""
        values = self.base.model_dump()
        own = self.methods.get(str(cell.get("method", self.base.method)), {})
        for part in (own, cell):
            for key, entry in part.items():
                _put(values, key, entry)
        for key, number in (chosen or {}).items():
            _put(values, key, number)
        more = [
            f"{key}={entry}"
            for key, entry in cell.items()
            if key not in ("method", "target", "train", "shots", "seed")
        ]
        values["variant"] = " ".join([values["method"], *more]) if more else ""
        job = type(self.base).model_validate(values)
        precision = self.used_by(job).precision
        return job if precision is None else job.model_copy(update={"precision": precision})

    def used_by(self, job: "Job | Pretrain") -> Resources:
        """What runs a job: the resources of its row, else of its method, else those of all."""
        all_others = self.resources or Resources(cpus=self.share.cpus, gpus=self.share.gpus)
        return self.resources_of.get(job.variant) or self.resources_of.get(job.method) or all_others

    def space_of(self, job: "Job | Pretrain") -> dict[str, dict[str, Any]]:
        """What is searched for a job: the space of its row, else of its method, else nothing."""
        space = self.search.space if self.search is not None else {}
        return space.get(job.variant) or space.get(job.method) or {}

    def group_of(self, job: "Job | Pretrain") -> str:
        """What a job's cells share that a search finds weights for."""
        own = self.search is not None and job.variant in self.search.space
        return group_of(job.variant if own else job.method, job.target, job.shots)


def _put(values: dict[str, Any], key: str, entry: Any) -> None:
    """Set a dotted key; dictionaries are merged."""
    *way, last = key.split(".")
    for part in way:
        values = values[part]
    values[last] = {**values[last], **entry} if isinstance(entry, dict) and last in values else entry


def group_of(method: str, target: str, shots: int) -> str:
    """What cells share that a search finds weights for, as a file name; two paths never share one."""
    part = last_part(target)
    return f"{last_part(method)}-{part}-{shots}" + ("" if part == target else f"-{digest_of(target)}")


def explained(model: type[Job | Pretrain | Sweep], key: str, first: str = "") -> str:
    """Meaning, unit, range, default and source of a key of a config.

    Weights and settings are explained as the method `first` has them, else as the first method that does. Under a
    sweep, keys of a cell may stand without the `job.` before them, as they do in its grid.
    """
    if model is Sweep and key.split(".")[0] not in Sweep.model_fields:
        model = Job
    if key.startswith("resources.") and model is not Sweep:
        return explain(Resources, key.removeprefix("resources."))
    table = PRETRAINING if model is Pretrain or key.startswith("pretrain.") else METHODS
    order = sorted(table, key=lambda name: name != first)
    prefix = ("pretrain." if key.startswith("pretrain.") else "job.") if model is Sweep else ""
    free: dict[str, dict[str, FieldInfo]] = {}
    for name in reversed(order):
        for front, fields in inside(table[name]).items():
            free[prefix + front] = free.get(prefix + front, {}) | fields
    text = explain(model, key, free)
    front, _, last = key.removeprefix(prefix).partition(".")
    owners = [name for name in table if last in inside(table[name]).get(front, {})]
    return f"{text}\n  methods  {', '.join(owners)}" if owners else text
