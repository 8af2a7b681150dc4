"""Objects over HTTP, from a real server with a proxy that cuts, stalls, corrupts and refuses."""

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from cluster import download, objects
from cluster.errors import MachineError, ObjectError
from cluster.object_cache import at_hand
from cluster.objects import exists, fetch, listing, put_bytes, put_file, put_folder, remove, url_of
from tests.stores import BUCKET, SHORT, Fault, Store, under

ROOT = Path(__file__).parents[2]
CONTENT = os.urandom(300_000)


def s3(name: str) -> str:
    return f"s3://{BUCKET}/{name}"


def test_a_path_object_of_an_address_is_still_that_address():
    assert url_of(Path("s3://bucket/a b/ü.png")) == "s3://bucket/a b/ü.png"
    assert url_of("s3://bucket/a/", "b", "c/d") == "s3://bucket/a/b/c/d"
    assert url_of("s3://bucket") == "s3://bucket"
    assert objects.is_remote(Path("s3://bucket/a"))
    assert not objects.is_remote("runs/s3")
    with pytest.raises(MachineError, match="runs: expected s3://bucket/folder"):
        url_of("runs")


def test_what_was_put_comes_back_and_is_listed_by_name(store: Store, tmp_path: Path):
    for name in ("all/b ü.bin", "all/a/c.bin", "all.txt"):
        put_bytes(name.encode(), s3(name))
    (tmp_path / "large").write_bytes(CONTENT)
    put_file(tmp_path / "large", s3("all/large"))
    assert [one.name for one in listing(s3("all"))] == ["a/c.bin", "b ü.bin", "large"]
    assert [one.name for one in listing(s3("all.txt"))] == [""]
    found = fetch(s3("all/large"), tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == CONTENT
    assert (found.bytes, len(found.sha256)) == (len(CONTENT), 64)
    assert exists(s3("all"))
    assert not exists(s3("al"))
    remove([s3("all.txt"), s3("never")])
    assert not exists(s3("all.txt"))


def test_a_file_in_several_pieces_comes_back(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(objects, "PIECE", 5 << 20)
    content = os.urandom(6 << 20)
    (tmp_path / "pieces").write_bytes(content)
    put_file(tmp_path / "pieces", s3("pieces"))
    (one,) = listing(s3("pieces"))
    assert "-2" in one.etag  # put in two
    fetch(s3("pieces"), tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == content
    store.faults.append(Fault("corrupt", "/pieces"))
    with pytest.raises(MachineError, match="sha256 is not that"):
        fetch(s3("pieces"), tmp_path / "again")


def test_a_busy_server_is_asked_again_and_in_the_end_named(store: Store, tmp_path: Path):
    put_bytes(CONTENT, s3("busy"))
    store.faults.append(Fault("503", "/busy", times=2))
    fetch(s3("busy"), tmp_path / "busy")
    assert (tmp_path / "busy").read_bytes() == CONTENT
    store.faults.append(Fault("503", "/busy"))
    with pytest.raises(MachineError, match=r"answers 503 SlowDown .* try later") as said:
        fetch(s3("busy"), tmp_path / "never")
    assert said.value.exit_code == 5
    assert [path.name for path in tmp_path.iterdir() if "never" in path.name] == []


@pytest.mark.parametrize("kind", ["cut", "stall"])
def test_a_body_that_ends_early_goes_on_where_it_ended(store: Store, tmp_path: Path, kind: str):
    put_bytes(CONTENT, s3(kind))
    store.faults.append(Fault(kind, f"/{kind}", times=2))
    fetch(s3(kind), tmp_path / "whole")
    assert (tmp_path / "whole").read_bytes() == CONTENT
    ranges = [asked for method, path, asked in store.asked if method == "GET" and path.endswith(f"/{kind}")]
    assert ranges[0] == ""
    assert all(asked.startswith("bytes=") for asked in ranges[1:])
    assert len(ranges) == 3


def test_a_body_that_never_comes_whole_leaves_nothing(store: Store, tmp_path: Path):
    put_bytes(CONTENT, s3("torn"))
    store.faults.append(Fault("stall", "/torn"))
    with pytest.raises(MachineError, match=r"s3://graft/torn: does not arrive whole .*tried 3 times"):
        fetch(s3("torn"), tmp_path / "torn")
    assert [path.name for path in tmp_path.iterdir()] == []


def dripping(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "LIMITS", replace(SHORT, patience=1.0))


def test_a_body_that_drips_is_given_up_soon_and_goes_on_where_it_was(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    dripping(monkeypatch)
    put_bytes(CONTENT, s3("drip"))
    store.faults.append(Fault("drip", "/drip", times=2))
    began = time.monotonic()
    fetch(s3("drip"), tmp_path / "whole")
    assert time.monotonic() - began < 20  # all of it would be a minute, twice
    assert (tmp_path / "whole").read_bytes() == CONTENT
    ranges = [asked for method, path, asked in store.asked if method == "GET" and path.endswith("/drip")]
    starts = [int(asked.removeprefix("bytes=").rstrip("-") or 0) for asked in ranges]
    assert len(starts) == 3
    assert starts[1] > len(CONTENT) // 2  # what dripped is not asked for again
    assert starts[2] > starts[1] + (len(CONTENT) - starts[1]) // 2


def test_a_body_that_always_drips_is_one_sentence_and_leaves_nothing(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    dripping(monkeypatch)
    put_bytes(CONTENT, s3("drop"))
    store.faults.append(Fault("drip", "/drop"))
    began = time.monotonic()
    with pytest.raises(
        MachineError, match=r"drop: does not arrive whole \(\d+ bytes a second; tried 3 times"
    ) as said:
        fetch(s3("drop"), tmp_path / "drop")
    assert time.monotonic() - began < 30
    assert said.value.exit_code == 5
    assert list(tmp_path.iterdir()) == []


def test_credentials_that_expire_in_the_middle_of_a_body_leave_nothing_of_it(store: Store, tmp_path: Path):
    put_bytes(CONTENT, s3("midway"))
    store.asked.clear()
    store.faults += [Fault("cut", "/midway", times=1), Fault("expired", "/midway")]
    with pytest.raises(
        MachineError, match=r"midway: .*ExpiredToken: The provided token has expired\); renew"
    ):
        fetch(s3("midway"), tmp_path / "midway")
    assert [asked for _, _, asked in store.asked] == ["", f"bytes={len(CONTENT) // 2}-"]
    assert list(tmp_path.iterdir()) == []
    store.faults.clear()
    fetch(s3("midway"), tmp_path / "midway")
    assert (tmp_path / "midway").read_bytes() == CONTENT


def test_another_byte_is_noticed_by_our_own_sha256_and_fetched_again(store: Store, tmp_path: Path):
    put_bytes(CONTENT, s3("wrong"))
    store.faults.append(Fault("corrupt", "/wrong", times=1))
    fetch(s3("wrong"), tmp_path / "right")
    assert (tmp_path / "right").read_bytes() == CONTENT
    store.faults.append(Fault("corrupt", "/wrong"))
    with pytest.raises(MachineError, match="its sha256 is not that of what was put there"):
        fetch(s3("wrong"), tmp_path / "never")
    assert not (tmp_path / "never").exists()


def test_an_object_that_others_put_is_held_against_its_md5(store: Store, tmp_path: Path):
    objects._client().put_object(Bucket=BUCKET, Key="theirs", Body=CONTENT)
    assert len(fetch(s3("theirs"), tmp_path / "theirs").sha256) == 64
    store.faults.append(Fault("corrupt", "/theirs"))
    with pytest.raises(MachineError, match="its MD5 is not that of what was put there"):
        fetch(s3("theirs"), tmp_path / "never")


def test_expired_credentials_are_said_at_once(store: Store, tmp_path: Path):
    put_bytes(b"1", s3("mine"))
    store.asked.clear()
    store.faults += [Fault("expired", method=method) for method in ("GET", "PUT")]
    for ask in (
        lambda: listing(s3("mine")),
        lambda: fetch(s3("mine"), tmp_path / "x"),
        lambda: put_bytes(b"", s3("x")),
    ):
        with pytest.raises(
            MachineError, match=r"ExpiredToken: The provided token has expired\); renew"
        ) as said:
            ask()
        assert said.value.exit_code == 5
    assert len(store.asked) == 3  # none of them was tried again
    store.faults.clear()
    assert fetch(s3("mine"), tmp_path / "x").bytes == 1


def test_what_is_missing_is_an_input_and_a_server_that_is_away_is_not(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for where in (s3("nothing"), "s3://nobodys/thing"):
        with pytest.raises(ObjectError) as said:
            listing(where)
        assert said.value.exit_code == 3
        with pytest.raises(ObjectError, match="has no such"):
            fetch(where, tmp_path / "x")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    with pytest.raises(
        MachineError, match=r"http://127.0.0.1:9 does not answer \(EndpointConnectionError"
    ) as away:
        listing(s3("nothing"))
    assert (away.value.exit_code, isinstance(away.value, ObjectError)) == (5, False)


def test_no_credentials_at_all_are_said_quickly(store: Store, tmp_path: Path):
    kept = {key: value for key, value in under(store).items() if not key.startswith("AWS_")}
    code = "from cluster.objects import listing\ntry:\n  listing('s3://a-b-c/d')\nexcept Exception as e: print(e)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=kept | {"HOME": str(tmp_path), "AWS_ENDPOINT_URL": store.url},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "does not accept the credentials (Unable to locate credentials); renew" in done.stdout, done.stderr


def test_a_folder_is_visible_when_its_last_file_is(store: Store, tmp_path: Path):
    for name in ("a.bin", "z.bin", "manifest.json"):
        (tmp_path / name).write_text(name)
    put_folder(tmp_path, s3("set"), "manifest.json")
    store.asked.clear()
    put_folder(tmp_path, s3("set"), "manifest.json")
    changed = [(method, path.rpartition("/")[2].partition("?")[0]) for method, path, _ in store.asked]
    assert changed[0] == ("DELETE", "manifest.json")
    assert changed[-1] == ("PUT", "manifest.json")
    assert len(changed) == 4


def test_a_name_that_leads_out_of_its_folder_is_refused(store: Store):
    objects._client().put_object(Bucket=BUCKET, Key="evil/a/../../../x.png", Body=b"1")
    with pytest.raises(ObjectError, match="leads out of its folder"):
        at_hand(s3("evil"))
