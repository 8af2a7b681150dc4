import io
import json
import pickle
import tarfile

import pytest

from pipeline.data.held import open_set
from pipeline.data.samples import Broken, Sample, fields_of
from pipeline.data.shards import samples, write_shard
from pipeline.errors import GraftError
from tests.data.drawn import content, picture


def tar(path, members):
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as archive:
        for name, data in members:
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return path


def good(number):
    return [(f"{number:04d}.png", content(picture(number))), (f"{number:04d}.json", b'{"style":"s"}')]


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz"])
def test_what_is_written_is_read_byte_by_byte(tmp_path, name):
    contents = [(f"key {i} ü", {"png": content(picture(i)), "json": b'{"i":%d}' % i}) for i in range(5)]
    assert write_shard(tmp_path / name, contents) == 5
    found = list(samples(tmp_path / name))
    assert [(one.key, one.picture, one.fields) for one in found] == [
        (key, members["png"], members["json"]) for key, members in contents
    ]


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz"])
def test_shards_carry_no_clock_and_no_name(tmp_path, name):
    contents = [("k", {"png": content(picture(1))})]
    write_shard(tmp_path / name, contents)
    write_shard(tmp_path / f"other-{name}", contents)
    assert (tmp_path / name).read_bytes() == (tmp_path / f"other-{name}").read_bytes()


def test_a_class_becomes_the_label(tmp_path):
    path = tar(tmp_path / "a.tar", [("7.png", content(picture(7))), ("7.cls", b"3\n")])
    (sample,) = samples(path)
    assert fields_of(sample) == {"label": 3}


def test_a_key_without_a_picture_is_broken_by_name(tmp_path):
    path = tar(tmp_path / "a.tar", [*good(1), ("alone.json", b"{}"), *good(2)])
    kinds = [type(one) for one in samples(path)]
    assert kinds == [Sample, Broken, Sample]
    assert [one.called for one in samples(path) if isinstance(one, Broken)] == [f"{path}/alone"]


def test_a_name_that_comes_twice_is_broken_by_name(tmp_path):
    path = tar(tmp_path / "a.tar", [*good(1), good(1)[0]])
    assert any(isinstance(one, Broken) and "0001.png" in one.reason for one in samples(path))


class Bomb:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return (open, (str(self.mark), "w"))


@pytest.mark.parametrize("kind", ["pyd", "pkl", "pickle", "pth", "pt", "npy", "ten", "pyc"])
def test_pickles_in_a_shard_are_never_run(tmp_path, kind):
    mark = tmp_path / "ran"
    evil = pickle.dumps(Bomb(mark))
    path = tar(tmp_path / "a.tar", [good(1)[0], (f"0001.{kind}", evil), good(1)[1], ("0002." + kind, evil)])
    found = list(samples(path))
    assert [one.key for one in found] == ["0001"]
    open_set(path, 16)
    assert not mark.exists()
    pickle.loads(evil)
    assert mark.exists()  # the bomb was live


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz"])
@pytest.mark.parametrize("share", [0.1, 0.33, 0.5, 0.77, 0.9])
def test_a_truncated_shard_stops_with_a_sentence(tmp_path, name, share):
    path = tar(tmp_path / name, [member for number in range(40) for member in good(number)])
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    for reading in (lambda: list(samples(path)), lambda: open_set(path, 16)):
        with pytest.raises(GraftError, match="not a whole tar") as caught:
            reading()
        assert caught.value.exit_code == 3
        assert str(path) in str(caught.value)


def test_a_tar_cut_between_two_members_is_noticed(tmp_path):
    path = tar(tmp_path / "a.tar", [member for number in range(40) for member in good(number)])
    with tarfile.open(path) as archive:
        start = archive.getmembers()[20].offset
    path.write_bytes(path.read_bytes()[:start])
    with pytest.raises(GraftError, match="not a whole tar"):
        list(samples(path))


def test_what_is_no_tar_is_refused(tmp_path):
    (tmp_path / "a.tar").write_bytes(b"hello" * 999)
    with pytest.raises(GraftError, match=r"a\.tar: not a whole tar"):
        list(samples(tmp_path / "a.tar"))


def test_a_url_is_only_a_name(tmp_path):
    mark = tmp_path / "ran"
    with pytest.raises(GraftError, match="no such file"):
        list(samples(f"pipe:touch {mark}"))
    assert not mark.exists()


def broken_shard(path, count, broken):
    members = [member for number in range(count) for member in good(number)]
    members += [(f"bad{number}.png", b"\x89PNG\r\n\x1a\nrubbish") for number in range(broken)]
    return tar(path, members)


def test_one_broken_in_a_hundred_is_skipped_counted_and_named(tmp_path):
    found = open_set(broken_shard(tmp_path / "a.tar", 99, 1), 16)
    assert found.count == 99
    assert [note for note in found.notes if "bad0.png" in note]


def test_more_than_one_in_a_hundred_stops(tmp_path):
    with pytest.raises(GraftError, match="2 of 100 samples are broken") as caught:
        open_set(broken_shard(tmp_path / "a.tar", 98, 2), 16)
    assert caught.value.exit_code == 3
    assert "bad0.png" in str(caught.value)


@pytest.mark.parametrize("fields", [b"{", b"[]", b"\xff", b"[" * 100_000, b'"x"'])
def test_a_broken_json_breaks_its_sample(tmp_path, fields):
    path = tar(tmp_path / "a.tar", [("1.png", content(picture(1))), ("1.json", fields)])
    (sample,) = samples(path)
    with pytest.raises(GraftError, match=r"1\.json"):
        fields_of(sample)


def test_json_survives(tmp_path):
    fields = {"style": "ü", "n": [1, 2.5, None]}
    path = tar(tmp_path / "a.tar", [("1.png", content(picture(1))), ("1.json", json.dumps(fields).encode())])
    assert open_set(path, 16).fields == [fields]
