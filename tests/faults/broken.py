"""Starts tests/faults/breaking.py, where needed in a mount namespace of its own, and compares tables of sweeps."""

import functools
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.sweeps import REPO
from tests.test_resume import ENVIRONMENT

COST = ("seconds", "images_per_second")


@functools.cache
def private_mounts() -> list[str]:
    """How to run a command where mounts are seen by it alone; empty where this machine does not allow it."""
    for way in (["unshare", "--mount"], ["unshare", "--mount", "--map-root-user"]):
        tried = ["sh", "-c", "mount -t tmpfs none /mnt"]
        try:
            if subprocess.run([*way, *tried], capture_output=True, timeout=30).returncode == 0:
                return way
        except OSError:
            continue
    return []


def with_mount(options: str, folder: Path) -> list[str]:
    """What to write before a command, so that a tmpfs with these options lies on `folder` for it."""
    script = 'mount -t tmpfs -o "$0" none "$1" && shift && exec "$@"'
    return [*private_mounts(), "sh", "-c", script, options, str(folder)]


def broken(folder: Path, plan: list[dict[str, Any]], before: Sequence[str] = ()) -> list[dict[str, Any]]:
    """The answers to a plan of tests/faults/breaking.py."""
    (folder / "plan.json").write_text(json.dumps(plan))
    files = [str(folder / "plan.json"), str(folder / "answers.json")]
    script = str(REPO / "tests" / "faults" / "breaking.py")
    done = subprocess.run(
        [*before, sys.executable, script, *files],
        env=dict(ENVIRONMENT),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=1200,
    )
    assert done.returncode == 0, done.stderr
    answers: list[dict[str, Any]] = json.loads((folder / "answers.json").read_text())
    return answers


def without_cost(value: Any) -> Any:
    """A table, or a part of it, without what another run may take longer for."""
    if isinstance(value, dict):
        return {key: without_cost(held) for key, held in value.items() if key not in COST}
    return [without_cost(held) for held in value] if isinstance(value, list) else value


def leftovers(folder: Path) -> list[str]:
    """Files that were written aside and never got their name."""
    return [str(path.relative_to(folder)) for path in folder.rglob("*.part") if path.is_file()]
