"""One number of a judgement, with everything that is needed to read it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from textwrap import wrap
from typing import Any, Literal

WIDTH = 100  # characters of a line of notes


@dataclass(frozen=True)
class Score:
    """A metric's value.

    low, high: interval over z, None where there is none. n: generated pictures it was measured on.
    network: the eye or edge operator. protocol: the recipe. detail: what stands behind the value.
    A metric that could not be measured has value None, and detail["reason"] says why.
    """

    name: str
    value: float | None
    low: float | None
    high: float | None
    n: int
    better: Literal["lower", "higher"]
    network: str
    protocol: dict[str, Any] = field(default_factory=dict)
    detail: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Plain data for result.json."""
        return asdict(self)


def recipe(score: Mapping[str, Any]) -> str:
    """How a number was measured, every parameter of it."""
    return ", ".join(f"{key} {value}" for key, value in score["protocol"].items())


def score_lines(scores: Sequence[Mapping[str, Any]]) -> list[str]:
    """One aligned line a score, as a terminal shows it: value, interval, network, n. Then how each was measured."""
    lines = []
    measured: dict[str, list[str]] = {}
    width = max([10, *(len(score["name"]) for score in scores)])
    for score in scores:
        value = "none" if score["value"] is None else f"{score['value']:.4f}"
        interval = "" if score["low"] is None else f"  [{score['low']:.4f}, {score['high']:.4f}]"
        lines.append(f"  {score['name']:<{width}} {value}{interval}  ({score['network']}, n {score['n']})")
        if said := recipe(score):
            measured.setdefault(said, []).append(score["name"])
    notes = [f"{', '.join(names)}: {said}." for said, names in measured.items()]
    return lines + wrap(" ".join(notes), WIDTH, initial_indent="  ", subsequent_indent="  ")
