"""What check says of domains, classes and pairs."""

import pytest

from pipeline.data.check import check
from pipeline.data.pack import Choices, pack
from tests.data.drawn import content, folder, picture
from tests.data.test_pack_kinds import drawn
from tests.data.test_pairs import in_folders, in_shards, line, marked, side_by_side


def test_check_tells_domains_with_their_labels_and_what_is_few(tmp_path):
    pack(drawn(tmp_path / "p"), tmp_path / "s", Choices(kind="domains", heldout=2))
    report = check(tmp_path / "s")
    assert (report.kind, report.count, report.splits) == ("domains", 12, {"train": 8, "heldout": 4})
    lines = report.lines()
    assert "label 0   ink: 3, held out 2" in lines
    assert "label 1   oil: 5, held out 2" in lines
    assert any("fewer than 1,000 pictures for training" in one and "ink, oil" in one for one in lines)
    assert report.sound


def test_check_names_stray_files_and_splits_that_do_not_match(tmp_path):
    where = drawn(tmp_path / "p")
    (where / "notes.txt").write_text("x")
    assert any("notes.txt" in note for note in check(where).notes)
    for split, names in (("train", ("ink", "oil")), ("val", ("ink",))):
        for name in names:
            folder(tmp_path / "q" / split / name, 2)
    report = check(tmp_path / "q")
    assert not report.sound
    assert "only for training: oil" in report.verdict()


def test_check_tells_classes(tmp_path):
    pack(drawn(tmp_path / "p"), tmp_path / "s", Choices(kind="classes"))
    report = check(tmp_path / "s")
    assert report.kind == "classes"
    assert "label 1   oil: 7" in report.lines()


@pytest.mark.parametrize("lay", [in_shards, in_folders, marked])
def test_check_tells_pairs_and_their_sizes(tmp_path, lay):
    lay(tmp_path / "p", 0, 3)
    report = check(tmp_path / "p")
    assert (report.kind, report.count, report.sizes) == ("pairs", 3, {"16x16 + 16x16": 3})
    assert report.sound


def test_check_names_a_pair_with_one_half(tmp_path):
    in_folders(tmp_path / "p", 0, 2)
    line(5).save(tmp_path / "p" / "A" / "lonely.png")
    report = check(tmp_path / "p")
    assert (report.count, len(report.broken)) == (2, 1)
    assert "no picture B of this pair" in report.broken[0].reason


def test_check_says_that_wide_pictures_may_be_pairs(tmp_path):
    side_by_side(tmp_path / "p", 0, 2)
    report = check(tmp_path / "p")
    assert report.kind == "plain"
    assert any("pairs side by side" in note for note in report.notes)


def test_check_of_many_domains_prints_some(tmp_path):
    for number in range(13):
        (tmp_path / "p" / str(number)).mkdir(parents=True)
        (tmp_path / "p" / str(number) / "a.png").write_bytes(content(picture(number)))
    lines = check(tmp_path / "p").lines()
    assert sum(one.startswith("label ") for one in lines) == 10
    assert any("and 3 more" in one for one in lines)
