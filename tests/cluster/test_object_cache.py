"""What was fetched from a store lies in a cache: once, whole, and not for ever."""

import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from cluster.errors import MachineError
from cluster.object_cache import ObjectCache, at_hand, open_cache, present, size_of, using
from cluster.objects import put_bytes
from tests.cluster.test_objects import CONTENT, ROOT, s3
from tests.stores import Store


def test_a_folder_is_fetched_once_and_read_again_without_its_bodies(store: Store, tmp_path: Path):
    for name in ("1.png", "deep/2.png"):
        put_bytes(name.encode(), s3(f"pictures/{name}"))
    place = at_hand(s3("pictures"))
    assert place.name == "pictures"
    assert {path.relative_to(place).as_posix() for path in place.rglob("*.png")} == {"1.png", "deep/2.png"}
    assert store.count("GET", "/1.png") == 1
    again = ObjectCache(tmp_path / "cache", 1 << 30)  # as another process would
    assert again.at_hand(s3("pictures"), lambda names: ()) == place
    assert store.count("GET", "/1.png") == 1
    put_bytes(b"other", s3("pictures/1.png"))
    assert at_hand(s3("pictures")) == place  # one process sees one state
    newer = ObjectCache(tmp_path / "cache", 1 << 30).at_hand(s3("pictures"), lambda names: ())
    assert (newer / "1.png").read_bytes() == b"other"
    assert (place / "1.png").read_bytes() == b"1.png"


def test_a_cached_file_that_the_disk_has_changed_is_fetched_again(store: Store, tmp_path: Path):
    put_bytes(CONTENT, s3("one.bin"))
    path = at_hand(s3("one.bin"))
    path.write_bytes(CONTENT[:-1] + b"?")
    assert ObjectCache(tmp_path / "cache", 1 << 30).at_hand(s3("one.bin"), lambda names: ()) == path
    assert path.read_bytes() == CONTENT


def test_what_is_left_for_later_comes_when_it_is_used_and_the_least_used_leaves(
    store: Store, monkeypatch: pytest.MonkeyPatch
):
    names = [f"{number}.tar" for number in range(4)]
    for name in names:
        put_bytes(CONTENT + name.encode(), s3(f"shards/{name}"))
    put_bytes(b"{}", s3("shards/manifest.json"))
    monkeypatch.setenv("GRAFT_CACHE_GB", str(2.5 * len(CONTENT) / 2**30))
    place = at_hand(s3("shards"), later=lambda found: [name for name in found if name.endswith(".tar")])
    assert [path.name for path in place.iterdir()] == ["manifest.json"]
    assert size_of(place / "0.tar") == len(CONTENT) + 5
    for name in (*names, *names):  # twice around, with room for two
        with using(place / name):
            assert (place / name).read_bytes() == CONTENT + name.encode()
        assert sum(path.stat().st_size for path in place.iterdir()) < 2.5 * len(CONTENT)
        assert (place / "manifest.json").is_file()  # in use, so it stays
    assert store.count("GET", ".tar") == 8
    with using(place / "3.tar"):
        pass
    assert store.count("GET", ".tar") == 8
    with (
        using(place / "0.tar"),
        using(place / "1.tar"),
        using(place / "2.tar"),
    ):  # more than there is room for
        assert {path.name for path in place.glob("*.tar")} == {"0.tar", "1.tar", "2.tar"}
    present(place / "3.tar")
    assert {path.name for path in place.glob("*.tar")} == {"2.tar", "3.tar"}


def test_what_another_process_uses_stays_until_it_is_gone(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    put_bytes(CONTENT, s3("theirs.tar"))
    put_bytes(CONTENT, s3("ours.tar"))
    monkeypatch.setenv("GRAFT_CACHE_GB", str(1.5 * len(CONTENT) / 2**30))
    code = f"""import sys
from cluster.object_cache import at_hand
print(at_hand({s3("theirs.tar")!r}), flush=True)
sys.stdin.read()"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        theirs = Path(other.stdout.readline().strip())
        ours = at_hand(s3("ours.tar"))
        assert (theirs.read_bytes(), ours.read_bytes()) == (CONTENT, CONTENT)
        other.kill()
        other.wait()
    put_bytes(b"1", s3("more.tar"))
    at_hand(s3("more.tar"))
    assert not theirs.exists()
    assert ours.read_bytes() == CONTENT
    with pytest.raises(MachineError, match=r"bytes are needed at once"):
        ObjectCache(tmp_path / "small", 1000).at_hand(s3("ours.tar"), lambda names: ())


def test_several_at_once_fetch_one_object_once(store: Store, tmp_path: Path):
    put_bytes(CONTENT, s3("shared.bin"))
    caches = [ObjectCache(tmp_path / "cache", 1 << 30) for _ in range(4)]
    found: list[bytes] = []
    threads = [
        threading.Thread(
            target=lambda one=one: found.append(one.at_hand(s3("shared.bin"), lambda n: ()).read_bytes())
        )
        for one in caches
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [CONTENT] * 4
    assert store.count("GET", "/shared.bin") == 1


def test_a_home_that_cannot_be_written_and_settings_that_cannot_be(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("GRAFT_CACHE_GB", "many")
    with pytest.raises(MachineError, match="GRAFT_CACHE_GB is many, expected a number"):
        open_cache()
    monkeypatch.delenv("GRAFT_CACHE_GB")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GRAFT_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(MachineError, match=r"GRAFT_CACHE is .* nothing can be written"):
        open_cache()
    monkeypatch.delenv("GRAFT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file" / "home"))
    put_bytes(b"1", s3("small"))
    assert at_hand(s3("small")).read_bytes() == b"1"


def test_asking_for_help_imports_no_boto3():
    code = "import sys, cluster.objects, cluster.object_cache; print(json.dumps('boto3' in sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", f"import json; {code}"], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert json.loads(done.stdout) is False
