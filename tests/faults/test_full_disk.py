"""A disk that is full, wherever a run is then: one sentence, exit 5, and all that has its name is whole."""

import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pipeline.store import Checkpoints, read_json
from pipeline.tracking import jsonl
from tests.faults.broken import broken, leftovers, private_mounts, with_mount
from tests.test_resume import command, config, same
from tests.tiny import Tiny

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1500),
    pytest.mark.skipif(not private_mounts(), reason="needs a file system of its own, and may not mount one"),
]
BYTES = (8192, 700_000)  # from room for the folders alone to a little less than a run takes
FULL = "no space left on the disk"


@dataclass(frozen=True)
class Filled:
    """One run: what was left on the disk when it stopped, what it said, and what the same command made of it."""

    left: int
    answers: list[dict[str, Any]]
    hurt: Path
    mended: Path


def filled(folder: Path, tiny: Tiny, rng: random.Random, times: int) -> tuple[Path, list[Filled]]:
    """The calm run, and so many that found the disk full after a number of bytes that chance names."""
    path = config(folder / "cdc.yaml", tiny, "cdc", 8)
    verb, arguments = command(path, "cdc", folder / "calm")
    disk, free = folder / "disk", [rng.randrange(*BYTES) for _ in range(times)]
    disk.mkdir()
    plan: list[dict[str, Any]] = [{"verb": verb, "arguments": arguments, "dies": None}]
    for number, left in enumerate(free):
        runs = disk / str(number)
        entry = {"verb": verb, "arguments": command(path, "cdc", runs)[1]}
        for name, way in (("hurt", {"full": [str(disk), left]}), ("mended", {"freed": str(disk)})):
            plan.append({**entry, "dies": way, "copy": [str(disk), str(folder / f"{name}-{number}")]})
    calm, *answers = broken(folder, plan, with_mount("size=256m", disk))
    assert calm["status"] == 0, calm
    found = [
        Filled(
            left, answers[2 * n : 2 * n + 2], folder / f"hurt-{n}" / str(n), folder / f"mended-{n}" / str(n)
        )
        for n, left in enumerate(free)
    ]
    return folder / "calm", found


def whole(runs: Path) -> None:
    """Every file that has its name can be read."""
    assert leftovers(runs) == []
    for folder in runs.rglob("checkpoints"):
        named = sorted(path.name for path in folder.glob("[0-9]*"))
        newest = Checkpoints(folder).newest()
        assert (newest is not None) == bool(named)
        assert newest is None or f"{newest[1]['step']:06d}" == named[-1]
    for path in runs.rglob("*.json"):
        read_json(path)
    for path in runs.rglob("metrics.jsonl"):
        assert len(jsonl.read(path)) == path.read_bytes().count(b"\n")
        assert path.read_bytes()[-1:] in (b"", b"\n")


def one_sentence(said: str) -> None:
    """The last line of stderr, after those of progress, with the place."""
    *progress, last = said.splitlines()
    assert all(line.startswith("[") for line in progress), said
    assert last.startswith("error: /"), said
    assert FULL in last, said


def holds(calm: Path, runs: list[Filled]) -> None:
    for run in runs:
        first, again = run.answers
        assert first["status"] == 5, (run.left, first)
        one_sentence(first["said"])
        whole(run.hurt)
        assert again["status"] == 0, (run.left, again)
        same(calm, run.mended)


def test_a_full_disk_is_one_sentence_and_the_same_command_ends_as_the_calm_run(
    tmp_path: Path, tiny: Tiny, rng: random.Random
) -> None:
    holds(*filled(tmp_path, tiny, rng, 1))


@pytest.mark.faults
def test_a_disk_that_is_full_at_any_point_harms_nothing(
    tmp_path: Path, tiny: Tiny, rng: random.Random
) -> None:
    holds(*filled(tmp_path, tiny, rng, 12))


def test_a_sweep_on_a_full_disk_stops_with_the_same_sentence(
    tmp_path: Path, tiny: Tiny, rng: random.Random
) -> None:
    values = {"name": "grid", "job": tiny.job(), "grid": {"method": ["tgan"], "seed": [0, 1]}}
    path = tmp_path / "grid.yaml"
    path.write_text(json.dumps({**values, "tracker": "none", "share": {"backend": "here"}}))
    disk = tmp_path / "disk"
    disk.mkdir()
    entry = {"verb": "sweep", "arguments": [str(path), "--runs", str(disk / "runs"), "--device", "cpu"]}
    ways: list[dict[str, Any]] = [
        {"full": [str(disk), rng.randrange(60_000, 160_000)]},
        {"freed": str(disk)},
    ]
    plan = [{**entry, "dies": way, "copy": [str(disk), str(tmp_path / str(n))]} for n, way in enumerate(ways)]
    hurt, mended = broken(tmp_path, plan, with_mount("size=256m", disk))
    assert hurt["status"] == 5, hurt
    one_sentence(hurt["said"])
    whole(tmp_path / "0")
    assert mended["status"] == 0, mended
    results = sorted((tmp_path / "1" / "runs" / "grid").glob("*/result.json"))
    assert [read_json(path)["status"] for path in results] == ["done", "done"]
