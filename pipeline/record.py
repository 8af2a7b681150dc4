"""What a run writes about itself before it starts: its config, its inputs, its machine."""

import platform
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml
from pydantic import BaseModel

from models.files import write_whole
from pipeline.resources import Resources
from pipeline.store import write_json


@dataclass(frozen=True)
class Place:
    """Where a cell lies and who watches: its folder, the sweep's cache, the mirror, the sweep's folder.

    store: the address of its copy in an S3 store; saved: who is told of every whole checkpoint.
    """

    folder: Path
    cache: Path
    tracker: str = "none"
    parent: Path | None = None
    uri: str | None = None
    store: str | None = None
    saved: Callable[[int, Path], None] = lambda step, checkpoint: None
    resources: Resources = field(default_factory=Resources)


def begin(folder: Path, job: BaseModel, inputs: Mapping[str, Any]) -> None:
    """config.yaml, which alone reproduces the run, and inputs.json: digests, versions, device, revision."""
    folder.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump(job.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    write_whole(folder / "config.yaml", text.encode())
    write_json(folder / "inputs.json", {**inputs, "machine": machine(), "revision": revision()})


def machine() -> dict[str, str]:
    """Versions and devices."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or "cpu"
    return {"python": platform.python_version(), "torch": torch.__version__, "device": device}


def revision() -> str:
    """The revision of the code, where it is a checkout; "" elsewhere."""
    here = Path(__file__).parent
    try:
        found = subprocess.run(
            ["git", "-C", str(here), "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return found.stdout.strip() if found.returncode == 0 else ""


def settle_machine(device: torch.device) -> None:
    """Settings of torch that change speed alone; on the CPU there are none to make."""
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True
