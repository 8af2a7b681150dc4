import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.data.pack import Choices, pack
from pipeline.data.shards import write_shard
from pipeline.data.streamed import Streamed
from pipeline.errors import GraftError
from tests.data.drawn import content, folder, picture

COUNT = 23


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    path = tmp_path_factory.mktemp("streamed")
    pack(folder(path / "p", COUNT), path / "s", Choices(per_shard=6))
    return sorted((path / "s").glob("*.tar"))


def opened(shards, seed=3, buffer=5):
    return Streamed(shards, 16, seed, buffer)


def batch(streamed, counters):
    return streamed.take(torch.tensor(list(counters), dtype=torch.int64))


@pytest.fixture(scope="module")
def whole(shards):
    streamed = opened(shards)
    found = torch.cat([batch(streamed, range(i, i + 4)) for i in range(0, 4 * COUNT, 4)])
    streamed.close()
    return found


@pytest.mark.parametrize("buffer", [1, 2, 5, 22, 23, 1000])
def test_each_epoch_shows_each_picture_once(shards, buffer):
    streamed = opened(shards, buffer=buffer)
    epochs = [batch(streamed, range(e * COUNT, (e + 1) * COUNT)) for e in range(3)]
    for epoch in epochs:
        assert len({one.numpy().tobytes() for one in epoch}) == COUNT
    assert not torch.equal(epochs[0], epochs[1])
    streamed.close()


@pytest.mark.parametrize("counter", [0, 1, 7, 8, COUNT - 1, COUNT, 40, 3 * COUNT + 2])
def test_a_fresh_open_at_any_counter_goes_on_as_the_uninterrupted_one(shards, whole, counter):
    streamed = opened(shards)
    for start in range(counter, min(counter + 12, 4 * COUNT - 4), 4):
        assert torch.equal(batch(streamed, range(start, start + 4)), whole[start : start + 4])
    streamed.close()


@pytest.mark.parametrize(("room", "kept"), [(0, 0), (12_000, 2), (1 << 20, 4)])
def test_shards_that_do_not_fit_into_memory_are_read_again_and_give_the_same(shards, whole, room, kept):
    streamed = Streamed(shards, 16, 3, 5, room=room)
    assert len(streamed._kept) == kept
    found = torch.cat([batch(streamed, range(i, i + 4)) for i in range(0, 4 * COUNT, 4)])
    assert torch.equal(found, whole)
    streamed.close()


def test_a_shard_that_changed_since_it_was_counted_stops_the_stream(tmp_path):
    (path,) = with_bad(tmp_path / "a.tar", 6, 0)
    streamed = Streamed([path], 16, 0, room=0)
    with_bad(path, 4, 0)
    with pytest.raises(GraftError, match="has changed while it was read") as caught:
        batch(streamed, range(12))
    assert caught.value.exit_code == 3
    streamed.close()


@pytest.mark.parametrize("world", [2, 3])
def test_many_processes_slice_the_same_stream(shards, whole, world):
    ranks = [opened(shards) for _ in range(world)]
    size = 6
    for start in range(0, 60, size):
        rows = range(start, start + size)
        for rank, streamed in enumerate(ranks):
            mine = [row for row in rows if row % world == rank]
            assert torch.equal(batch(streamed, mine), whole[mine])
    for streamed in ranks:
        streamed.close()


@settings(max_examples=25)
@given(st.lists(st.lists(st.integers(0, 4 * COUNT - 1), max_size=6), max_size=8))
def test_any_pattern_of_asking_gives_the_same_pictures(shards, whole, asked):
    streamed = opened(shards)
    for counters in asked:
        assert torch.equal(batch(streamed, counters), whole[counters])
    streamed.close()


def test_another_process_sees_the_same_order(shards, whole):
    code = (
        "import sys, hashlib, torch; from pathlib import Path; from pipeline.data.streamed import Streamed;"
        "s = Streamed([Path(p) for p in sys.argv[1:]], 16, 3, 5);"
        "print(hashlib.sha256(s.take(torch.arange(30)).numpy().tobytes()).hexdigest()); s.close()"
    )
    import hashlib

    words = [sys.executable, "-c", code, *map(str, shards)]
    out = subprocess.run(words, capture_output=True, text=True, check=True, timeout=120).stdout.strip()
    assert out == hashlib.sha256(whole[:30].numpy().tobytes()).hexdigest()


def test_seed_and_buffer_are_the_order(shards, whole):
    for other in (opened(shards, seed=4), opened(shards, buffer=6)):
        assert not torch.equal(batch(other, range(COUNT)), whole[:COUNT])
        other.close()


def test_next_batches_are_decoded_before_they_are_asked_for(shards):
    streamed = opened(shards)
    batch(streamed, range(4))
    batch(streamed, range(4, 8))
    assert tuple(range(8, 12)) in streamed._ready
    streamed.close()


def with_bad(path, good, bad):
    contents = [(f"{i:04d}", {"png": content(picture(i))}) for i in range(good)]
    contents[3:3] = [(f"bad{i}", {"png": b"rubbish"}) for i in range(bad)]
    write_shard(path, contents)
    return [path]


def test_a_broken_picture_gives_its_place_to_another_and_is_named(tmp_path):
    shards = with_bad(tmp_path / "a.tar", 120, 1)
    streams = [opened(shards, buffer=50) for _ in range(2)]
    first = batch(streams[0], range(121))
    assert torch.equal(first[60:], batch(streams[1], range(60, 121)))
    assert len({one.numpy().tobytes() for one in first}) == 120
    assert any("bad0.png" in note for note in streams[0].notes)
    for streamed in streams:
        streamed.close()


def test_more_than_one_in_a_hundred_broken_stops_the_stream(tmp_path):
    streamed = opened(with_bad(tmp_path / "a.tar", 120, 2))
    with pytest.raises(GraftError, match="2 of 122 samples are broken") as caught:
        batch(streamed, range(122))
    assert caught.value.exit_code == 3
    streamed.close()


def test_another_size_stops_with_the_way_out(shards):
    streamed = Streamed(shards, 32, 0)
    with pytest.raises(GraftError, match=r"data\.fit=crop"):
        batch(streamed, [0])
    streamed.close()


def test_the_digest_follows_the_bytes(shards, tmp_path):
    streamed = opened(shards)
    assert len(streamed.sha256) == 64
    assert streamed.sha256 == opened(shards, seed=9).sha256
    streamed.close()
