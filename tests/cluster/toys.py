"""Tasks for the fleet: top level, so that workers import them by name."""

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

DEADLINE = 30.0


def wait_for(path: Path) -> None:
    """A condition with a deadline; the pause only keeps the loop off the other tasks' CPU."""
    deadline = time.monotonic() + DEADLINE
    while not path.exists():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{path.name} never came")
        time.sleep(0.01)


def toy(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Does what payload["do"] says."""
    return {"square": square, "raise": fail, "die": die, "meet": meet, "save": save, "leave": leave}[
        payload["do"]
    ](payload)


def square(payload: Mapping[str, Any]) -> dict[str, Any]:
    import torch

    return {
        "value": payload["x"] ** 2,
        "pid": os.getpid(),
        "threads": torch.get_num_threads(),
        "variable": os.environ.get("OMP_NUM_THREADS"),
    }


def fail(payload: Mapping[str, Any]) -> dict[str, Any]:
    raise ValueError("the loss is a pear\nand more on a second line")


def leave(payload: Mapping[str, Any]) -> dict[str, Any]:
    raise SystemExit(3)


def die(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Dies, unless a try before it left its mark and the payload says that one death is enough."""
    mark = Path(payload["folder"]) / "died"
    if payload.get("once") and mark.exists():
        return {"value": "alive"}
    mark.touch()
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def meet(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Ends only if the other one runs at the same time."""
    folder = Path(payload["folder"])
    (folder / payload["me"]).touch()
    wait_for(folder / payload["other"])
    return {"value": "met"}


def save(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Works until it is interrupted, and then writes its checkpoint."""
    folder = Path(payload["folder"])
    (folder / "begun").touch()
    try:
        wait_for(folder / "never")
    except KeyboardInterrupt:
        (folder / "checkpoint").touch()
        raise
    return {}
