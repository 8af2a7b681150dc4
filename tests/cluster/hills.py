"""Things to search over: top level, so that workers import them by name."""

import math
import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.cluster.toys import wait_for

Report = Callable[[int, Mapping[str, float]], None]


def valley(payload: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """Lowest at weight 100, and lower with every step. Some corners of the space go wrong."""
    weight, way = payload["values"]["weights.distance"], payload["values"].get("way", "calm")
    folder = Path(payload["folder"])
    with (folder / "runs.txt").open("a") as runs:
        runs.write(f"{payload['id']} {os.getpid()}\n")
    score = math.inf
    for step in range(1, 9):
        score = (math.log10(weight) - 2) ** 2 + 1 / step
        report(step, {"depth": score})
        if way == "raises" and step == 3:
            raise ValueError("too steep")
        if way == "dies" and step == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        if way == "diverges" and step == 3:
            return {"status": "diverged", "reason": "three steps without a finite loss", "scores": []}
        if way == "nan":
            report(step + 1, {"depth": math.nan})
    return {"status": "done", "scores": [{"name": "other", "value": -5.0}, {"name": "depth", "value": score}]}


def patient(payload: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """Works between two rungs until it is interrupted, and then writes its checkpoint."""
    folder = Path(payload["folder"])
    (folder / f"begun-{payload['id']}").touch()
    try:
        wait_for(folder / "never")
    except KeyboardInterrupt:
        (folder / f"checkpoint-{payload['id']}").touch()
        raise
    return {"status": "done", "scores": []}
