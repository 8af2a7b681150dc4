"""s3:// wherever a path may stand, and a run that outlives its disk: over HTTP, with a store that misbehaves."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from cluster import download
from cluster.download import Limits
from cluster.objects import exists, listing, put_bytes, put_file, put_folder
from models.files import sha256_of
from pipeline import cli
from pipeline.data.fewshot import few_shots
from pipeline.data.held import Held, open_set
from pipeline.data.pack import Choices, pack
from pipeline.data.streamed import Streamed
from pipeline.load import load_model
from pipeline.mirror import Mirror
from pipeline.store import Checkpoints
from tests.data.drawn import folder
from tests.stores import BUCKET, Fault, Store, running_store, under, wait_for
from tests.test_resume import KILLED, config, numbers, result_files, scores
from tests.tiny import Tiny

ROOT = Path(__file__).parents[1]
SHORT = Limits(connect=1.0, read=0.5, tries=3, pause=0.01)
STEPS = 8


@pytest.fixture(scope="module")
def running() -> Iterator[Store]:
    with running_store() as store:
        yield store


@pytest.fixture
def store(running: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Store:
    """The store without faults, short limits, and a cache of the test's own."""
    running.faults.clear()
    running.asked.clear()
    for name in [name for name in os.environ if name.startswith(("AWS_", "GRAFT_"))]:
        monkeypatch.delenv(name)
    for name, value in running.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("GRAFT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(download, "LIMITS", SHORT)
    monkeypatch.chdir(tmp_path)
    return running


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """The address of a folder that no other test uses."""
    return f"s3://{BUCKET}/{abs(hash(request.node.nodeid))}"


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 pictures in four shards, 4 more held out."""
    room = tmp_path_factory.mktemp("packed")
    folder(room / "pictures", 28)
    pack(room / "pictures", room / "shards", Choices(size=16, heldout=4, per_shard=6))
    return room / "shards"


def in_order(opened: Held | Streamed, counters: range | list[int]) -> torch.Tensor:
    return opened.take(torch.tensor(list(counters), dtype=torch.int64))


@pytest.mark.parametrize("limit", [1 << 30, 1000], ids=["held", "streamed"])
def test_shards_of_a_store_are_the_same_stream_as_those_of_the_disk(store, packed, name, limit):
    put_folder(packed, name, "manifest.json")
    faults = ["503", "cut", "corrupt"]
    store.faults += [Fault(kind, f"train-000{n}", times=1) for n, kind in enumerate(faults)]
    here, there = (open_set(where, 16, hold_limit_bytes=limit, seed=3) for where in (str(packed), name))
    assert type(here) is type(there) is (Held if limit > 1000 else Streamed)
    assert torch.equal(in_order(here, range(60)), in_order(there, range(60)))
    assert here.sha256 == there.sha256
    for one in (here, there):
        one.close() if isinstance(one, Streamed) else None
    fetched = sum(store.count("GET", f"train-000{n}") for n in range(4))
    assert fetched == 4 + len(faults)  # each once, and again where it went wrong
    assert store.count("GET", "heldout.tar") == 0  # what nobody reads is not fetched


def test_a_stream_larger_than_its_cache_is_the_same_stream_for_any_number_of_workers(
    store, packed, name, monkeypatch
):
    put_folder(packed, name, "manifest.json")
    size = max(path.stat().st_size for path in packed.glob("*.tar"))
    monkeypatch.setenv("GRAFT_CACHE_GB", str(2.5 * size / 2**30))
    here = open_set(str(packed), 16, hold_limit_bytes=1000, seed=5, buffer=7)
    whole = in_order(here, range(72))
    one = open_set(name, 16, hold_limit_bytes=1000, seed=5, buffer=7)
    assert torch.equal(in_order(one, range(20)), whole[:20])
    one.close()  # killed after 20; three workers go on, each with every third
    workers = [open_set(name, 16, hold_limit_bytes=1000, seed=5, buffer=7) for _ in range(3)]
    seen: list[int] = []
    for start in range(20, 71, 3):
        for rank, worker in enumerate(workers):
            assert torch.equal(in_order(worker, [start + rank])[0], whole[start + rank])
            seen.append(start + rank)
    assert sorted(seen) == list(range(20, 71))
    for worker in (here, *workers):
        worker.close()
    assert store.count("GET", "/train-") > 4  # some had to leave, and came again


def test_a_shard_that_is_another_by_now_stops_the_stream_by_name(store, packed, name, capsys):
    put_folder(packed, name, "manifest.json")
    put_bytes(b"short", f"{name}/train-0002.tar")
    assert cli.main(["data", "check", name]) == 3
    assert f"{BUCKET}" in name
    said = capsys.readouterr().err
    assert "train-0002.tar: 5 bytes, but" in said


def test_few_shots_and_held_out_pictures_from_a_folder_a_tar_and_shards(
    store, packed, name, tiny: Tiny, tmp_path
):
    for path in tiny.target.iterdir():
        put_file(path, f"{name}/ten/{path.name}")
    shutil.make_archive(str(tmp_path / "ten"), "tar", tiny.target)
    put_file(tmp_path / "ten.tar", f"{name}/ten.tar")
    put_folder(packed, f"{name}/shards", "manifest.json")
    expected = few_shots(tiny.target, 5, 1, 32)
    for where in (f"{name}/ten", f"{name}/ten.tar"):
        found = few_shots(where, 5, 1, 32)
        assert torch.equal(found.pictures, expected.pictures)
        assert found.names == expected.names or where.endswith(".tar")
    shots = few_shots(f"{name}/shards", 5, 1, 16)
    assert torch.equal(shots.pictures, few_shots(packed, 5, 1, 16).pictures)
    assert open_set(f"{name}/ten", 32).sha256 == open_set(tiny.target, 32).sha256


def test_a_model_goes_to_a_store_and_is_drawn_from_there(store, name, tiny: Tiny, tmp_path, capsys):
    (tmp_path / "cell").mkdir()
    shutil.copytree(tiny.source, tmp_path / "cell" / "model")
    assert cli.main(["export", "cell", f"{name}/tiny"]) == 0
    assert capsys.readouterr().out.strip() == f"{name}/tiny"
    assert cli.main(["export", "cell", f"{name}/tiny"]) == 2
    assert f"error: {name}/tiny: exists already" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("s3")] == []
    there, here = load_model(f"{name}/tiny"), load_model(str(tiny.source))
    assert there.sha256 == here.sha256
    assert cli.main(["sample", f"{name}/tiny", "--out", "pictures", "--count", "2"]) == 0
    assert len(list((tmp_path / "pictures").glob("*.png"))) == 2
    (last,) = [path for method, path, _ in store.asked if method == "PUT"][-1:]
    assert last.endswith("/tiny/config.json")


def test_a_model_that_is_only_half_there_is_none(store, name, tiny: Tiny, capsys):
    put_file(tiny.source / "model.safetensors", f"{name}/half/model.safetensors")
    assert cli.main(["sample", f"{name}/half", "--out", "pictures"]) == 3
    assert f"error: {name}/half: no model here" in capsys.readouterr().err


def test_pictures_are_packed_into_a_store_and_replaced_only_if_asked(store, name, tiny: Tiny, capsys):
    words = ["data", "pack", str(tiny.target), f"{name}/ten", "--size", "16", "--fit", "resize"]
    assert cli.main(words) == 0
    assert open_set(f"{name}/ten", 16).count == 10
    assert cli.main(words) == 2
    assert f"error: {name}/ten: is there already; pass --overwrite" in capsys.readouterr().err
    assert cli.main([*words, "--overwrite"]) == 0
    put_bytes(b"1", f"{name}/other/thing")
    words[3] = f"{name}/other"
    assert cli.main([*words, "--overwrite"]) == 2
    assert "so it is no packed set, and is not replaced" in capsys.readouterr().err
    assert exists(f"{name}/other/thing")


def test_what_is_wrong_with_a_store_is_one_sentence_and_its_exit_code(
    store, name, tiny: Tiny, tmp_path, capsys
):
    path = config(tmp_path / "cell.yaml", tiny, "tgan", STEPS)
    common = ["adapt", str(path), "--runs", "runs", "--tracker", "none", "--device", "cpu"]

    def said(*words: str) -> tuple[int, str]:
        code = cli.main([*common, *words])
        sentence = capsys.readouterr().err
        assert len(sentence.splitlines()) == 1
        return code, sentence

    assert said(f"source={name}/none") == (
        3,
        f"error: {name}/none: no such object, and no objects below it; is the name right?\n",
    )
    assert said("--mirror", "there") == (2, "error: --mirror there: expected s3://bucket/folder\n")
    code, sentence = said("--runs", name)
    assert (code, sentence.startswith(f"error: --runs {name}: runs lie on a disk")) == (2, True)
    store.faults.append(Fault("expired"))
    code, sentence = said("--mirror", name)
    assert (code, "ExpiredToken: The provided token has expired" in sentence) == (5, True)
    assert said(f"target={name}/none")[0] == 5
    assert not (tmp_path / "runs").exists()


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
