import io
import json
import subprocess
import sys
import tarfile

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.data.domains import Domains, open_domains
from pipeline.data.held import Held
from pipeline.data.layouts import label_order, placed
from pipeline.data.pack import Choices, pack
from pipeline.data.pictures import to_tensor
from pipeline.data.streamed import Streamed
from pipeline.errors import GraftError
from tests.data.drawn import content, folder, picture

COUNTS = {"ink": 5, "oil": 7}


def held(count, first):
    """Picture i of the set is all `first` + i."""
    pictures = torch.arange(first, first + count, dtype=torch.uint8).reshape(count, 1, 1, 1)
    return Held(pictures.expand(count, 3, 8, 8).contiguous(), None, 0)


def domains(seed=0):
    return Domains({"oil": held(7, 100), "ink": held(5, 0)}, seed)


def shown(pictures):
    return pictures[:, 0, 0, 0].tolist()


def asked(labels, counters):
    return torch.tensor(labels, dtype=torch.int64), torch.tensor(counters, dtype=torch.int64)


def tar(path, names, domain=None, extra=(), side=16):
    """A tar with one picture a number of `names`; its json names `domain` where one is given."""
    members = []
    for number in names:
        members.append((f"{number:04d}.png", content(picture(number, side, side))))
        if domain is not None:
            members.append((f"{number:04d}.json", json.dumps({"domain": domain}).encode()))
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as archive:
        for name, data in [*members, *extra]:
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return path


def tars(path):
    path.mkdir()
    for number, name in enumerate(("ink", "oil")):
        tar(path / f"{name}-train.tar.gz", range(10 * number, 10 * number + 4))
        tar(path / f"{name}-test.tar.gz", range(100 + number, 102 + number))
    return path


def test_labels_are_places_among_the_sorted_names():
    one = domains()
    assert one.names == ("ink", "oil")
    assert (one.counts, one.count, one.size) == ((5, 7), 12, 8)
    assert all(value < 100 for value in shown(one.take(*asked([0] * 9, range(9)), "x")))
    assert all(value >= 100 for value in shown(one.take(*asked([1] * 9, range(9)), "x")))


def test_names_that_are_numbers_are_in_the_order_of_numbers():
    assert label_order(["10", "9", "0"]) == ["0", "9", "10"]
    assert label_order(["b", "10", "9"]) == ["10", "9", "b"]


@pytest.mark.parametrize("label", [0, 1])
def test_each_epoch_of_a_domain_shows_each_picture_once_in_another_order(label):
    one = domains()
    count = one.counts[label]
    epochs = [
        shown(one.take(*asked([label] * count, range(start, start + count)), "x"))
        for start in range(0, 4 * count, count)
    ]
    assert all(sorted(epoch) == list(range(100 * label, 100 * label + count)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 10**9)), max_size=12), st.integers(0, 2**32))
def test_take_is_a_pure_function_of_seed_stream_label_and_counter(rows, seed):
    labels, counters = [row[0] for row in rows], [row[1] for row in rows]
    together = shown(domains(seed).take(*asked(labels, counters), "x"))
    assert together == [shown(domains(seed).take(*asked([a], [i]), "x"))[0] for a, i in rows]


def test_streams_and_seeds_have_orders_of_their_own():
    rows = asked([1] * 70, range(70))
    orders = [
        shown(domains(seed).take(*rows, stream)) for seed, stream in ((0, "x"), (0, "reference"), (1, "x"))
    ]
    assert orders[0] != orders[1]
    assert orders[0] != orders[2]


def test_another_process_sees_the_same_order():
    code = (
        "import sys; sys.path.insert(0, '.'); from tests.data.test_domains import *;"
        "print(shown(domains(3).take(*asked([0, 1] * 10, range(20)), 'x')))"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert out.stdout.strip() == str(shown(domains(3).take(*asked([0, 1] * 10, range(20)), "x")))


def test_a_fixed_partner_stays_for_the_whole_run():
    one = domains()
    partners = {}
    for start in range(0, 700, 7):
        rows = asked([1] * 7, range(start, start + 7))
        for stream in ("reference", "another"):
            first, second = shown(one.take(*rows, stream)), shown(one.partner(*rows, stream, True))
            for picture_of, partner in zip(first, second, strict=True):
                assert partners.setdefault(picture_of, partner) == partner
    assert sorted(partners) == sorted(partners.values()) == list(range(100, 107))  # a permutation


def test_a_partner_that_is_drawn_anew_changes_from_epoch_to_epoch():
    one = domains()
    partners = {}
    for start in range(0, 700, 7):
        rows = asked([1] * 7, range(start, start + 7))
        first, second = shown(one.take(*rows, "x")), shown(one.partner(*rows, "x", False))
        assert sorted(second) == list(range(100, 107))
        for picture_of, partner in zip(first, second, strict=True):
            partners.setdefault(picture_of, []).append(partner)
    for found in partners.values():
        assert len(set(found)) == 7
        assert max(found.count(partner) for partner in set(found)) < 40  # 100 draws, 14 expected of each


def test_partners_keep_to_their_domain_and_no_rows_give_no_pictures():
    one = domains()
    rows = asked([0, 1, 0], [3, 3, 4])
    for fixed in (True, False):
        assert [value >= 100 for value in shown(one.partner(*rows, "x", fixed))] == [False, True, False]
        assert one.partner(*asked([], []), "x", fixed).shape == (0, 3, 8, 8)


def test_the_digest_is_of_names_and_pictures_but_not_of_the_seed():
    assert domains(0).sha256 == domains(1).sha256
    assert Domains({"oil": held(7, 100), "tar": held(5, 0)}, 0).sha256 != domains().sha256


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
