import errno
import fcntl
import json
import os
import shutil
import time
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest
import torch
from torch import Tensor

from pipeline.errors import GraftError
from pipeline.store import Cache, Checkpoints, alone, read_json, write_json


def tensors(value: float) -> dict[str, Tensor]:
    return {"net/G/weight": torch.full((3, 2), value), "memory/path_mean": torch.tensor(value)}


def saved(folder: Path, *steps: int) -> Checkpoints:
    store = Checkpoints(folder)
    for step in steps:
        store.save(step, tensors(float(step)), {"step": step})
    return store


def newest_step(folder: Path) -> int | None:
    found = Checkpoints(folder).newest()
    if found is None:
        return None
    assert all(bool((value == float(found[1]["step"])).all()) for value in found[0].values())
    return int(found[1]["step"])


def test_what_is_saved_comes_back_bit_for_bit(tmp_path: Path) -> None:
    state = {"step": 7, "refused": {}, "terms": {"D/real": 0.1 + 0.2}}
    given = {"a": torch.randn(4, 3), "b": torch.tensor(2, dtype=torch.int64), "c": torch.randn(2).double()}
    Checkpoints(tmp_path).save(7, given, state)
    found = Checkpoints(tmp_path).newest()
    assert found is not None
    assert all(
        torch.equal(found[0][key], given[key]) and found[0][key].dtype == given[key].dtype for key in given
    )
    assert {key: found[1][key] for key in state} == state


def test_the_newest_two_are_kept_and_numbers_are_compared_as_numbers(tmp_path: Path) -> None:
    saved(tmp_path, 100, 200, 300)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["000200", "000300"]
    saved(tmp_path, 999_999, 1_000_000, 1_000_001)
    assert newest_step(tmp_path) == 1_000_001
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1000000", "1000001"]


def test_nothing_saved_is_nothing_found(tmp_path: Path) -> None:
    assert Checkpoints(tmp_path / "never").newest() is None


def test_a_half_written_checkpoint_is_never_seen_and_its_remains_do_no_harm(tmp_path: Path) -> None:
    saved(tmp_path, 10)
    shutil.copytree(tmp_path / "000010", tmp_path / ".000020.part")
    (tmp_path / ".000020.part" / "state.json").unlink()
    assert newest_step(tmp_path) == 10
    saved(tmp_path, 20)
    assert newest_step(tmp_path) == 20


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3])


def changed(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("name", ["tensors.safetensors", "state.json"])
@pytest.mark.parametrize("harm", [cut, changed, Path.unlink])
def test_a_checkpoint_the_disk_has_harmed_is_passed_over_for_the_one_before(
    tmp_path: Path, name: str, harm: Callable[[Path], None]
) -> None:
    saved(tmp_path, 10, 20)
    harm(tmp_path / "000020" / name)
    if name == "state.json" and harm is changed:  # the last byte is the end of the line
        (tmp_path / "000020" / name).write_text('{"step": 20, "sha256": "0"}')
    assert newest_step(tmp_path) == 10


def test_a_harmed_checkpoint_is_replaced_when_its_step_is_reached_again(tmp_path: Path) -> None:
    saved(tmp_path, 10, 20)
    changed(tmp_path / "000020" / "tensors.safetensors")
    saved(tmp_path, 20)
    assert newest_step(tmp_path) == 20


@pytest.mark.parametrize("call", range(1, 8))
def test_a_writer_that_dies_at_any_flush_or_rename_leaves_a_whole_checkpoint(
    tmp_path: Path, call: int
) -> None:
    saved(tmp_path, 10)
    child = get_context("fork").Process(target=dies_while_saving, args=(tmp_path, call))
    child.start()
    child.join(60)
    assert newest_step(tmp_path) in (10, 20)
    saved(tmp_path, 30)
    assert newest_step(tmp_path) == 30


def dies_while_saving(folder: Path, call: int) -> None:
    left = call

    def counted(real: Callable[..., object]) -> Callable[..., object]:
        def run(*given: object) -> object:
            nonlocal left
            left -= 1
            if left == 0:
                os._exit(9)
            return real(*given)

        return run

    os.fsync = counted(os.fsync)  # type: ignore[assignment]
    Path.rename = counted(Path.rename)  # type: ignore[assignment, method-assign]
    Path.replace = counted(Path.replace)  # type: ignore[assignment, method-assign]
    saved(folder, 20)


def test_json_is_written_whole_and_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    write_json(path, {"name": "größe", "value": 0.1})
    assert read_json(path) == {"name": "größe", "value": 0.1}
    assert list(tmp_path.iterdir()) == [path]
    cut(path)
    cut(path)
    with pytest.raises(GraftError, match=r"state\.json: cannot be read as JSON") as caught:
        read_json(path)
    assert caught.value.exit_code == 3


def makes_slowly(folder: Path, made: Path) -> None:
    def make() -> dict[str, Tensor]:
        with made.open("a") as file:
            file.write(f"{os.getpid()}\n")
        time.sleep(0.3)  # long enough that both would make it if nothing held them apart
        return {"codes": torch.arange(6.0)}

    found = Cache(folder).get("inversions", {"source": "abc", "steps": 5}, make)
    assert torch.equal(found["codes"], torch.arange(6.0))


def test_two_processes_make_a_cached_thing_once(tmp_path: Path) -> None:
    made = tmp_path / "made.txt"
    children = [
        get_context("fork").Process(target=makes_slowly, args=(tmp_path / "cache", made)) for _ in range(2)
    ]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
    assert [child.exitcode for child in children] == [0, 0]
    assert len(made.read_text().splitlines()) == 1


def test_a_cached_thing_belongs_to_its_kind_and_key_and_a_harmed_one_is_made_again(tmp_path: Path) -> None:
    cache, calls = Cache(tmp_path), []

    def make() -> dict[str, Tensor]:
        calls.append(1)
        return {"x": torch.tensor([float(len(calls))])}

    assert cache.get("a", {"k": 1, "l": 2}, make)["x"] == 1
    assert cache.get("a", {"l": 2, "k": 1}, make)["x"] == 1
    assert cache.get("b", {"k": 1, "l": 2}, make)["x"] == 2
    assert cache.get("a", {"k": 2, "l": 2}, make)["x"] == 3
    for path in (tmp_path / "a").glob("*.safetensors"):
        cut(path)
    assert cache.get("a", {"k": 1, "l": 2}, make)["x"] == 4


def test_a_state_is_plain_json(tmp_path: Path) -> None:
    folder = saved(tmp_path, 5).folder / "000005"
    assert json.loads((folder / "state.json").read_text())["step"] == 5


def holds(folder: Path, has_it: Event) -> None:
    with alone(folder, "go elsewhere"):
        has_it.set()
        time.sleep(600)


def test_a_held_folder_says_who_has_it_until_that_process_is_killed(tmp_path: Path) -> None:
    context = get_context("fork")
    has_it = context.Event()
    holder = context.Process(target=holds, args=(tmp_path / "run", has_it))
    holder.start()
    try:
        assert has_it.wait(60)
        said = rf"run: held by process {holder.pid} on .+; wait for it, or go elsewhere$"
        with pytest.raises(GraftError, match=said) as caught, alone(tmp_path / "run", "go elsewhere"):
            pass
        assert caught.value.exit_code == 2
    finally:
        holder.kill()
        holder.join(60)
    with alone(tmp_path / "run", "go elsewhere"):
        assert str(os.getpid()) in (tmp_path / "run" / ".held").read_text()


def no_locks(file: object, how: int) -> None:
    raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))  # Lustre without its option, for one


def test_where_the_file_system_has_no_locks_a_run_is_warned_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(fcntl, "flock", no_locks)
    with alone(tmp_path / "run", "go elsewhere"):
        said = capsys.readouterr().err
    assert said.startswith(f"warning: {tmp_path / 'run'}: its file system has no locks; ")
    found = Cache(tmp_path / "cache").get("a", "b", lambda: {"x": torch.ones(2)})
    assert torch.equal(found["x"], torch.ones(2))
