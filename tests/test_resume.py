"""A run that was killed or stopped, wherever that was, ends bit for bit as the one that was left in peace."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from pipeline.methods import METHODS
from pipeline.tracking import jsonl
from tests.data import drawn
from tests.tiny import JUDGE, Tiny

ROOT = Path(__file__).parents[1]
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
KILLED, STOPPED = -signal.SIGKILL, 130
STEPS, SAVE = 8, 3
EVERY = {"log": 1, "sample": 4, "save": SAVE}
PRETRAINED = ("pretrain", "stargan2")
CELLS = [*METHODS, *PRETRAINED]
SHORT: dict[str, dict[str, int]] = {"rssa": {"inversion_steps": 3}}

# One after the other in the same folder, each met by the run that goes on after the one before.
DEATHS: list[dict[str, Any]] = [
    {"step": 1},  # before the first checkpoint
    {"flush": ".000003.part/.tensors"},  # inside the first: half of it written
    {"rename": "000003"},  # the first is whole, but has no name yet
    {"step": 4},  # between two
    {"flush": ".000006.part/.state"},  # the second has its tensors, and half a state
    {"flush": "/checkpoints"},  # the second has its name, and is not flushed
    {"step": 7},
    {"rename": "model.safetensors"},  # trained, judged, not written
]
# RSSA dies of all of these; the others, which share every line of this with it, of those that touch their state.
BETWEEN, UNWRITTEN = DEATHS[3], DEATHS[7]
OWN = {"tgan": [BETWEEN], "rssa": DEATHS, "pretrain": [BETWEEN, UNWRITTEN]}
OWN["stargan2"] = [DEATHS[1], BETWEEN, DEATHS[4], DEATHS[5]]
SIZES = {"size": 32, "base": 256, "widest": 12, "style_dim": 6, "latent_dim": 4, "hidden_dim": 10}


def config(path: Path, tiny: Tiny, name: str, steps: int, **every: int) -> Path:
    """A config as a file; JSON is YAML."""
    intervals = {**EVERY, **every}
    if name == "pretrain":
        network = {
            "size": 32,
            "widths": dict.fromkeys((4, 8, 16, 32), 8),
            "style_dim": 16,
            "mapping_layers": 2,
        }
        values = {"name": "tiny", "train": str(tiny.target), "network": network, "judge": JUDGE}
        values |= {"batch": 2, "settings": {"stddev_group": 2, "path_every": 2, "r1_every": 2}}
    elif name == "stargan2":
        values = {"name": "pets", "method": name, "train": str(pets(path.parent / "pets")), "network": SIZES}
        values |= {"batch": 2, "translate": {"resamples": 100, "outputs": 2}}
    else:
        values = tiny.job(method=name)
        values["settings"] = {"stddev_group": 2, "path_every": 2, "r1_every": 4, **SHORT.get(name, {})}
    path.write_text(json.dumps({**values, "steps": steps, "every": intervals}))
    return path


def pets(path: Path) -> Path:
    """Pictures of two domains, to train on and held out."""
    for split, count in (("train", 8), ("test", 6)):
        for number, domain in enumerate(("cats", "dogs")):
            drawn.folder(path / split / domain, count + number, 32)
    return path


def command(config: Path, name: str, runs: Path) -> tuple[str, list[str]]:
    """The verb, and its arguments."""
    shared = [str(config), "--runs", str(runs), "--device", "cpu", "--tracker", "none"]
    return (
        ("pretrain", [*shared, "--exports", str(runs / "exports")])
        if name in PRETRAINED
        else ("adapt", shared)
    )


def dying(folder: Path, plan: list[dict[str, Any]]) -> list[int]:
    """Exit statuses of a plan for tests/dying.py."""
    (folder / "plan.json").write_text(json.dumps(plan))
    files = [str(folder / "plan.json"), str(folder / "answers.json")]
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "dying.py"), *files],
        env=ENVIRONMENT,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=580,
    )
    assert done.returncode == 0, done.stderr
    statuses: list[int] = json.loads((folder / "answers.json").read_text())
    expected = [KILLED if entry["dies"] else 0 for entry in plan]
    assert statuses == expected, done.stderr
    return statuses


def result_files(runs: Path) -> dict[str, bytes]:
    """Every file that holds numbers, by its name within the runs: those must be equal to the last bit."""
    kinds = ("*.safetensors", "samples/*.png", "grid.png")
    found = {
        path for kind in kinds for path in runs.rglob(kind) if "cache" not in path.relative_to(runs).parts
    }
    return {str(path.relative_to(runs)): path.read_bytes() for path in found}


def numbers(runs: Path) -> list[dict[str, Any]]:
    """What metrics.jsonl says, without times."""
    (path,) = runs.rglob("metrics.jsonl")
    return [{k: v for k, v in line.items() if "second" not in k} for line in jsonl.read(path)]


def states(runs: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(runs.rglob("checkpoints/*/state.json"))]


def scores(runs: Path) -> list[Any]:
    return [json.loads(path.read_text())["scores"] for path in sorted(runs.rglob("result.json"))]


def same(calm: Path, troubled: Path) -> None:
    expected, found = result_files(calm), result_files(troubled)
    assert found.keys() == expected.keys()
    assert [name for name in expected if found[name] != expected[name]] == []
    assert numbers(troubled) == numbers(calm)
    assert states(troubled) == states(calm)
    assert scores(troubled) == scores(calm)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, tiny: Tiny) -> Path:
    """NAME/calm and NAME/killed for every method, made by one plan."""
    folder = tmp_path_factory.mktemp("resume")
    plan = []
    for name in CELLS:
        path = config(folder / f"{name}.yaml", tiny, name, STEPS)
        for way, deaths in (("calm", []), ("killed", OWN.get(name, [BETWEEN]))):
            verb, arguments = command(path, name, folder / name / way)
            plan += [{"verb": verb, "arguments": arguments, "dies": death} for death in (*deaths, None)]
    dying(folder, plan)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", CELLS)
def test_kill_9_at_any_point_and_the_same_command_ends_as_the_calm_run(runs: Path, name: str) -> None:
    same(runs / name / "calm", runs / name / "killed")


@pytest.mark.slow
@pytest.mark.parametrize("name", CELLS)
def test_the_calm_run_wrote_every_step_once_and_kept_two_checkpoints(runs: Path, name: str) -> None:
    lines = [line["step"] for line in numbers(runs / name / "calm") if "terms" in line]
    assert lines == list(range(1, STEPS + 1))
    kept = sorted(path.name for path in (runs / name / "calm").rglob("checkpoints/*"))
    assert kept == ["000006", "000008"]


@pytest.mark.slow
def test_intervals_of_writing_do_not_change_what_is_computed(runs: Path, tiny: Tiny, tmp_path: Path) -> None:
    path = config(tmp_path / "often.yaml", tiny, "cdc", STEPS, log=2, save=8, sample=8)
    verb, arguments = command(path, "cdc", tmp_path / "runs")
    dying(tmp_path, [{"verb": verb, "arguments": arguments, "dies": None}])
    often = {name: data for name, data in result_files(tmp_path / "runs").items() if "000008" in name}
    assert often
    calm = result_files(runs / "cdc" / "calm")
    assert all(calm[name] == data for name, data in often.items())


def waited_for_lines(runs: Path, count: int, deadline: float) -> None:
    while time.monotonic() < deadline:
        if sum(len(jsonl.read(path)) for path in runs.rglob("metrics.jsonl")) >= count:
            return
        time.sleep(0.02)
    raise AssertionError(f"{count} lines of metrics were never written")


@pytest.mark.slow
def test_asked_to_stop_it_saves_within_ten_seconds_and_the_same_command_goes_on(
    tiny: Tiny, tmp_path: Path
) -> None:
    steps = 40
    path = config(tmp_path / "cdc.yaml", tiny, "cdc", steps, save=1000, sample=1000)
    verb, arguments = command(path, "cdc", tmp_path / "stopped")
    program = [sys.executable, "-m", f"pipeline.{verb}", *arguments]
    with subprocess.Popen(
        program, env=ENVIRONMENT, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as child:
        waited_for_lines(tmp_path / "stopped", 3, time.monotonic() + 120)
        child.terminate()
        asked = time.monotonic()
        _, said = child.communicate(timeout=60)
    assert time.monotonic() - asked < 10
    assert child.returncode == STOPPED, said
    assert "the same command continues" in said
    (at,) = states(tmp_path / "stopped")
    assert 3 <= at["step"] < steps
    calm = command(path, "cdc", tmp_path / "calm")[1]
    dying(tmp_path, [{"verb": verb, "arguments": given, "dies": None} for given in (arguments, calm)])
    (end,) = [line for line in states(tmp_path / "stopped") if line["step"] == steps]
    assert end in states(tmp_path / "calm")
    assert numbers(tmp_path / "stopped") == numbers(tmp_path / "calm")
    found = result_files(tmp_path / "stopped")
    assert [name for name, data in result_files(tmp_path / "calm").items() if found[name] != data] == []
