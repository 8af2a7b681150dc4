import hashlib
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.data.held import Held, open_set
from pipeline.data.order import mixed, number, permutation
from pipeline.data.pack import Choices, pack
from pipeline.data.streamed import Streamed
from pipeline.errors import GraftError
from tests.data.drawn import content, folder, picture


def held(count, seed=0):
    pictures = torch.arange(count, dtype=torch.uint8).reshape(count, 1, 1, 1).expand(count, 3, 8, 8)
    return Held(pictures.contiguous(), None, seed)


def shown(held_set, counters):
    return held_set.take(torch.tensor(counters, dtype=torch.int64))[:, 0, 0, 0].tolist()


def test_the_mixer_is_splitmix64():
    # the first outputs of the reference generator with seed 0
    states = np.array([0, 0x9E3779B97F4A7C15], dtype=np.uint64)
    assert [hex(value) for value in mixed(states).tolist()] == ["0xe220a8397b1dcdaf", "0x6e789e6aa1b965f4"]


@given(st.integers(0, 300), st.integers(-(2**63), 2**63), st.integers(0, 10**6))
def test_a_permutation_holds_every_index_once(count, seed, epoch):
    order = permutation(count, seed, epoch)
    assert sorted(order.tolist()) == list(range(count))
    assert np.array_equal(order, permutation(count, seed, epoch))


def test_orders_do_not_change_between_versions():
    assert permutation(8, 0, 0).tolist() == [0, 1, 6, 3, 5, 4, 2, 7]
    assert number(1, 2) != number(2, 1)


def test_each_epoch_shows_each_picture_once_in_another_order():
    one = held(50)
    epochs = [shown(one, range(start, start + 50)) for start in (0, 50, 100)]
    assert all(sorted(epoch) == list(range(50)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]


@given(st.lists(st.integers(0, 10**9), max_size=20), st.integers(0, 2**32))
def test_take_is_a_pure_function_of_seed_and_counter(counters, seed):
    together = shown(held(7, seed), counters)
    assert together == [shown(held(7, seed), [counter])[0] for counter in counters]


def test_another_seed_gives_another_order():
    assert shown(held(50, 1), range(50)) != shown(held(50, 2), range(50))


def test_the_digest_is_of_pixels_and_shape_but_not_of_the_seed():
    one = held(5, 1)
    expected = hashlib.sha256(b"5x3x8x8" + one.all().numpy().tobytes()).hexdigest()
    assert one.sha256 == held(5, 2).sha256 == expected
    assert one.sha256 != held(6).sha256


def test_a_folder_is_held_in_sorted_order(tmp_path):
    found = open_set(folder(tmp_path / "p", 5), 16)
    assert isinstance(found, Held)
    assert found.names == [f"{i:03d}.png" for i in range(5)]
    for i in range(5):
        assert torch.equal(found.all()[i], torch.from_numpy(np.asarray(picture(i)).copy()).permute(2, 0, 1))


def test_conversions_and_strays_are_noted(tmp_path):
    path = folder(tmp_path / "p", 3)
    picture(9).convert("L").save(path / "grey.png")
    (path / "notes.txt").write_text("x")
    (path / ".hidden.png").write_text("x")
    found = open_set(path, 16)
    assert found.count == 4
    assert found.notes == ["1 pictures: grey to RGB", "ignored, not pictures: notes.txt"]


def test_sub_folders_and_zips_are_read(tmp_path):
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as archive:
        for i in range(4):
            archive.writestr(f"deep/er {i}/ü.png", content(picture(i)))
        archive.writestr("__MACOSX/deep/._ü.png", b"x")
    assert open_set(tmp_path / "p.zip", 16).count == 4


def test_another_size_names_the_file_and_the_way_out(tmp_path):
    path = folder(tmp_path / "p", 2)
    with pytest.raises(GraftError, match=r"p/000\.png: 16x16 pixels, but the source model draws 32x32"):
        open_set(path, 32)
    assert open_set(path, 32, "resize").size == 32


def test_the_limit_decides_between_held_and_streamed(tmp_path):
    pack(folder(tmp_path / "p", 10), tmp_path / "s", Choices(per_shard=4))
    assert isinstance(open_set(tmp_path / "s", 16, hold_limit_bytes=10 * 3 * 16 * 16), Held)
    streamed = open_set(tmp_path / "s", 16, hold_limit_bytes=10 * 3 * 16 * 16 - 1)
    assert isinstance(streamed, Streamed)
    assert streamed.count == 10
    streamed.close()


def test_loose_pictures_beyond_the_limit_say_how_to_pack(tmp_path):
    with pytest.raises(GraftError, match="graft data pack"):
        open_set(folder(tmp_path / "p", 3), 16, hold_limit_bytes=100)


def test_heldout_shards_are_left_out(tmp_path):
    pack(folder(tmp_path / "p", 10), tmp_path / "s", Choices(heldout=3))
    train, apart = open_set(tmp_path / "s", 16), open_set(tmp_path / "s" / "heldout.tar", 16)
    assert (train.count, apart.count) == (7, 3)
    assert not set(train.names) & set(apart.names)
    (tmp_path / "s" / "manifest.json").unlink()
    assert open_set(tmp_path / "s", 16).count == 7


def test_labels_come_with_the_pictures(tmp_path):
    for name in ("a", "b"):
        folder(tmp_path / "p" / name, 2)
    pack(tmp_path / "p", tmp_path / "s", Choices(labels="folder"))
    assert open_set(tmp_path / "s", 16).labels == [0, 0, 1, 1]


def test_nothing_there_is_a_sentence(tmp_path):
    with pytest.raises(GraftError, match="no pictures in it") as caught:
        open_set(tmp_path, 16)
    assert caught.value.exit_code == 3
