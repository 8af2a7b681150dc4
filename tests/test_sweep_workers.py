"""A sweep in which one method's cells have two workers and another's half a CPU; one of the workers is killed."""

import json
import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import GraftError
from pipeline.grid import Sweep
from pipeline.problems import sweep_problems
from pipeline.read import read
from tests.sweeps import Sweeps, descendants, steps_of, until
from tests.sweeps import read as read_json
from tests.tiny import make_tiny

STEPS, KILLED_AFTER = 24, 6
JOB = {"steps": STEPS, "batch": 4, "every": {"log": 1, "sample": STEPS, "save": 2}}
GRID = {"method": ["tgan", "cdc"], "seed": [0]}
PAIR = {"resources": {"workers": 2, "cpus": 1}, "resources_of": {"cdc": {"cpus": 0.5, "threads": 1}}}


@dataclass(frozen=True)
class Both:
    """The calm sweep in one process, and the one on Ray that lost a worker."""

    sweeps: Sweeps
    killed: int

    def terms(self, sweep: str, method: str) -> list[dict[str, Any]]:
        lines = (self.sweeps.cell(sweep, method) / "metrics.jsonl").read_text().splitlines()
        return [entry for entry in map(json.loads, lines) if "terms" in entry]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Both:
    folder = tmp_path_factory.mktemp("workers")
    sweeps = Sweeps(folder, make_tiny(folder / "tiny"), {"RAY_raylet_start_wait_time_s": "300"})
    calm = sweeps.run(sweeps.write("calm", GRID, JOB, share={"backend": "here"}))
    assert calm.returncode == 0, calm.stderr
    with sweeps.started(sweeps.write("hurt", GRID, JOB, **PAIR), cpus=2) as process:
        cell = until(lambda: next((folder / "runs" / "hurt").glob("tgan-*"), None), process)
        until(lambda: steps_of(cell) >= KILLED_AFTER, process)
        workers = [pid for pid, title in descendants(process.pid).items() if "RayTrainWorker" in title]
        os.kill(max(workers), signal.SIGKILL)
        said, errors = process.communicate(timeout=900)
        assert process.returncode == 0, said + errors
    return Both(sweeps, len(workers))


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_a_cell_that_lost_a_worker_ends_with_the_numbers_of_one_process(both: Both) -> None:
    assert both.killed == 2
    for method in GRID["method"]:
        calm, hurt = both.terms("calm", str(method)), both.terms("hurt", str(method))
        assert [line["step"] for line in hurt] == [line["step"] for line in calm] == list(range(1, STEPS + 1))
        for ours, theirs in zip(hurt, calm, strict=True):
            assert ours["terms"] == pytest.approx(theirs["terms"], rel=1e-2, abs=1e-3)


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_its_table_is_whole(both: Both) -> None:
    results = both.sweeps.results("hurt").values()
    assert [result["status"] for result in results] == ["done", "done"]
    for result in results:
        calm = read_json(both.sweeps.cell("calm", result["method"]) / "result.json")
        assert result["id"] == calm["id"]  # where it ran is no part of what it is
        values = {score["name"]: score["value"] for score in result["scores"]}
        assert values == pytest.approx({s["name"]: s["value"] for s in calm["scores"]}, rel=0.05, abs=0.01)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (
            {"share": {"backend": "processes"}, **PAIR},
            r"'resources.workers' is 2, but share.backend: processes",
        ),
        ({"resources": {"workers": 3}}, r"a batch of 2 cannot be dealt out to 3 workers"),
        (
            {"resources_of": {"rssa": {"cpus": 2}}},
            r"'resources_of.rssa': no cell of the grid has this method",
        ),
        ({"resources": {"workers": 2, "gpus": 0.5}}, r"share one, which NCCL refuses"),
        (
            {"resources": {"workers": 2, "engine": "deepspeed"}},
            r"was not shown to be exact in the workers of a sweep",
        ),
        ({"share": {"gpus": 1.5}}, r"'share.gpus': 1.5 is neither a fraction of one GPU nor a whole number"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_starts(
    tmp_path: Path, more: dict[str, Any], said: str
) -> None:
    sweeps = Sweeps(tmp_path, make_tiny(tmp_path / "tiny"))
    with pytest.raises(GraftError, match=said):
        read(sweeps.write("refused", GRID, {}, **more), [], Sweep, sweep_problems)
