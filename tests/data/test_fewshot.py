import shutil
import tarfile
import zipfile

import pytest
import torch

from pipeline.data.fewshot import few_shots
from pipeline.data.pack import Choices, pack
from pipeline.errors import GraftError
from tests.data.drawn import content, folder, picture


def test_as_many_as_asked_are_all_of_them_in_sorted_order(tmp_path):
    path = folder(tmp_path / "p", 4)
    for seed in (0, 1):
        assert few_shots(path, 4, seed, 16).names == ["000.png", "001.png", "002.png", "003.png"]


def test_the_seed_chooses_among_more_and_five_are_among_ten(tmp_path):
    path = folder(tmp_path / "p", 30)
    five, ten = (few_shots(path, shots, 7, 16).names for shots in (5, 10))
    assert set(five) < set(ten)
    assert ten == sorted(ten)
    assert ten != few_shots(path, 10, 8, 16).names
    assert ten == few_shots(path, 10, 7, 16).names


def test_fewer_than_asked_names_both_numbers(tmp_path):
    with pytest.raises(GraftError, match="3 pictures, but shots=10") as caught:
        few_shots(folder(tmp_path / "p", 3), 10, 0, 16)
    assert caught.value.exit_code == 3


def test_no_shots_is_a_wrong_command(tmp_path):
    with pytest.raises(GraftError, match="shots=0") as caught:
        few_shots(folder(tmp_path / "p", 3), 0, 0, 16)
    assert caught.value.exit_code == 2


def test_the_same_pixels_count_once(tmp_path):
    path = folder(tmp_path / "p", 4)
    picture(2).save(path / "copy.bmp")
    with pytest.raises(GraftError, match=r"4 different pictures among 5, but shots=5.*same picture as"):
        few_shots(path, 5, 0, 16)
    found = few_shots(path, 4, 0, 16)
    assert len({one.numpy().tobytes() for one in found.all()}) == 4


def test_dot_files_are_ignored_and_strays_are_said(tmp_path):
    path = folder(tmp_path / "p", 3)
    (path / ".DS_Store").write_bytes(b"x")
    (path / ".cache").mkdir()
    (path / ".cache" / "x.png").write_bytes(b"x")
    (path / "Thumbs.db").write_bytes(b"x")
    found = few_shots(path, 3, 0, 16)
    assert found.notes == ["ignored, not pictures: Thumbs.db"]


def test_a_broken_picture_is_named(tmp_path):
    path = folder(tmp_path / "p", 3)
    (path / "001.png").write_bytes(b"rubbish")
    with pytest.raises(GraftError, match=r"p/001\.png: not a picture"):
        few_shots(path, 3, 0, 16)


def test_another_size_is_refused_by_name_or_fitted(tmp_path):
    path = folder(tmp_path / "p", 3)
    picture(9, 48, 64).save(path / "03.png")
    with pytest.raises(GraftError, match=r"p/03\.png: 48x64 pixels, but the source model draws 16x16; pass"):
        few_shots(path, 4, 0, 16)
    assert few_shots(path, 4, 0, 16, "crop").notes == [f"{path}/03.png: cropped from 48x64"]


def test_folder_zip_tar_and_shards_give_the_same_pictures(tmp_path):
    path = folder(tmp_path / "p", 12)
    pack(path, tmp_path / "s", Choices(per_shard=5))
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for file in sorted(path.iterdir(), reverse=True):
            archive.write(file, file.name)
    for name in ("a.tar", "a.tar.gz"):
        with tarfile.open(tmp_path / name, "w:gz" if name.endswith("gz") else "w") as archive:
            for file in sorted(path.iterdir(), reverse=True):
                archive.add(file, file.name)
    expected = few_shots(path, 10, 4, 16)
    for other in ("s", "a.zip", "a.tar", "a.tar.gz"):
        assert torch.equal(few_shots(tmp_path / other, 10, 4, 16).all(), expected.all())


def test_heldout_shards_are_never_drawn_from(tmp_path):
    pack(folder(tmp_path / "p", 12), tmp_path / "s", Choices(heldout=2))
    assert few_shots(tmp_path / "s", 10, 0, 16).count == 10
    with pytest.raises(GraftError, match="10 pictures, but shots=11"):
        few_shots(tmp_path / "s", 11, 0, 16)


def test_spaces_and_unicode_in_paths(tmp_path):
    path = folder(tmp_path / "my drawings & été 狐", 3)
    shutil.move(path / "001.png", path / "nö spaces left.png")
    assert "nö spaces left.png" in few_shots(path, 3, 0, 16).names


def test_a_locked_zip_is_a_sentence(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("1.png", content(picture(1)))
    data = bytearray(path.read_bytes())
    data[6] |= 1  # the flag "encrypted", in the local and in the central header
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    with pytest.raises(GraftError, match="password"):
        few_shots(path, 1, 0, 16)


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz"])
def test_a_torn_archive_is_a_sentence(tmp_path, name):
    (tmp_path / name).write_bytes(b"\x1f\x8bPK rubbish" * 50)
    with pytest.raises(GraftError, match="not a whole") as caught:
        few_shots(tmp_path / name, 1, 0, 16)
    assert caught.value.exit_code == 3
