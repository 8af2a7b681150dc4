import io
import tarfile

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipeline.data.held import open_set
from pipeline.data.pack import Choices, pack
from pipeline.data.pairs import Pairs, open_pairs
from pipeline.data.pictures import to_tensor
from pipeline.data.samples import Broken, Pair, Sample
from pipeline.data.shards import pairs, samples
from pipeline.errors import GraftError
from tests.data.drawn import content, folder, picture

COUNT = 6


def line(number, side=16):
    return picture(number, side, side)


def colour(number, side=16):
    return picture(1000 + number, side, side)


def beside(number, side=16):
    """A on the left, B on the right."""
    both = Image.new("RGB", (2 * side, side))
    both.paste(line(number, side), (0, 0))
    both.paste(colour(number, side), (side, 0))
    return both


def members(number, side=16):
    key = f"k{number:04d}"
    return [
        (f"{key}.a.png", content(line(number, side))),
        (f"{key}.b.png", content(colour(number, side))),
        (f"{key}.json", b'{"licence":"CC0-1.0"}'),
    ]


def tar(path, found):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as archive:
        for name, data in found:
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return path


def in_shards(where, first, count):
    tar(where / "train.tar.gz", [one for i in range(first, first + count) for one in members(i)])


def in_folders(where, first, count):
    for side, drawn in (("A", line), ("B", colour)):
        (where / side / "deep").mkdir(parents=True, exist_ok=True)
        for i in range(first, first + count):
            drawn(i).save(where / side / "deep" / f"k{i:04d}.{'png' if side == 'A' else 'bmp'}")


def marked(where, first, count):
    where.mkdir(parents=True, exist_ok=True)
    for i in range(first, first + count):
        for name, data in members(i):
            (where / name).write_bytes(data)


def side_by_side(where, first, count):
    where.mkdir(parents=True, exist_ok=True)
    for i in range(first, first + count):
        beside(i).save(where / f"k{i:04d}.png")


def pixels(drawn, count=COUNT, first=0):
    return torch.stack([to_tensor(drawn(i)) for i in range(first, first + count)])


@pytest.mark.parametrize("lay", [in_shards, in_folders, marked, side_by_side])
def test_both_halves_come_bit_by_bit_in_the_order_of_their_names(tmp_path, lay):
    lay(tmp_path / "p", 0, COUNT)
    found = open_pairs(tmp_path / "p", 16)
    assert (found.count, found.size) == (COUNT, 16)
    assert torch.equal(found.a, pixels(line))
    assert torch.equal(found.b, pixels(colour))
    assert not found.notes


@pytest.mark.parametrize("lay", [in_shards, in_folders, marked, side_by_side])
def test_an_archive_is_read_like_its_folder(tmp_path, lay):
    lay(tmp_path / "p", 0, 3)
    if lay is in_shards:
        archive = tmp_path / "p" / "train.tar.gz"
    else:
        files = sorted(path for path in (tmp_path / "p").rglob("*") if path.is_file())
        found = [(path.relative_to(tmp_path / "p").as_posix(), path.read_bytes()) for path in files]
        archive = tar(tmp_path / "a.tar", found)
    assert open_pairs(archive, 16).sha256 == open_pairs(tmp_path / "p", 16).sha256


@pytest.mark.parametrize("lay", [in_folders, marked, side_by_side])
def test_folders_beside_train_are_held_out(tmp_path, lay):
    lay(tmp_path / "p" / "train", 0, 4)
    lay(tmp_path / "p" / "val", 4, 2)
    assert torch.equal(open_pairs(tmp_path / "p", 16).a, pixels(line, 4))
    assert torch.equal(open_pairs(tmp_path / "p", 16, split="heldout").b, pixels(colour, 2, 4))


def test_a_and_b_may_each_have_their_splits(tmp_path):
    for split, first, count in (("train", 0, 4), ("test", 4, 2)):
        for side, drawn in (("A", line), ("B", colour)):
            (tmp_path / "p" / side / split).mkdir(parents=True)
            for i in range(first, first + count):
                drawn(i).save(tmp_path / "p" / side / split / f"k{i}.png")
    assert torch.equal(open_pairs(tmp_path / "p", 16).a, pixels(line, 4))
    assert torch.equal(open_pairs(tmp_path / "p", 16, split="heldout").b, pixels(colour, 2, 4))


def test_shards_called_test_are_held_out(tmp_path):
    in_shards(tmp_path / "p", 0, 4)
    tar(tmp_path / "p" / "test.tar", [one for i in range(4, 6) for one in members(i)])
    assert open_pairs(tmp_path / "p", 16).count == 4
    assert torch.equal(open_pairs(tmp_path / "p", 16, split="heldout").a, pixels(line, 2, 4))


def test_a_set_without_held_out_pairs_says_so(tmp_path):
    in_shards(tmp_path / "p", 0, 4)
    with pytest.raises(GraftError, match="no held-out pairs in it"):
        open_pairs(tmp_path / "p", 16, split="heldout")


def some(seed=0):
    a = torch.arange(7, dtype=torch.uint8).reshape(7, 1, 1, 1).expand(7, 3, 8, 8)
    return Pairs(a.contiguous(), (a + 100).contiguous(), seed)


@given(st.lists(st.integers(0, 10**9), max_size=12), st.integers(0, 2**32))
def test_take_is_a_pure_function_and_keeps_pairs_together(counters, seed):
    a, b = some(seed).take(torch.tensor(counters, dtype=torch.int64))
    assert torch.equal(a + 100, b)
    alone = [some(seed).take(torch.tensor([counter]))[0] for counter in counters]
    assert torch.equal(a, torch.cat([*alone, a[:0]]))


def test_each_epoch_shows_each_pair_once_and_streams_have_their_own_order():
    epochs = [
        some().take(torch.arange(start, start + 7))[0][:, 0, 0, 0].tolist() for start in range(0, 70, 7)
    ]
    assert all(sorted(epoch) == list(range(7)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1
    counters = torch.arange(70)
    assert not torch.equal(some().take(counters)[0], some().take(counters, "second")[0])
    assert not torch.equal(some(0).take(counters)[0], some(1).take(counters)[0])


def test_the_digest_tells_a_from_b_and_not_the_seed():
    one = some()
    assert one.sha256 == some(3).sha256
    assert one.sha256 != Pairs(one.b, one.a, 0).sha256


def test_one_broken_half_breaks_one_pair_which_is_skipped_and_named(tmp_path):
    extra = [("bad.a.png", content(line(1, 8))), ("bad.b.png", b"rubbish")]
    found = open_pairs(tar(tmp_path / "a.tar", [*_hundred(), *extra]), 8)
    assert found.count == 100
    assert [note for note in found.notes if "skipped, broken" in note and "bad.b.png" in note]
    lonely = [("alone.a.png", content(line(2, 8)))]
    with pytest.raises(GraftError, match="2 of 102 samples are broken, more than 1 %") as caught:
        open_pairs(tar(tmp_path / "b.tar", [*_hundred(), *extra, *lonely]), 8)
    assert caught.value.exit_code == 3
    assert "no picture B of this pair" in str(caught.value)


def _hundred():
    return [one for i in range(100) for one in members(i, 8)]


def test_a_name_without_its_other_half_is_a_broken_pair(tmp_path):
    in_folders(tmp_path / "p", 0, 1)
    line(5).save(tmp_path / "p" / "A" / "lonely.png")
    with pytest.raises(GraftError, match=r"lonely: no picture B of this pair"):
        open_pairs(tmp_path / "p", 16)


def test_pictures_that_lie_in_neither_folder_are_ignored_and_named(tmp_path):
    in_folders(tmp_path / "p", 0, 2)
    line(5).save(tmp_path / "p" / "stray.png")
    (tmp_path / "p" / "read.me").write_text("x")
    assert open_pairs(tmp_path / "p", 16).notes == ["ignored, not pictures: read.me, stray.png"]


def test_pictures_that_are_no_pairs_say_what_a_pair_would_be(tmp_path):
    with pytest.raises(GraftError, match="16x16 pixels; a pair in one picture is twice as wide as high"):
        open_pairs(folder(tmp_path / "p", 3), 16)


def test_another_size_stops_with_the_way_out_and_fits_both_halves_alike(tmp_path):
    in_shards(tmp_path / "p", 0, 2)
    with pytest.raises(GraftError, match=r"k0000\.a\.png: 16x16 pixels.*data\.fit=crop"):
        open_pairs(tmp_path / "p", 8)
    found = open_pairs(tmp_path / "p", 8, "resize")
    assert found.notes == ["4 pictures: resized"]
    expected = to_tensor(line(0).resize((8, 8), Image.Resampling.LANCZOS))
    assert torch.equal(found.a[0], expected)


def test_more_pairs_than_memory_is_for_say_what_to_do(tmp_path):
    in_shards(tmp_path / "p", 0, 4)
    assert open_pairs(tmp_path / "p", 16, hold_limit_bytes=4 * 6 * 16 * 16).count == 4
    with pytest.raises(GraftError, match=r"more than 3 pairs of 16x16 .* take a smaller size, or a part"):
        open_pairs(tmp_path / "p", 16, hold_limit_bytes=4 * 6 * 16 * 16 - 1)


def test_shards_give_pairs_single_pictures_and_broken_ones(tmp_path):
    found = [
        *members(1),
        ("wide.png", content(beside(2))),
        ("x.b.png", b""),
        ("x.b.jpg", b""),
        ("y.json", b"{}"),
    ]
    where = tar(tmp_path / "a.tar", found)
    assert [type(one) for one in pairs(where)] == [Pair, Sample, Broken, Broken]
    reasons = [one.reason for one in pairs(where) if isinstance(one, Broken)]
    assert reasons == ["no picture A of this pair", "no picture of this key"]


def test_pairs_are_not_taken_for_single_pictures(tmp_path):
    where = tar(tmp_path / "a.tar", members(1))
    assert all(isinstance(one, Broken) and "not one picture" in one.reason for one in samples(where))
    pack(where, tmp_path / "s", Choices(kind="pairs"))
    with pytest.raises(GraftError, match="a pair: not one picture"):
        open_set(tmp_path / "s", 16)
