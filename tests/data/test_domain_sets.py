"""Domains as they lie on a disk: folders, tars, shards; held or streamed."""

import json

import pytest
import torch

from pipeline.data.domains import open_domains
from pipeline.data.layouts import placed
from pipeline.data.pack import Choices, pack
from pipeline.data.pictures import to_tensor
from pipeline.data.streamed import Streamed
from pipeline.errors import GraftError
from tests.data.drawn import content, folder, picture
from tests.data.test_domains import COUNTS, asked, tar, tars


def test_sub_folders_are_domains_and_stray_files_are_none(tmp_path):
    for name, count in COUNTS.items():
        folder(tmp_path / "p" / name / "deep", count)
    picture(1).save(tmp_path / "p" / "astray.png")
    (tmp_path / "p" / "aaa.txt").write_text("x")
    found = open_domains(tmp_path / "p", 16)
    assert dict(zip(found.names, found.counts, strict=True)) == COUNTS
    assert found.notes == ["ignored, not pictures: aaa.txt, astray.png"]
    assert torch.equal(found.held(0).all()[3], to_tensor(picture(3)))


@pytest.mark.parametrize("apart", ["test", "val", "heldout"])
def test_folders_beside_train_are_held_out(tmp_path, apart):
    for split, count in (("train", 4), (apart, 2)):
        for name in COUNTS:
            folder(tmp_path / "p" / split / name, count)
    assert open_domains(tmp_path / "p", 16).counts == (4, 4)
    assert open_domains(tmp_path / "p", 16, split="heldout").counts == (2, 2)


def test_folders_called_train_and_test_with_pictures_in_them_are_domains(tmp_path):
    for name in ("train", "plane"):
        folder(tmp_path / "p" / name, 2)
    assert open_domains(tmp_path / "p", 16).names == ("plane", "train")


def test_a_tar_for_each_domain_and_split(tmp_path):
    where = tars(tmp_path / "s")
    train, apart = open_domains(where, 16), open_domains(where, 16, split="heldout")
    assert train.names == apart.names == ("ink", "oil")
    assert (train.counts, apart.counts) == ((4, 4), (2, 2))


@pytest.mark.parametrize("name", ["ink-test.tar.gz", "oil-train.tar.gz"])
def test_splits_of_other_domains_are_refused_by_name(tmp_path, name):
    where = tars(tmp_path / "s")
    (where / name).unlink()
    for split in ("train", "heldout"):
        with pytest.raises(GraftError, match=name.split("-")[0]) as caught:
            open_domains(where, 16, split=split)
        assert "held-out domains are not those for training" in str(caught.value)
        assert caught.value.exit_code == 3


def test_folders_of_other_domains_are_refused_by_name(tmp_path):
    for split, names in (("train", ("ink", "oil")), ("val", ("ink", "oil", "tar"))):
        for name in names:
            folder(tmp_path / "p" / split / name, 2)
    with pytest.raises(GraftError, match="only held out: tar"):
        open_domains(tmp_path / "p", 16)


def test_a_domain_without_a_picture_is_refused_by_name(tmp_path):
    folder(tmp_path / "p" / "ink", 2)
    (tmp_path / "p" / "empty").mkdir()
    with pytest.raises(GraftError, match="p/empty: a domain without a picture"):
        open_domains(tmp_path / "p", 16)
    where = tars(tmp_path / "s")
    tar(where / "oil-train.tar.gz", [])
    with pytest.raises(GraftError, match="oil"):
        open_domains(where, 16)


def test_one_domain_is_allowed(tmp_path):
    folder(tmp_path / "p" / "ink", 3)
    assert open_domains(tmp_path / "p", 16).names == ("ink",)


def test_the_json_of_mixed_shards_names_the_domain(tmp_path):
    where = tmp_path / "s"
    where.mkdir()
    rows = [(f"{i}.png", content(picture(i))) for i in range(6)]
    names = [(f"{i}.json", json.dumps({"domain": ("ink", "oil")[i % 2]}).encode()) for i in range(6)]
    mixed = [one for pair in zip(rows, names, strict=True) for one in pair]
    tar(where / "train-0000.tar", [], extra=mixed)
    assert open_domains(where, 16).counts == (3, 3)
    assert open_domains(where / "train-0000.tar", 16).names == ("ink", "oil")


def test_classes_are_domains_named_by_their_label(tmp_path):
    where = tmp_path / "s"
    where.mkdir()
    for split, count in (("train", 24), ("test", 12)):
        rows = [[(f"{i}.png", content(picture(i))), (f"{i}.cls", str(i % 12).encode())] for i in range(count)]
        tar(where / f"{split}.tar", [], extra=[one for row in rows for one in row])
    found = open_domains(where, 16)
    assert found.names == tuple(str(number) for number in range(12))
    assert found.held(10).labels == [10, 10]
    assert open_domains(where, 16, split="heldout").count == 12


def test_pictures_that_name_no_domain_are_refused(tmp_path):
    for where in ("lorelei", "personas", tar(tmp_path / "a.tar", range(3))):
        with pytest.raises(GraftError, match="no domains in it; give each a sub-folder"):
            open_domains(where, 64)


def test_a_set_without_held_out_pictures_says_so(tmp_path):
    folder(tmp_path / "p" / "ink", 3)
    with pytest.raises(GraftError, match="no held-out pictures in it"):
        open_domains(tmp_path / "p", 16, split="heldout")


def test_one_broken_in_a_hundred_of_the_whole_set_is_skipped_and_named(tmp_path):
    for name in ("ink", "oil"):
        folder(tmp_path / "p" / name, 50, 8)
    (tmp_path / "p" / "ink" / "bad.png").write_bytes(b"rubbish")
    found = open_domains(tmp_path / "p", 8)
    assert found.counts == (50, 50)
    assert [note for note in found.notes if note.startswith("ink: skipped, broken") and "bad.png" in note]
    (tmp_path / "p" / "oil" / "worse.png").write_bytes(b"rubbish")
    with pytest.raises(GraftError, match="2 of 102 samples are broken, more than 1 %"):
        open_domains(tmp_path / "p", 8)


def test_samples_without_a_domain_are_broken_ones(tmp_path):
    where = tmp_path / "s"
    where.mkdir()
    tar(where / "a.tar", range(120), "ink", [("x.png", content(picture(1))), ("x.json", b"{}")], 8)
    found = open_domains(where, 8)
    assert found.counts == (120,)
    assert any("x.png: names no domain" in note for note in found.notes)


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    path = tmp_path_factory.mktemp("packed")
    for name, count in COUNTS.items():
        for number in range(count):
            (path / "p" / name).mkdir(parents=True, exist_ok=True)
            picture(1000 * (name == "oil") + number).save(path / "p" / name / f"{number:03d}.png")
    pack(path / "p", path / "s", Choices(kind="domains", per_shard=3))
    return path / "s"


def streamed(packed, **choices):
    return open_domains(packed, 16, hold_limit_bytes=100, buffer=4, **choices)


def test_domains_beyond_the_limit_are_streamed(packed):
    found = streamed(packed)
    with pytest.raises(GraftError, match="ink: 5 pictures are too many to hold"):
        found.held(0)
    assert (found.names, found.counts, found.size) == (("ink", "oil"), (5, 7), 16)
    whole = {one.numpy().tobytes() for one in open_domains(packed, 16).held(1).all()}
    for start in (0, 7):
        epoch = found.take(*asked([1] * 7, range(start, start + 7)), "x")
        assert {one.numpy().tobytes() for one in epoch} == whole
    found.close()


def test_streamed_domains_are_the_same_function_of_their_counters(packed):
    first, second = streamed(packed), streamed(packed)
    labels, counters = asked([0, 1, 1, 0, 1, 0], [0, 9, 2, 3, 5, 11])
    together = first.take(labels, counters, "x")
    for row in (4, 0, 5, 1):
        assert torch.equal(second.take(labels[row : row + 1], counters[row : row + 1], "x")[0], together[row])
    assert not torch.equal(first.take(labels, counters, "reference"), together)
    with pytest.raises(GraftError, match="let the partners be drawn anew"):
        first.partner(labels, counters, "x", True)
    assert first.partner(labels, counters, "x", False).shape == (6, 3, 16, 16)
    first.close()
    second.close()


def test_tars_without_a_manifest_are_counted_before_they_are_held_or_streamed(packed, tmp_path):
    where = tmp_path / "s"
    where.mkdir()
    for path in packed.glob("*.tar"):
        (where / path.name).write_bytes(path.read_bytes())
    assert open_domains(where, 16).counts == (5, 7)
    found = streamed(where)
    assert isinstance(found._sets[0], Streamed)
    found.close()


def test_loose_domains_beyond_the_limit_say_how_to_pack(tmp_path):
    folder(tmp_path / "p" / "ink", 3)
    with pytest.raises(GraftError, match="--kind domains"):
        open_domains(tmp_path / "p", 16, hold_limit_bytes=100)


def test_places_are_split_by_folders_only_where_all_lie_in_them():
    assert placed(["train/a/1.png", "val/a/2.png", "x.txt"], 2) == {
        "train/a/1.png": ("train", "a/1.png"),
        "val/a/2.png": ("heldout", "a/2.png"),
    }
    for names in (["train/1.png", "test/2.png"], ["val/a/1.png"], ["train/a/1.png", "cats/a/1.png"]):
        assert placed(names, 2) == {name: ("train", name) for name in names}
