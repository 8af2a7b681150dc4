import io
import json
import subprocess
import sys
import tarfile

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.data.domains import Domains
from pipeline.data.held import Held
from pipeline.data.layouts import label_order
from tests.data.drawn import content, picture

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
