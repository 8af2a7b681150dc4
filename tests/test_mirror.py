"""A run that outlives its disk: checkpoints and results in a store that misbehaves."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from cluster.objects import exists, fetch, listing, put_bytes, put_folder
from models.files import sha256_of
from pipeline import cli
from pipeline.load import load_model
from pipeline.mirror import OUTCOME, Mirror
from pipeline.store import Checkpoints
from tests.stores import BUCKET, Fault, Store, under, wait_for
from tests.test_resume import KILLED, config, numbers, result_files, scores
from tests.test_s3 import ROOT, STEPS
from tests.tiny import Tiny


def checkpoints(folder: Path, step: int) -> Path:
    return Checkpoints(folder / "checkpoints").save(
        step, {"x": torch.full((3,), float(step))}, {"step": step}
    )


def there(where: str) -> list[str]:
    return [one.name for one in listing(where)]


def test_a_store_that_fails_is_warned_of_once_and_gets_the_next_checkpoint(store, name, tmp_path, capsys):
    cell = tmp_path / "cell"
    cell.mkdir()
    (cell / "metrics.jsonl").write_text('{"step": 1}\n')
    mirror = Mirror(cell, name)
    store.faults.append(Fault("503", method="PUT"))
    for step in (3, 6):
        mirror.saved(step, checkpoints(cell, step))
        wait_for(lambda: store.count("PUT", "") and mirror._next is None)
    wait_for(lambda: (cell / "log.txt").is_file())
    store.faults.clear()
    for step in (9, 12, 15):
        mirror.saved(step, checkpoints(cell, step))
        wait_for(lambda step=step: exists(f"{name}/checkpoints/{step:06d}/state.json"))
    (cell / "result.json").write_text("{}")
    mirror.close(whole=True)
    kept = [
        f"checkpoints/0000{step}/{file}"
        for step in (12, 15)
        for file in ("state.json", "tensors.safetensors")
    ]
    assert there(name) == [*kept, "metrics.jsonl", "result.json"]
    assert not (cell / ".mirror").exists()
    warned = [
        line for line in (cell / "log.txt").read_text().splitlines() if line.startswith("warning: the mirror")
    ]
    assert len(warned) == capsys.readouterr().err.count("warning") == 1
    assert "SlowDown" in warned[0]


def test_the_newest_whole_checkpoint_is_taken_and_a_damaged_one_passed_over(store, name, tmp_path):
    cell = tmp_path / "cell"
    for step in (3, 6):
        put_folder(checkpoints(cell, step), f"{name}/checkpoints/{step:06d}", "state.json")
    put_bytes(b"{}", f"{name}/checkpoints/000009/tensors.safetensors")  # its state never came
    put_bytes(b"other tensors", f"{name}/checkpoints/000006/tensors.safetensors")
    put_bytes(b'{"step": 3}\n', f"{name}/metrics.jsonl")
    Mirror(tmp_path / "lost", name).take()
    assert [path.name for path in (tmp_path / "lost" / "checkpoints").iterdir()] == ["000003"]
    newest = Checkpoints(tmp_path / "lost" / "checkpoints").newest()
    assert newest is not None
    assert newest[1]["step"] == 3
    before = store.count("GET", "tensors")
    Mirror(cell, name).take()  # here is 6 already
    assert store.count("GET", "tensors") == before
    Mirror(tmp_path / "never", f"{name}/nothing").take()
    assert not (tmp_path / "never").exists()


@pytest.fixture(scope="module")
def lost(running: Store, tmp_path_factory: pytest.TempPathFactory, tiny: Tiny) -> dict[str, Any]:
    """One pretraining run, calm and in four tries, of which each has an empty disk and the same mirror."""
    room = tmp_path_factory.mktemp("lost")
    running.faults.clear()
    path, mirror = config(room / "p.yaml", tiny, "pretrain", STEPS), f"s3://{BUCKET}/lost"
    deaths = {"calm": None, "first": {"was put": "/state.json"}, "second": {"put": "/state.json"}}
    deaths |= {"third": None, "fourth": None}
    plan = []
    for runs, dies in deaths.items():
        words = [str(path), "--runs", str(room / runs), "--exports", str(room / runs / "exports")]
        words += ["--device", "cpu", "--tracker", "none"]
        words += [] if runs == "calm" else ["--mirror", mirror]
        plan.append({"verb": "pretrain", "arguments": words, "dies": dies})
    (room / "plan.json").write_text(json.dumps(plan))
    files = [str(room / "plan.json"), str(room / "answers.json")]
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "dying.py"), *files],
        env=under(running) | {"PYTHONPATH": str(ROOT), "HOME": str(room)},
        cwd=room,
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads((room / "answers.json").read_text()) == [0, KILLED, KILLED, 0, 0], done.stderr
    return {"room": room, "mirror": mirror, "asked": list(running.asked)}


@pytest.mark.slow
def test_killed_with_its_disk_lost_a_run_goes_on_from_the_mirror_and_ends_as_the_calm_one(lost):
    calm, third = lost["room"] / "calm", lost["room"] / "third"
    wanted = [path for method, path, _ in lost["asked"] if method == "GET" and "/lost/" in path]
    taken = [path for path in wanted if path.endswith("tensors.safetensors")]
    assert len(taken) == 2  # by the second try and by the third: neither began anew
    found = result_files(third)
    assert {name: data for name, data in result_files(calm).items() if "checkpoints" not in name} == {
        name: data for name, data in found.items() if "checkpoints" not in name
    }
    last = next(name for name in found if name.endswith("000008/tensors.safetensors"))
    assert found[last] == result_files(calm)[last]
    assert numbers(third) == numbers(calm)
    assert scores(third) == scores(calm)


@pytest.mark.slow
def test_a_finished_run_whose_disk_is_lost_is_taken_and_not_run_again(lost, store):
    third, fourth = lost["room"] / "third", lost["room"] / "fourth"
    (result,) = fourth.glob("*/result.json")
    (cell,) = (path.parent for path in third.glob("*/result.json"))
    assert result.read_bytes() == (cell / "result.json").read_bytes()
    assert not (result.parent / "checkpoints").exists()
    (model,) = fourth.glob("*/model/model.safetensors")
    assert sha256_of(model) == sha256_of(cell / "model" / "model.safetensors")
    names = there(f"{lost['mirror']}/{cell.name}")
    assert "result.json" in names
    assert not [name for name in names if name.startswith((".", "cache"))]


def sweep_of(path: Path, tiny: Tiny, seeds: list[int]) -> str:
    """A sweep of one cell a seed, in this process."""
    values = {"name": "grid", "job": tiny.job(steps=4), "grid": {"method": ["tgan"], "seed": seeds}}
    path.write_text(json.dumps({**values, "tracker": "none", "share": {"backend": "here"}}))
    return str(path)


def equal_there(where: str, folder: Path, aside: Path) -> list[str]:
    """Names of a folder's objects, each fetched and found to be the file of that name on the disk."""
    for one in listing(where):
        assert fetch(one.url, aside, one.etag).sha256 == sha256_of(folder / one.name), one.name
    return there(where)


@pytest.mark.slow
def test_a_sweep_goes_on_from_the_mirror_on_another_machine_and_repeats_nothing(
    store, name, tiny: Tiny, tmp_path, capsys
):
    kept, exports = f"{name}/runs", f"{name}/exports"

    def run(machine: str, seeds: list[int]) -> Path:
        words = ["sweep", sweep_of(tmp_path / "s.yaml", tiny, seeds), "--runs", machine, "--device", "cpu"]
        assert cli.main([*words, "--exports", exports, "--mirror", kept]) == 0
        assert "warning" not in capsys.readouterr().err
        return tmp_path / machine / "grid"

    put = ("checkpoints", "metrics.jsonl", "model.safetensors", "/result.json", "report.html")
    store.faults += [Fault("503", part, method="PUT", times=2) for part in put]
    first = run("first", [0])
    assert not any(fault.times for fault in store.faults)
    names = equal_there(f"{kept}/grid", first, tmp_path / "aside")
    (cell,) = (path.parent for path in first.glob("*/result.json"))
    wanted = {f"{cell.name}/{file}" for file in ("result.json", "config.yaml", "model/model.safetensors")}
    assert wanted | {f"{cell.name}/checkpoints/000004/state.json"} | set(OUTCOME) <= set(names)
    drawn = {path.relative_to(first).as_posix() for path in first.rglob("samples/*.png")}
    assert drawn
    assert drawn <= set(names)
    assert load_model(f"{exports}/grid").sha256 == load_model(str(cell / "model")).sha256

    shutil.rmtree(tmp_path / "first")
    got = (("503", "/result.json", 2), ("cut", "model.safetensors", 1), ("corrupt", "samples/", 1))
    store.faults += [Fault(kind, part, times=times) for kind, part, times in got]
    before = {one.name: one.etag for one in listing(f"{kept}/grid") if one.name.startswith(cell.name)}
    second = run("second", [0, 1])
    assert not any(fault.times for fault in store.faults)
    assert len(list(second.glob("*/result.json"))) == 2
    assert {one.name: one.etag for one in listing(f"{kept}/grid") if one.name in before} == before
    assert not (second / cell.name / "checkpoints").exists()  # taken whole, not trained here
    third = run("third", [0, 1])
    assert not list(third.rglob("tensors.safetensors"))
    assert (third / "table.json").read_bytes() == (second / "table.json").read_bytes()
