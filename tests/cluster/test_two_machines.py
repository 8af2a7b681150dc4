import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def travelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a pair of workers wrote on a Ray of three machines, of which it lost one."""
    folder = tmp_path_factory.mktemp("machines")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    with (folder / "said.txt").open("w") as said:  # Ray writes pages about a machine that dies
        process = subprocess.Popen(
            [sys.executable, str(REPO / "tests" / "cluster" / "two_machines.py"), str(folder)],
            env=kept
            | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPO), "RAY_raylet_start_wait_time_s": "300"},
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
        try:
            assert process.wait(900) == 0, (folder / "said.txt").read_text()[-4000:]
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    return folder


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_workers_lie_on_two_machines_where_one_has_no_room_for_both(travelled: Path) -> None:
    assert len({(travelled / f"before-{rank}").read_text() for rank in range(2)}) == 2


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_task_whose_machine_is_lost_starts_again_on_the_others(travelled: Path) -> None:
    before, after = (
        [(travelled / f"{when}-{rank}").read_text() for rank in range(2)] for when in ("before", "after")
    )
    assert len(set(after)) == 2
    assert set(before) != set(after)
    assert json.loads((travelled / "answers.json").read_text()) == {"a": "{'again': True}"}
