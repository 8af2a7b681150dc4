import json
import shutil
import tarfile
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.cli import run
from pipeline.data import verb
from pipeline.data.check import check
from pipeline.data.held import open_set
from pipeline.data.pack import Choices, pack
from pipeline.data.shards import samples
from pipeline.errors import GraftError
from tests.data.drawn import folder, picture


def files(path):
    return {file.name: file.read_bytes() for file in sorted(path.iterdir())}


def pixels(image):
    return torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)


@pytest.mark.parametrize("encode", ["webp", "png", "keep"])
@pytest.mark.parametrize("gz", [False, True])
def test_pack_then_read_is_bit_exact(tmp_path, encode, gz):
    pack(folder(tmp_path / "p", 7), tmp_path / "s", Choices(encode=encode, gz=gz, per_shard=3))
    found = open_set(tmp_path / "s", 16)
    assert torch.equal(found.all(), torch.stack([pixels(picture(i)) for i in range(7)]))
    assert [fields["file"] for fields in found.fields] == [f"{i:03d}.png" for i in range(7)]


def test_keep_keeps_the_bytes_of_files_that_need_no_change(tmp_path):
    path = folder(tmp_path / "p", 2)
    picture(9).convert("L").save(path / "zzz.png")
    pack(path, tmp_path / "s", Choices(encode="keep"))
    kept, _, changed = samples(tmp_path / "s" / "train-0000.tar")
    assert kept.picture == (path / "000.png").read_bytes()
    assert (kept.extension, changed.extension) == ("png", "webp")


def test_the_same_input_gives_the_same_bytes(tmp_path):
    path = folder(tmp_path / "p", 9)
    choices = Choices(gz=True, per_shard=4, heldout=2)
    pack(path, tmp_path / "one", choices)
    shutil.copytree(path, tmp_path / "elsewhere" / "p", copy_function=shutil.copyfile)  # other times
    pack(tmp_path / "elsewhere" / "p", tmp_path / "two", choices)
    assert files(tmp_path / "one") == files(tmp_path / "two")


def test_the_manifest_tells_names_counts_bytes_and_sums(tmp_path):
    for name in ("cats", "dogs"):
        folder(tmp_path / "p" / name, 3)
    (tmp_path / "p" / "dogs" / "001.json").write_text('{"licence":"CC0-1.0","style":"ink","credit":"Ann"}')
    packed = pack(tmp_path / "p", tmp_path / "s", Choices(labels="folder", per_shard=4))
    manifest = json.loads((tmp_path / "s" / "manifest.json").read_text())
    assert (manifest["size"], manifest["count"], manifest["classes"]) == (16, 6, ["cats", "dogs"])
    assert manifest["labels"] == {"cats": 3, "dogs": 3}
    assert (manifest["licences"], manifest["domains"]) == ({"CC0-1.0": 1}, {"ink": 1})
    assert manifest["credits"] == {"Ann": 1}
    shards = manifest["splits"]["train"]["shards"]
    assert [(shard["name"], shard["count"]) for shard in shards] == [
        ("train-0000.tar", 4),
        ("train-0001.tar", 2),
    ]
    assert packed.manifest["count"] == 6


def test_json_and_classes_beside_the_pictures_travel_along(tmp_path):
    path = folder(tmp_path / "p", 2)
    (path / "000.json").write_bytes(b'{ "style" : "ink" }')
    (path / "000.cls").write_bytes(b"4")
    pack(path, tmp_path / "s")
    first, _ = samples(tmp_path / "s" / "train-0000.tar")
    assert (first.fields, first.label) == (b'{ "style" : "ink" }', b"4")


def test_a_packed_set_can_be_packed_again(tmp_path):
    pack(folder(tmp_path / "p", 7), tmp_path / "one", Choices(per_shard=3))
    pack(tmp_path / "one", tmp_path / "two", Choices(encode="keep", per_shard=5))
    assert torch.equal(open_set(tmp_path / "one", 16).all(), open_set(tmp_path / "two", 16).all())


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
def test_archives_are_packed_like_folders(tmp_path, kind):
    path = folder(tmp_path / "p", 4)
    archive = tmp_path / f"a.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(archive, "w") as target:
            for file in path.iterdir():
                target.write(file, file.name)
    else:
        with tarfile.open(archive, "w:gz" if kind == "tar.gz" else "w") as target:
            for file in path.iterdir():
                target.add(file, file.name)
    pack(path, tmp_path / "one")
    pack(archive, tmp_path / "two")
    assert files(tmp_path / "one") == files(tmp_path / "two")


def test_heldout_is_chosen_by_key_hash_and_survives_more_pictures(tmp_path):
    pack(folder(tmp_path / "p", 40), tmp_path / "one", Choices(heldout=10))
    few = {sample.key for sample in samples(tmp_path / "one" / "heldout.tar")}
    folder(tmp_path / "q", 60)
    pack(tmp_path / "q", tmp_path / "two", Choices(heldout=10))
    more = {sample.key for sample in samples(tmp_path / "two" / "heldout.tar")}
    assert len(few) == len(more) == 10
    assert {key for key in more if int(key) < 40} <= few


def test_a_double_of_a_held_out_picture_is_left_out_of_training(tmp_path):
    path = folder(tmp_path / "p", 20)
    pack(path, tmp_path / "one", Choices(heldout=5))
    key = next(samples(tmp_path / "one" / "heldout.tar")).key
    keys = {sample.key for sample in samples(tmp_path / "one" / "train-0000.tar")}
    shutil.copyfile(path / f"{key}.png", path / f"{min(keys)}.png")
    packed = pack(path, tmp_path / "two", Choices(heldout=5))
    assert packed.doubles == [f"{path}/{min(keys)}.png"]
    assert packed.manifest["count"] == 19


def test_dots_slashes_spaces_and_unicode_make_keys_that_come_back(tmp_path):
    names = ["a.b.c.png", "sub dir/ü 狐.png", "sub.dir/ü 狐.png", "__x__.png", "sub/dir.png", "sub-dir.png"]
    for number, name in enumerate(names):
        (tmp_path / "p" / name).parent.mkdir(parents=True, exist_ok=True)
        picture(number).save(tmp_path / "p" / name)
    pack(tmp_path / "p", tmp_path / "out put — é")
    found = open_set(tmp_path / "out put — é", 16)
    assert {fields["file"]: i for i, fields in enumerate(found.fields)}.keys() == set(names)
    for fields, one in zip(found.fields, found.all(), strict=True):
        assert torch.equal(one, pixels(picture(names.index(fields["file"]))))


def test_nothing_is_overwritten_silently(tmp_path):
    path = folder(tmp_path / "p", 3)
    pack(path, tmp_path / "s")
    with pytest.raises(GraftError, match="is there already; pass --overwrite"):
        pack(path, tmp_path / "s")
    (path / "002.png").unlink()
    pack(path, tmp_path / "s", Choices(overwrite=True))
    assert open_set(tmp_path / "s", 16).count == 2
    with pytest.raises(GraftError, match="no packed set"):
        pack(path, path, Choices(overwrite=True))
    assert (path / "001.png").exists()


def test_a_failed_pack_leaves_nothing_behind(tmp_path):
    path = folder(tmp_path / "p", 3)
    picture(1, 20, 16).save(path / "wide.png")
    with pytest.raises(GraftError, match=r"wide\.png: 20x16 pixels, but the set is 16x16; pass --fit crop"):
        pack(path, tmp_path / "s")
    assert [one.name for one in tmp_path.iterdir()] == ["p"]


def test_broken_pictures_stop_above_one_in_a_hundred(tmp_path):
    path = folder(tmp_path / "p", 100, 8)
    (path / "bad.png").write_bytes(b"rubbish")
    packed = pack(path, tmp_path / "s")
    assert [one.called for one in packed.broken] == [f"{path}/bad.png"]
    (path / "worse.png").write_bytes(b"rubbish")
    with pytest.raises(GraftError, match="2 of 102 samples are broken, more than 1 %") as caught:
        pack(path, tmp_path / "t")
    assert caught.value.exit_code == 3
    assert not (tmp_path / "t").exists()


def test_check_counts_and_names(tmp_path):
    path = folder(tmp_path / "p", 3)
    picture(1).save(path / "copy.bmp")
    picture(5, 20, 10).convert("L").save(path / "grey.png")
    (path / "bad.png").write_bytes(b"rubbish")
    report = check(path)
    assert report.count == 5
    assert report.sizes == {"16x16": 4, "20x10": 1}
    assert report.formats == {"png": 4, "bmp": 1}
    assert report.conversions == {"grey to RGB": 1}
    assert [one.called for one in report.broken] == [f"{path}/bad.png"]
    assert report.doubles == [(f"{path}/copy.bmp", f"{path}/001.png")]
    assert not report.sound


def test_check_notices_a_changed_and_a_torn_shard(tmp_path):
    pack(folder(tmp_path / "p", 8), tmp_path / "s", Choices(per_shard=4))
    assert check(tmp_path / "s").sound
    shard = tmp_path / "s" / "train-0001.tar"
    data = bytearray(shard.read_bytes())
    data[len(data) // 4] ^= 255
    shard.write_bytes(data)
    assert any("sha256" in one.reason for one in check(tmp_path / "s").broken)
    shard.write_bytes(data[:-3000])
    with pytest.raises(GraftError, match=r"train-0001\.tar: .* bytes, but"):
        check(tmp_path / "s")
    (tmp_path / "s" / "manifest.json").unlink()
    shard.write_bytes(data[: len(data) // 3])
    assert any("not a whole tar" in one.reason for one in check(tmp_path / "s").broken)


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m["splits"]["train"]["shards"][0].update(name="../x.tar"),
        lambda m: m.pop("splits"),
        lambda m: m["splits"]["train"]["shards"][0].pop("count"),
        lambda m: m.update(splits=3),
    ],
)
def test_a_manifest_that_is_not_ours_is_refused(tmp_path, change):
    pack(folder(tmp_path / "p", 3), tmp_path / "s")
    manifest = json.loads((tmp_path / "s" / "manifest.json").read_text())
    change(manifest)
    (tmp_path / "s" / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(GraftError, match="not a manifest Graft wrote"):
        open_set(tmp_path / "s", 16)


def test_the_verb_packs_and_checks(tmp_path, capsys):
    path = folder(tmp_path / "my pictures", 12)
    picture(1, 30, 20).save(path / "wide.png")
    out = tmp_path / "out"
    words = ["pack", str(path), str(out), "--size", "8", "--fit", "resize", "--heldout", "3", "--gz"]
    assert run(verb.main, words) == 0
    said = capsys.readouterr().out
    assert "packed    13 pictures of 8x8" in said
    assert "heldout   3 in 1 shards" in said
    assert "converted 13: resized" in said
    assert run(verb.main, ["check", str(out)]) == 0
    said = capsys.readouterr().out
    assert "splits    train 10, heldout 3" in said
    assert "verdict   sound" in said


def test_the_verb_answers_with_one_sentence_and_a_code(tmp_path, capsys):
    path = folder(tmp_path / "p", 2)
    (path / "bad.png").write_bytes(b"rubbish")
    assert run(verb.main, ["check", str(path)]) == 3
    assert "bad.png" in capsys.readouterr().out
    assert run(verb.main, ["check", "lorelie"]) == 3
    assert capsys.readouterr().err.startswith("error: lorelie: ")
    assert run(verb.main, ["pack", str(path), str(path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert run(verb.main, ["pack"]) == 2
    assert run(verb.main, ["pack", str(path), str(tmp_path / "s"), "--size", "2"]) == 2


@pytest.mark.parametrize("words", [["--help"], ["pack", "--help"], ["check", "--help"]])
def test_help_fits_a_screen_and_has_an_example(capsys, words):
    assert run(verb.main, words) == 0
    said = capsys.readouterr().out
    assert "example" in said
    assert len(said.splitlines()) <= 40


def test_animations_and_alpha_are_said_when_packed(tmp_path):
    path = folder(tmp_path / "p", 1)
    Image.new("RGBA", (16, 16), (0, 0, 0, 0)).save(path / "clear.png")
    assert pack(path, tmp_path / "s").notes == {"transparency onto white": 1}
