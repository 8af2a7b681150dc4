"""What doctor asks of a machine itself, where it really has the fault."""

import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cluster.checks import Check, Question, ask, disk, machine, threads
from cluster.checks.weights import weights

ROOM = 0.3  # seconds of patience with what never answers


# asking


def test_one_that_hangs_is_given_up_and_the_others_answer_in_order() -> None:
    stay = threading.Event()
    begun = time.monotonic()
    slow = Question("slow", lambda: Check("slow", "ok", "late") if stay.wait(60) else None, ROOM)  # type: ignore[return-value]
    found = ask([slow, Question("quick", lambda: Check("quick", "ok", "here"), 60)])
    stay.set()
    assert [(each.name, each.state) for each in found] == [("slow", "fail"), ("quick", "ok")]
    assert "no answer within 0.3 s" in found[0].found
    assert time.monotonic() - begun < 30


def test_an_error_in_a_question_is_not_swallowed() -> None:
    def broken() -> Check:
        raise ZeroDivisionError("a bug")

    with pytest.raises(ZeroDivisionError, match="a bug"):
        ask([Question("broken", broken, 60)])


# the machine


def test_python_and_torch_are_held_to_the_range_that_is_given() -> None:
    assert machine.python((3, 11), (3, 99)).state == "ok"
    old = machine.python((3, 98), (3, 99))
    assert (old.state, "3.98 or newer, below 3.99" in old.found, bool(old.mend)) == ("fail", True, True)
    assert machine.torch_build((2, 13), (2, 14)).state == "ok"
    assert machine.torch_build((2, 0), (2, 1)).state == "fail"


def test_a_driver_that_torch_makes_no_use_of_is_told(tmp_path: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("torch uses the GPU of this machine")
    assert machine.devices(tmp_path / "none").state == "ok"
    (tmp_path / "version").touch()
    found = machine.devices(tmp_path / "version")
    assert (found.state, "NVIDIA driver is here" in found.found) == ("warn", True)


def test_bf16_is_read_from_the_flags_of_the_cpu(tmp_path: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("the GPU is asked where there is one")
    cpu = tmp_path / "cpuinfo"
    cpu.write_text("flags\t\t: fpu sse2 avx2 avx512f\n")
    assert machine.bf16(cpu).state == "absent"
    cpu.write_text("flags\t\t: fpu avx512f avx512_bf16 amx_bf16\n")
    assert "avx512_bf16" in machine.bf16(cpu).found


@pytest.mark.skipif(shutil.which("c++") is None, reason="no C++ compiler here")
def test_a_compiler_is_believed_when_what_it_made_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CXX", raising=False)
    assert machine.compiler().state in ("ok", "warn")  # warn: no ninja
    assert "compile" in machine.compiler().found
    broken = tmp_path / "c++ of mine"
    broken.write_text("#!/bin/sh\necho 'mine: cannot find crtbeginS.o' >&2\nexit 1\n")
    broken.chmod(0o755)
    found = machine.compiler(str(broken))
    assert (found.state, "does not compile" in found.found) == ("warn", True)
    missing = machine.compiler("no-such-compiler")
    assert (missing.state, missing.found) == ("warn", "no no-such-compiler on the PATH")


# threads


@pytest.mark.parametrize(
    ("variables", "limit", "state", "said"),
    [
        ({}, None, "ok", "one thread a core"),
        ({"OMP_NUM_THREADS": "1"}, None, "ok", "OMP_NUM_THREADS=1"),
        ({"OMP_NUM_THREADS": "4096"}, None, "warn", "take turns"),
        ({"OMP_NUM_THREADS": "2"}, 1.0, "warn", "quota allows 1"),
        ({"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "4096"}, None, "warn", "MKL_NUM_THREADS=4096"),
        ({"OMP_NUM_THREADS": "all"}, None, "warn", "no number of threads"),
        ({"OMP_NUM_THREADS": "0"}, None, "warn", "no number of threads"),
    ],
)
def test_threads_are_held_against_cores_and_quota(
    variables: dict[str, str], limit: float | None, state: str, said: str
) -> None:
    found = threads.threads(variables, limit)
    assert (found.state, said in found.found) == (state, True), found
    assert ("export OMP_NUM_THREADS=" in found.mend) is (state != "ok")


def test_a_quota_below_the_cores_needs_a_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "own_cpus", lambda: 16)
    found = threads.threads({}, 2.0)
    assert (found.state, "would start 16 threads" in found.found) == ("warn", True)
    assert "export OMP_NUM_THREADS=2," in found.mend


def test_the_lowest_quota_of_ones_own_groups_counts(tmp_path: Path) -> None:
    own = tmp_path / "self"
    own.write_text("0::/slice/job\n")
    (tmp_path / "slice" / "job").mkdir(parents=True)
    assert threads.cgroup_limit(tmp_path, own) is None
    (tmp_path / "slice" / "job" / "cpu.max").write_text("max 100000\n")
    assert threads.cgroup_limit(tmp_path, own) is None
    (tmp_path / "slice" / "cpu.max").write_text("150000 100000\n")
    assert threads.cgroup_limit(tmp_path, own) == 1.5
    old = tmp_path / "old"
    (old / "cpu").mkdir(parents=True)
    (old / "cpu" / "cpu.cfs_quota_us").write_text("400000\n")
    (old / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert threads.cgroup_limit(old, tmp_path / "no such file") == 4.0


# disks


def test_a_folder_is_written_and_left_as_it_was(tmp_path: Path) -> None:
    found = disk.folder("runs", tmp_path / "not" / "yet")
    assert found.state in ("ok", "warn")  # warn: the disk of this machine is nearly full, or slow
    assert "GiB free, fsync at" in found.found
    assert f"to be made in {tmp_path}" in found.found
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_takes_no_files_is_told() -> None:
    found = disk.folder("runs", Path("/proc/runs"))  # not even root can write there
    assert (found.state, "cannot be written" in found.found) == ("fail", True)
    assert "--runs" in found.mend


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    inside = f"""
import json, subprocess
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", {str(tmp_path)!r}], check=True)
from pathlib import Path
from cluster.checks import disk
found = disk.folder("runs", Path({str(tmp_path)!r}))
assert found.state == "fail" and "No space left" in found.found, found
assert list(Path({str(tmp_path)!r}).iterdir()) == []
"""
    words = ["unshare", "--user", "--map-root-user", "--mount", sys.executable, "-c", inside]
    try:
        done = subprocess.run(
            words, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=120, check=False
        )
    except FileNotFoundError:
        pytest.skip("no unshare here")
    if "unshare failed" in done.stderr or "Operation not permitted" in done.stderr:
        pytest.skip("this machine allows no mounts of one's own")
    assert done.returncode == 0, done.stderr


def test_a_home_that_takes_no_files_is_no_fault_but_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert disk.home().state in ("ok", "warn")
    monkeypatch.setenv("HOME", "/proc")
    assert (disk.home().state, "--runs" in disk.home().mend) == ("warn", True)


# files of weights


def test_weights_are_held_to_their_known_hash(tmp_path: Path) -> None:
    known = {"eye": "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"}  # of one letter, x
    check: Callable[[], Check] = lambda: weights([tmp_path], known, "the built-in one")  # noqa: E731
    assert check().state == "absent"
    (tmp_path / "eye.safetensors").write_text("x")
    assert check().state == "ok"
    (tmp_path / "eye.safetensors").write_text("y")
    assert check().state == "fail"
    assert weights([tmp_path / "none"], known, "").state == "fail"
