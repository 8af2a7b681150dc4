"""What a comparison says, as plain values: tables, page and files are drawn from these alone."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Value:
    """A number with its interval; `n` is the number of z (or pictures) it was measured on."""

    value: float
    low: float | None = None
    high: float | None = None
    n: int = 0


@dataclass(frozen=True)
class Column:
    """A metric: the network whose eyes it has, which way is better, and how it was measured, in words."""

    name: str
    network: str
    better: str  # "lower" or "higher"
    protocol: str = ""


@dataclass(frozen=True)
class Row:
    """A method on a target with a number of shots, over its seeds."""

    method: str
    target: str
    shots: int
    seeds: tuple[int, ...]
    values: Mapping[str, Value]
    images: float = 0.0  # shown to the discriminator, mean over seeds
    seconds: float = 0.0  # mean over seeds
    trials: int = 0  # of the search before; 0 where there was none
    front: bool = False
    mark: str = ""  # why it is not ranked; empty where it is


@dataclass(frozen=True)
class Verdict:
    """Two methods on the same z and seeds: `difference` is first minus second, `words` judge the first."""

    metric: str
    target: str
    shots: int
    first: str
    second: str
    difference: Value
    p: float | None  # Holm-corrected
    words: str


@dataclass(frozen=True)
class Failure:
    """A cell that has no score: its class, its reason, and what it cost."""

    cell: str
    status: str
    reason: str
    images: float = 0.0
    seconds: float = 0.0


@dataclass(frozen=True)
class Comparison:
    """A whole sweep, judged. `quality` and `correspondence` name the columns of the two axes."""

    name: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    verdicts: tuple[Verdict, ...] = ()
    failures: tuple[Failure, ...] = ()
    quality: str = "kid"
    correspondence: str = "structure"
    notes: tuple[str, ...] = field(default=())  # the budget, what was searched: one sentence each

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Comparison":
        """The inverse of `as_dict`, also of what JSON makes of it."""
        rows = [
            Row(**{**row, "seeds": tuple(row["seeds"]), "values": _values(row["values"])})
            for row in values["rows"]
        ]
        verdicts = [Verdict(**{**v, "difference": Value(**v["difference"])}) for v in values["verdicts"]]
        return cls(
            **{
                **values,
                "columns": tuple(Column(**column) for column in values["columns"]),
                "rows": tuple(rows),
                "verdicts": tuple(verdicts),
                "failures": tuple(Failure(**failure) for failure in values["failures"]),
                "notes": tuple(values["notes"]),
            }
        )

    def column(self, name: str) -> Column | None:
        return next((column for column in self.columns if column.name == name), None)


def _values(values: Mapping[str, Any]) -> dict[str, Value]:
    return {name: Value(**value) for name, value in values.items()}
