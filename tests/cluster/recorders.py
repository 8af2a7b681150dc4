"""Programs that write down how they were called: what a script of configs/cluster/ would do on a cluster."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
NAMES = ("ray", "python", "torchrun", "accelerate", "srun", "scontrol")
PROGRAM = """#!{python} -S
import json, os, signal, subprocess, sys, time
name, words = os.path.basename(sys.argv[0]), sys.argv[1:]
if name == "python" and words[:1] == ["-c"]:
    os.execv({python!r}, [{python!r}, *words])
token = os.environ.get("RAY_AUTH_TOKEN_PATH")
mode = oct(os.stat(token).st_mode & 0o777) if token and os.path.exists(token) else None
with open(os.environ["RECORD"], "a") as record:
    print(json.dumps([name, words, dict(os.environ), mode]), file=record, flush=True)
if name == "srun":
    while words[0].startswith("--"):
        words.pop(0)
    os.execvp(words[0], words)
if name == "scontrol" and words[0] == "show":
    print("node1\\nnode2")
if "cluster.checks.joining" in words:
    with open(os.environ["RECORD"]) as record:
        started = sum(json.loads(line)[0] == "ray" for line in record)
    print(json.dumps({{"machines": started, "cpus": 8.0 * started, "gpus": 0.0}}))
if words[1:2] == ["pipeline.sweep"] and "HOLD" in os.environ:
    def stop(*given):
        sys.exit(130)
    signal.signal(signal.SIGTERM, stop)
    open(os.environ["HOLD"], "w").close()
    time.sleep(300)
"""


@dataclass(frozen=True)
class Call:
    """One start of a program. mode: of the token's file at that time, as `0o600`; None without one."""

    name: str
    words: list[str]
    environ: dict[str, str]
    mode: str | None


@dataclass
class Recorders:
    """A folder of such programs, and the variables under which a script finds them."""

    folder: Path
    variables: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in NAMES:
            path = self.folder / "bin" / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(PROGRAM.format(python=sys.executable))
            path.chmod(0o755)

    @property
    def environment(self) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("RAY_", "SLURM_"))}
        own = {"BIN": str(self.folder / "bin"), "RECORD": str(self.folder / "record")}
        own["PATH"] = f"{own['BIN']}:{kept['PATH']}"
        return kept | own | self.variables

    def run(self, script: str, *words: str, **more: Any) -> subprocess.CompletedProcess[str]:
        """The script of configs/cluster/ to its end."""
        return subprocess.run(
            ["bash", str(ROOT / "configs" / "cluster" / script), *words],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            **more,
        )

    def calls(self, name: str) -> list[Call]:
        """How the program of this name was started, in order."""
        path = self.folder / "record"
        lines = path.read_text().splitlines() if path.exists() else []
        found = [Call(*json.loads(line)) for line in lines]
        return [call for call in found if call.name == name]
