"""The fair table as plain data; whoever renders it needs nothing else."""

from collections.abc import Collection
from dataclasses import asdict, dataclass, field
from typing import Any

from pipeline.judging.statistics import Paired

# Quality and what a copy of the few pictures, or one answer to all codes, would lose: the first pair that was measured.
AXES = (("kid", "structure"), ("kid_latent", "diversity_latent"), ("kid", "diversity"))


def axes_of(metrics: Collection[str]) -> tuple[str, str]:
    """The two metrics of the Pareto front; those of adaptation where no pair was measured."""
    return next((pair for pair in AXES if all(axis in metrics for axis in pair)), AXES[0])


@dataclass(frozen=True)
class Measure:
    """A metric of a row: mean over runs. over: what the interval is over, "seeds" (three or more) or "z"."""

    value: float
    low: float | None
    high: float | None
    n: int
    over: str
    by_seed: dict[int, float]


@dataclass(frozen=True)
class Metric:
    """A column: the network it was measured with, which way is better, and the recipe in words."""

    name: str
    network: str
    better: str
    protocol: str


@dataclass(frozen=True)
class Failure:
    """A cell without scores: class, reason and cost. It stays in the table."""

    cell: str
    status: str
    reason: str
    images: float
    seconds: float


@dataclass(frozen=True)
class Row:
    """A method on a target with a number of shots, over its seeds.

    mark: why it is not ranked, empty where it is. ranks: metric -> 1 for the best ranked row of this target
    and shots. front: on the Pareto front of kid and structure among them. left_out: cells that do not count.
    """

    method: str
    target: str
    shots: int
    seeds: tuple[int, ...]
    measures: dict[str, Measure]
    images: float
    seconds: float
    trials: int
    mark: str = ""
    front: bool = False
    ranks: dict[str, int] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class Difference:
    """`method` minus `first`, same seeds, same z. p: Holm-corrected over the metric's comparisons.

    verdict: "better", "worse" or "not separable".
    """

    metric: str
    target: str
    shots: int
    method: str
    first: str
    paired: Paired
    p: float
    verdict: str


@dataclass(frozen=True)
class Table:
    """Everything a comparison says."""

    metrics: tuple[Metric, ...]
    rows: tuple[Row, ...]
    differences: tuple[Difference, ...]
    failures: tuple[Failure, ...]
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """All of it as plain data."""
        return asdict(self)

    def for_report(self, name: str) -> dict[str, Any]:
        """The layout that `pipeline.report.content.Comparison.from_dict` reads."""
        axes = axes_of([metric.name for metric in self.metrics])
        return {
            "name": name,
            "columns": [asdict(metric) for metric in self.metrics],
            "rows": [_row(row) for row in self.rows],
            "verdicts": [_verdict(difference) for difference in self.differences],
            "failures": [asdict(failure) for failure in self.failures],
            "quality": axes[0],
            "correspondence": axes[1],
            "notes": list(self.notes),
        }


def _row(row: Row) -> dict[str, Any]:
    values = {
        name: {"value": each.value, "low": each.low, "high": each.high, "n": each.n}
        for name, each in row.measures.items()
    }
    kept = ("method", "target", "shots", "seeds", "images", "seconds", "trials", "front", "mark")
    return {name: getattr(row, name) for name in kept} | {"values": values}


def _verdict(difference: Difference) -> dict[str, Any]:
    paired = difference.paired
    return {
        "metric": difference.metric,
        "target": difference.target,
        "shots": difference.shots,
        "first": difference.method,
        "second": difference.first,
        "difference": {"value": paired.difference, "low": paired.low, "high": paired.high, "n": paired.n},
        "p": difference.p,
        "words": difference.verdict
        + (
            ""
            if paired.over != "z"
            else f" ({paired.seeds} seed{'' if paired.seeds == 1 else 's'}: over z only)"
        ),
    }
