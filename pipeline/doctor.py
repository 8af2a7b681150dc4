"""`doctor`: what of this machine, cluster, tracker and store works, with the mend for what does not."""

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.cli import arguments, paint, run

if TYPE_CHECKING:
    from cluster.checks import Check, Question

EXAMPLE = "python -m pipeline.doctor --json doctor.json"
PYTHON, TORCH = ((3, 11), (3, 13)), ((2, 13), (2, 14))  # from, below: as pyproject.toml says
LOCAL, SERVER, JOINING = 60.0, 5.0, 30.0  # seconds; joining a Ray takes 2 to 6 where nothing is wrong
COLOURS = {"ok": "32", "warn": "33", "fail": "31", "absent": "2"}
BUILT_IN = "graft_eye and sobel, which are built in, judge"


def main(argv: Sequence[str] | None = None) -> int:
    """Ask everything at once, print a line each and the mend below what is not ok; 5 if something failed."""
    parser = arguments("doctor", EXAMPLE)
    parser.add_argument("--runs", default="runs", type=Path, help="folder of runs to look at (default: runs)")
    parser.add_argument(
        "--exports", default="exports", type=Path, help="folder of exports to look at (default: exports)"
    )
    parser.add_argument(
        "--s3", metavar="URL", help="s3://bucket/prefix: write, read and remove a tiny object"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all of it")
    given = parser.parse_args(argv)
    from cluster.checks import ask
    from pipeline.errors import ENVIRONMENT

    checks = ask(questions(given.runs, given.exports, given.s3))
    print("\n".join(lines(checks)))
    if given.json is not None:
        write(checks, given.json)
        print(f"all of it  {given.json}")
    return ENVIRONMENT if any(check.state == "fail" for check in checks) else 0


def questions(runs: Path, exports: Path, bucket: str | None) -> "list[Question]":
    """What is asked, in the order of the lines; each with the seconds after which it counts as failed."""
    from cluster.checks import Question, disk, machine, ports, ray_cluster, store, threads, tracker
    from cluster.checks.weights import weights
    from models.judges import PINNED
    from pipeline.tracking.card import tracking_uri, without_login

    folders = [Path(where) for where in (os.environ.get("GRAFT_WEIGHTS"),) if where]
    uri = tracking_uri()
    patient = 3 * SERVER  # two requests and a slow name server
    return [
        Question("python", partial(machine.python, *PYTHON), LOCAL),
        Question("torch", partial(machine.torch_build, *TORCH), LOCAL),
        Question("devices", machine.devices, LOCAL),
        Question("bf16", machine.bf16, LOCAL),
        Question("torchvision", machine.torchvision, LOCAL),
        Question("compiler", machine.compiler, LOCAL),
        Question("threads", lambda: threads.threads(limit=threads.cgroup_limit()), LOCAL),
        Question("runs", partial(disk.folder, "runs", runs), LOCAL),
        Question("cache", partial(disk.folder, "cache", runs / "cache"), LOCAL),
        Question("exports", partial(disk.folder, "exports", exports), LOCAL),
        Question("home", disk.home, LOCAL),
        Question("weights", partial(weights, folders, PINNED, BUILT_IN), LOCAL),
        Question("ray", ray_cluster.ray_version, LOCAL),
        Question("ray token", ray_cluster.token, LOCAL),
        Question("ray cluster", partial(ray_cluster.address, SERVER, JOINING), SERVER + JOINING + SERVER),
        Question("mlflow", partial(tracker.mlflow, uri, without_login(uri), SERVER), patient),
        Question("s3", partial(store.s3, bucket, SERVER), LOCAL),
        Question("ports", lambda: ports.ports(ports.doors()), LOCAL),
    ]


def lines(checks: "Sequence[Check]") -> list[str]:
    """State, name and finding in columns; the mend below, where there is one; how many of each at the end."""
    import sys

    wide = max(len(check.name) for check in checks)
    said = []
    for check in checks:
        state = paint(f"{check.state:<6}", COLOURS[check.state], sys.stdout)
        said.append(f"{state}  {check.name:<{wide}}  {check.found}")
        if check.mend:
            said.append(f"{'':<8}{'':<{wide}}  mend: {check.mend}")
    counts = [(state, sum(check.state == state for check in checks)) for state in COLOURS]
    return [*said, ", ".join(f"{count} {state}" for state, count in counts if count)]


def write(checks: "Sequence[Check]", path: Path) -> None:
    """All of it as JSON."""
    from dataclasses import asdict
    from importlib.metadata import version

    from pipeline.store import write_json

    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {"graft": version("graft"), "checks": [asdict(check) for check in checks]})


if __name__ == "__main__":
    raise SystemExit(run(main))
