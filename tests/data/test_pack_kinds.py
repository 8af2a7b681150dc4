import json
import shutil

import pytest
import torch
from PIL import Image

from pipeline.cli import run
from pipeline.data import verb
from pipeline.data.domains import open_domains
from pipeline.data.held import open_set
from pipeline.data.pack import Choices, pack
from pipeline.data.pairs import open_pairs
from pipeline.data.pictures import to_tensor
from pipeline.data.shards import pairs, samples
from pipeline.errors import GraftError
from tests.data.drawn import folder, picture
from tests.data.test_domains import tars
from tests.data.test_pairs import beside, colour, in_folders, in_shards, line, marked, pixels, side_by_side

NAMES = ("ink", "oil")


def drawn(path, counts=(5, 7), names=NAMES):
    """A sub-folder a domain; no two pictures are equal."""
    for number, (name, count) in enumerate(zip(names, counts, strict=True)):
        (path / name).mkdir(parents=True)
        for i in range(count):
            picture(100 * number + i).save(path / name / f"{i:03d}.png")
    return path


def manifest_of(path):
    return json.loads((path / "manifest.json").read_text())


def files(path):
    return {file.name: file.read_bytes() for file in sorted(path.iterdir())}


def digests(pictures):
    return {one.numpy().tobytes() for one in pictures}


def test_a_plain_manifest_names_no_kind(tmp_path):
    pack(drawn(tmp_path / "p"), tmp_path / "s", Choices(labels="folder"))
    assert manifest_of(tmp_path / "s").keys().isdisjoint({"kind", "table"})
    assert sorted(files(tmp_path / "s")) == ["manifest.json", "train-0000.tar"]


def test_domains_get_shards_of_their_own_and_a_table(tmp_path):
    pack(drawn(tmp_path / "p"), tmp_path / "s", Choices(kind="domains", per_shard=3, heldout=2, gz=True))
    manifest = manifest_of(tmp_path / "s")
    assert (manifest["kind"], manifest["table"], manifest["domains"]) == (
        "domains",
        ["ink", "oil"],
        {"ink": 5, "oil": 7},
    )
    assert sorted(files(tmp_path / "s")) == [
        "ink-0000.tar.gz",
        "ink-heldout.tar.gz",
        "manifest.json",
        "oil-0000.tar.gz",
        "oil-0001.tar.gz",
        "oil-heldout.tar.gz",
    ]
    assert [shard["domain"] for shard in manifest["splits"]["train"]["shards"]] == ["ink", "oil", "oil"]
    (first, *_) = samples(tmp_path / "s" / "oil-0000.tar.gz")
    assert json.loads(first.fields)["domain"] == "oil"


@pytest.mark.parametrize("with_manifest", [True, False])
def test_packed_domains_are_read_bit_by_bit_and_split_by_domain(tmp_path, with_manifest):
    where = drawn(tmp_path / "p")
    pack(where, tmp_path / "s", Choices(kind="domains", per_shard=3, heldout=2))
    if not with_manifest:
        (tmp_path / "s" / "manifest.json").unlink()
    train, apart = (open_domains(tmp_path / "s", 16, split=split) for split in ("train", "heldout"))
    assert (train.names, train.counts, apart.counts) == (NAMES, (3, 5), (2, 2))
    loose = open_domains(where, 16)
    for label in (0, 1):
        both = digests(train.held(label).all()) | digests(apart.held(label).all())
        assert both == digests(loose.held(label).all())


def test_packed_domains_can_be_packed_again_and_opened_as_one_plain_set(tmp_path):
    pack(drawn(tmp_path / "p"), tmp_path / "s", Choices(kind="domains", heldout=2))
    pack(tmp_path / "s", tmp_path / "t", Choices(kind="domains", encode="keep"))
    for split in ("train", "heldout"):
        one, two = (open_domains(tmp_path / name, 16, split=split) for name in ("s", "t"))
        assert one.sha256 == two.sha256
    assert open_set(tmp_path / "s", 16).count == 8


def test_the_same_domains_give_the_same_bytes(tmp_path):
    choices = Choices(kind="domains", heldout=2, gz=True)
    pack(drawn(tmp_path / "p"), tmp_path / "s", choices)
    shutil.copytree(tmp_path / "p", tmp_path / "elsewhere" / "p", copy_function=shutil.copyfile)
    pack(tmp_path / "elsewhere" / "p", tmp_path / "t", choices)
    assert files(tmp_path / "s") == files(tmp_path / "t")


def test_archives_named_for_domain_and_split_keep_both(tmp_path):
    where = tars(tmp_path / "p")
    pack(where, tmp_path / "s", Choices(kind="domains"))
    for split in ("train", "heldout"):
        one, two = (open_domains(place, 16, split=split) for place in (where, tmp_path / "s"))
        assert (one.names, one.sha256) == (two.names, two.sha256)
    with pytest.raises(GraftError, match="says itself which pictures are held out; leave --heldout out"):
        pack(where, tmp_path / "t", Choices(kind="domains", heldout=1))


def test_the_json_names_the_domain_where_nothing_else_does(tmp_path):
    where = folder(tmp_path / "p", 101, 8)
    for i in range(100):
        (where / f"{i:03d}.json").write_text(json.dumps({"domain": NAMES[i % 2], "n": i}))
    packed = pack(where, tmp_path / "s", Choices(kind="domains"))
    assert [(one.called, one.reason) for one in packed.broken] == [(f"{where}/100.png", "names no domain")]
    assert open_domains(tmp_path / "s", 8).counts == (50, 50)
    (first, *_) = samples(tmp_path / "s" / "ink-0000.tar")
    assert first.fields == (where / "000.json").read_bytes()  # it said so already


@pytest.mark.parametrize("kind", ["domains", "classes"])
def test_pictures_without_a_domain_or_class_are_refused(tmp_path, kind):
    with pytest.raises(GraftError, match=f"no {kind} in it; give each a sub-folder") as caught:
        pack(folder(tmp_path / "p", 3), tmp_path / "s", Choices(kind=kind))
    assert caught.value.exit_code == 3
    assert not (tmp_path / "s").exists()


def test_a_domain_too_small_to_hold_any_out_is_named(tmp_path):
    with pytest.raises(GraftError, match="2 pictures of ink, so 2 cannot be held out"):
        pack(drawn(tmp_path / "p", (2, 7)), tmp_path / "s", Choices(kind="domains", heldout=2))


def test_a_domain_that_cannot_name_a_file_is_refused(tmp_path):
    where = folder(tmp_path / "p", 2)
    for i in range(2):
        (where / f"{i:03d}.json").write_text(json.dumps({"domain": "../up"}))
    with pytest.raises(GraftError, match=r"the domain '\.\./up' cannot name a file"):
        pack(where, tmp_path / "s", Choices(kind="domains"))


def test_a_double_of_a_held_out_picture_is_left_out_of_every_domain(tmp_path):
    where = drawn(tmp_path / "p")
    pack(where, tmp_path / "one", Choices(kind="domains", heldout=1))
    (apart,) = samples(tmp_path / "one" / "ink-heldout.tar")
    shutil.copyfile(where / "ink" / f"{apart.key.removeprefix('ink-')}.png", where / "oil" / "again.png")
    packed = pack(where, tmp_path / "two", Choices(kind="domains", heldout=1))
    assert packed.doubles == [f"{where}/oil/again.png"]


def test_classes_are_written_with_their_number_and_a_table(tmp_path):
    drawn(tmp_path / "p", (12, 13), ("9", "10"))
    pack(tmp_path / "p", tmp_path / "s", Choices(kind="classes", heldout=1))
    manifest = manifest_of(tmp_path / "s")
    assert (manifest["kind"], manifest["classes"]) == ("classes", ["9", "10"])
    labels = {sample.label for sample in samples(tmp_path / "s" / "train-0000.tar")}
    assert labels == {b"0", b"1"}
    found = open_domains(tmp_path / "s", 16)
    assert (found.names, found.counts) == (("9", "10"), (11, 12))
    assert set(found.held(1).labels) == {1}
    assert open_domains(tmp_path / "s", 16, split="heldout").counts == (1, 1)


def test_the_number_in_cls_is_a_class(tmp_path):
    where = folder(tmp_path / "p", 4)
    for i in range(4):
        (where / f"{i:03d}.cls").write_text(str(3 + i % 2))
    pack(where, tmp_path / "s", Choices(kind="classes"))
    assert manifest_of(tmp_path / "s")["classes"] == ["3", "4"]
    assert open_domains(tmp_path / "s", 16).names == ("3", "4")


@pytest.mark.parametrize("kind", ["domains", "pairs"])
def test_labels_go_with_plain_pictures_and_classes(kind):
    with pytest.raises(GraftError, match="have no classes"):
        Choices(kind=kind, labels="folder")
    with pytest.raises(GraftError, match="must be one of plain, domains, pairs, classes"):
        Choices(kind=f"{kind}s")


@pytest.mark.parametrize("lay", [in_shards, in_folders, marked, side_by_side])
@pytest.mark.parametrize("encode", ["webp", "keep"])
def test_pairs_are_packed_bit_by_bit(tmp_path, lay, encode):
    lay(tmp_path / "p", 0, 6)
    pack(tmp_path / "p", tmp_path / "s", Choices(kind="pairs", encode=encode, per_shard=4, heldout=1))
    manifest = manifest_of(tmp_path / "s")
    assert (manifest["kind"], manifest["count"], manifest["size"]) == ("pairs", 6, 16)
    train, apart = (open_pairs(tmp_path / "s", 16, split=split) for split in ("train", "heldout"))
    assert (train.count, apart.count) == (5, 1)
    expected = {
        (a.numpy().tobytes(), b.numpy().tobytes()) for a, b in zip(pixels(line), pixels(colour), strict=True)
    }
    found = {
        (a.numpy().tobytes(), b.numpy().tobytes())
        for one in (train, apart)
        for a, b in zip(one.a, one.b, strict=True)
    }
    assert found == expected


def test_the_members_of_a_packed_pair_are_its_halves_and_its_json(tmp_path):
    marked(tmp_path / "p", 0, 2)
    pack(tmp_path / "p", tmp_path / "s", Choices(kind="pairs"))
    (first, _) = pairs(tmp_path / "s" / "train-0000.tar")
    assert (first.a.extension, first.b.extension) == ("webp", "webp")
    assert first.fields == b'{"licence":"CC0-1.0"}'
    assert manifest_of(tmp_path / "s")["licences"] == {"CC0-1.0": 2}


def test_pairs_that_come_split_stay_split(tmp_path):
    in_shards(tmp_path / "p", 0, 4)
    shutil.move(tmp_path / "p" / "train.tar.gz", tmp_path / "p" / "test.tar.gz")
    in_shards(tmp_path / "p", 4, 3)
    pack(tmp_path / "p", tmp_path / "s", Choices(kind="pairs"))
    assert torch.equal(open_pairs(tmp_path / "s", 16, split="heldout").a, pixels(line, 4))
    assert torch.equal(open_pairs(tmp_path / "s", 16).b, pixels(colour, 3, 4))


def test_a_broken_half_is_named_when_packed(tmp_path):
    (tmp_path / "p").mkdir()
    for i in range(100):
        beside(i, 8).save(tmp_path / "p" / f"{i:03d}.png")
    picture(1, 8, 8).save(tmp_path / "p" / "square.png")
    packed = pack(tmp_path / "p", tmp_path / "s", Choices(kind="pairs"))
    assert packed.manifest["count"] == 100
    (broken,) = packed.broken
    assert (broken.called, broken.reason) == (
        f"{tmp_path}/p/square.png",
        "8x8 pixels; a pair in one picture is twice as wide as high",
    )


def test_the_verb_packs_each_kind_and_says_so(tmp_path, capsys):
    where = drawn(tmp_path / "p")
    words = ["pack", str(where), str(tmp_path / "s"), "--kind", "domains", "--heldout", "1"]
    assert run(verb.main, words) == 0
    assert "domains   ink, oil" in capsys.readouterr().out
    assert run(verb.main, ["pack", str(where), str(tmp_path / "t"), "--kind", "classes"]) == 0
    assert "classes   ink, oil" in capsys.readouterr().out
    side_by_side(tmp_path / "q", 0, 2)
    assert run(verb.main, ["pack", str(tmp_path / "q"), str(tmp_path / "u"), "--kind", "pairs"]) == 0
    assert "packed    2 pairs of 16x16" in capsys.readouterr().out
    assert run(verb.main, ["check", str(tmp_path / "u")]) == 0
    assert "kind      pairs" in capsys.readouterr().out


def test_pairs_are_fitted_half_by_half(tmp_path):
    side_by_side(tmp_path / "p", 0, 2)
    pack(tmp_path / "p", tmp_path / "s", Choices(kind="pairs", size=8, fit="resize"))
    expected = to_tensor(colour(0).resize((8, 8), Image.Resampling.LANCZOS))
    assert torch.equal(open_pairs(tmp_path / "s", 8).b[0], expected)
