"""s3:// wherever a path may stand, and a run that outlives its disk: over HTTP, with a store that misbehaves."""

import shutil
from pathlib import Path

import pytest
import torch

from cluster.errors import MachineError
from cluster.objects import exists, put_bytes, put_file, put_folder
from pipeline import cli
from pipeline.data.fewshot import few_shots
from pipeline.data.held import Held, open_set
from pipeline.data.pack import Choices, pack
from pipeline.data.streamed import Streamed
from pipeline.load import load_model
from tests.data.drawn import folder
from tests.stores import BUCKET, Fault
from tests.test_resume import config
from tests.tiny import Tiny

ROOT = Path(__file__).parents[1]
STEPS = 8


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


def test_credentials_that_expire_while_a_stream_runs_are_one_sentence_and_renewed_it_is_the_same_stream(
    store, packed, name, monkeypatch
):
    put_folder(packed, name, "manifest.json")
    size = max(path.stat().st_size for path in packed.glob("*.tar"))
    monkeypatch.setenv("GRAFT_CACHE_GB", str(2.5 * size / 2**30))  # so that shards leave, and come again
    monkeypatch.setattr(
        Streamed.__init__, "__defaults__", (4, "refuse", 0)
    )  # buffer, fit, none kept in memory
    here, there = (
        open_set(where, 16, hold_limit_bytes=1000, seed=5, buffer=4) for where in (str(packed), name)
    )
    for one in (here, there):
        one._ahead = 0  # what is asked for is decoded, and no more
    whole = in_order(here, range(72))
    assert torch.equal(in_order(there, range(8)), whole[:8])
    store.faults.append(Fault("expired", "/train-", after=2))
    seen = list(range(8))

    def go_on() -> None:
        for counter in range(8, 72):
            assert torch.equal(in_order(there, [counter])[0], whole[counter])
            seen.append(counter)

    with pytest.raises(MachineError, match="ExpiredToken: The provided token has expired") as said:
        go_on()
    assert 8 < len(seen) < 72
    assert said.value.exit_code == 5
    assert "\n" not in str(said.value)
    assert [path.name for path in Path("cache").rglob("*.part")] == []
    there.close()
    store.faults.clear()  # renewed: the same command goes on from its counter
    again = open_set(name, 16, hold_limit_bytes=1000, seed=5, buffer=4)
    assert torch.equal(in_order(again, range(len(seen), 72)), whole[len(seen) :])
    for one in (here, again):
        one.close()


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
