"""One metric measured on several parts (pairs of domains, classes), and its mean over them as a Score.

R resamples.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from pipeline.judging.score import Score
from pipeline.judging.statistics import Array, Interval, percentiles


@dataclass(frozen=True)
class Measured:
    """A metric on one part; value None where `reason` says why.

    resampled [R]: its value in every resample, NaN where one has none; None where it has no interval.
    fakes: pictures made; sources: distinct conditions they were made from, which is what was resampled.
    origin: what these conditions are; parts of one origin are resampled together, row by row.
    """

    value: float | None
    resampled: Array | None
    fakes: int
    sources: int
    origin: str
    reason: str = ""
    detail: dict[str, Any] = field(default_factory=dict)

    def as_dict(self, level: float) -> dict[str, Any]:
        """Plain data for a Score's detail."""
        low, high = interval(self.resampled, level)
        found = {"value": self.value, "low": low, "high": high, "fakes": self.fakes, "sources": self.sources}
        return {**found, **self.detail, **({"reason": self.reason} if self.reason else {})}


def interval(resampled: Array | None, level: float) -> Interval | tuple[None, None]:
    """The middle `level` of what was found in resamples [R]."""
    if resampled is None:
        return None, None
    found = resampled[~np.isnan(resampled)]
    return percentiles(found, level) if len(found) else (None, None)


def averaged(
    name: str,
    parts: Mapping[str, Measured],
    better: Literal["lower", "higher"],
    network: str,
    protocol: Mapping[str, Any],
    level: float,
    notes: Sequence[str] = (),
) -> Score:
    """The mean over all parts, each weighing the same; None where one of them has no value.

    detail: `parts` one by one, the number of distinct `sources` of all, `notes` in plain words.
    """
    value, low, high = None, None, None
    detail: dict[str, Any] = {
        "parts": {label: part.as_dict(level) for label, part in parts.items()},
        "sources": sum({part.origin: part.sources for part in parts.values()}.values()),
    }
    absent = [f"{label}: {part.reason}" for label, part in parts.items() if part.value is None]
    if absent or not parts:
        detail["reason"] = absent[0] if absent else "there is nothing to measure it on"
    else:
        value = float(np.mean([part.value for part in parts.values()]))
        resampled = [part.resampled for part in parts.values() if part.resampled is not None]
        if len(resampled) == len(parts):
            low, high = interval(np.mean(resampled, 0), level)
    if notes:
        detail["notes"] = list(notes)
    fakes = sum(part.fakes for part in parts.values())
    return Score(name, value, low, high, fakes, better, network, dict(protocol), detail)
