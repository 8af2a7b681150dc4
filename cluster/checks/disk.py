"""Folders that must take what a run writes, and how fast the disk keeps it."""

import os
import shutil
import tempfile
import time
from pathlib import Path

from cluster.checks.check import Check

MEBI, GIBI = 2**20, 2**30
LITTLE = 2 * GIBI  # a cell keeps three checkpoints; of a 256 px model with its optimisers one is 0.6 GiB
PROBE = 8 * MEBI
SLOW = 20.0  # MiB/s: the same checkpoint would stall training for half a minute


def folder(name: str, path: Path) -> Check:
    """Space and speed where `path` is or would be made: a file of 8 MiB is written, fsynced and removed."""
    place = _nearest(path)
    shown = f"{path}" if place == path else f"{path} (to be made in {place})"
    try:
        free = shutil.disk_usage(place).free
        speed = _written(place)
    except OSError as error:
        mend = "free some space, change its owner or mode, or name another folder (--runs, --exports)"
        return Check(name, "fail", f"{shown}: cannot be written ({error.strerror})", mend)
    said = f"{shown}: {free / GIBI:.1f} GiB free, fsync at {speed:.0f} MiB/s"
    if free < LITTLE:
        return Check(
            name, "warn", said, f"free some space: below {LITTLE // GIBI} GiB a long run may fill it"
        )
    if speed < SLOW:
        return Check(name, "warn", said, "checkpoints will stall training: name a folder on a faster disk")
    return Check(name, "ok", said)


def home() -> Check:
    """Whether the home folder takes files. Graft needs none there, but submitted Ray jobs leave runs in it."""
    try:
        place = Path.home()
        with tempfile.NamedTemporaryFile(dir=place, prefix=".graft-doctor-"):
            pass
    except (OSError, RuntimeError) as error:  # RuntimeError: no home is known
        why = error.strerror if isinstance(error, OSError) else error
        mend = "pass --runs to sweeps in submitted Ray jobs, which go to ~/graft/runs otherwise; nothing else needs it"
        return Check("home", "warn", f"no file can be written there ({why})", mend)
    return Check("home", "ok", f"{place}")


def _nearest(path: Path) -> Path:
    """`path` if it is there, else the first folder above it that is."""
    whole = path.absolute()
    return path if path.exists() else next(each for each in whole.parents if each.exists())


def _written(place: Path) -> float:
    """MiB/s of a write that is on the disk when it returns."""
    content = os.urandom(PROBE)  # zeros would not reach the disk of a file system that compresses
    with tempfile.NamedTemporaryFile(dir=place, prefix=".graft-doctor-") as file:
        begun = time.perf_counter()
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
        return PROBE / MEBI / (time.perf_counter() - begun)
