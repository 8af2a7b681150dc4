"""The loader's benchmark: both forms read the same pictures, and a promise that is missed is noticed."""

import io
import json
import time

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks import loader
from benchmarks.enlarged import enlarged, shipped_shards
from pipeline.data import streamed as streaming
from pipeline.data.shards import samples
from pipeline.data.streamed import Streamed

TINY = [
    "network.size=32",
    "network.widths={4: 8, 8: 8, 16: 8, 32: 8}",
    "network.style_dim=16",
    "network.mapping_layers=2",
    "data.fit=resize",
]


@pytest.mark.parametrize("kind", loader.KINDS)
def test_packed_shards_hold_the_files_of_that_kind_and_both_forms_decode_them_alike(tmp_path, kind):
    shards = loader.packed(tmp_path, kind, 4, 32)
    held = [one for shard in shards for one in samples(shard)]
    assert [one.extension for one in held] == [kind] * 4
    plain = [np.asarray(Image.open(io.BytesIO(one.picture)).convert("RGB")) for one in held]
    stream = Streamed(shards, 32, seed=0)
    found = stream.take(torch.arange(4)).permute(0, 2, 3, 1).numpy()
    stream.close()
    assert {each.tobytes() for each in found} == {each.tobytes() for each in plain}
    assert len({each.tobytes() for each in plain}) == 4


def test_every_form_is_rated_against_pillow(tmp_path):
    shards = loader.packed(tmp_path, "png", 32, 32)
    lines = loader.rates("tiny", shards, 32, 32, pairs=2)
    forms = ["Pillow", "loader", "loader, mirrored", "loader, read again"]
    assert [one["form"] for one in lines] == forms
    assert lines[0]["ratio"] == 1
    assert all(one["n"] == 2 and one["pictures_per_second"] > 0 and one["ratio"] > 0 for one in lines)
    assert json.loads(json.dumps(lines)) == lines
    assert all(form in loader.shown(lines) for form in forms)


def test_a_turn_of_the_loader_decodes_as_much_as_it_takes_and_leaves_nothing_undone(tmp_path, monkeypatch):
    shards, count, decode = loader.packed(tmp_path, "png", 32, 32), 0, streaming.decoded

    def counted(*given):
        nonlocal count
        count += 1
        return decode(*given)

    monkeypatch.setattr(streaming, "decoded", counted)
    load, seen = loader.loader(shards, 32, 32, mirrored=False), []
    for turn in range(3):
        load(turn)
        seen.append(count)
    load.close()
    assert seen[2] - seen[1] == seen[1] - seen[0] == 32


def test_waiting_is_the_share_that_the_pictures_took_of_the_steps():
    class Slow:
        count, size = 10, 32

        def take(self, counters):
            time.sleep(0.2)
            return torch.zeros(len(counters), 3, 32, 32, dtype=torch.uint8)

    job = loader.read(loader.CONFIG, [*TINY, f"train={shipped_shards()[0]}", "batch=4"], loader.Pretrain)
    found = loader.waiting("slow", job, Slow(), steps=1)
    assert found["share"] * found["median_ms_a_step"] >= 199  # milliseconds, of the one step after the first
    assert found["share"] < 1


def test_a_promise_that_is_missed_is_noticed():
    rated = [{"form": "loader", "ratio": 0.81}, {"form": "loader, read again", "ratio": 0.5}]
    waited = [{"share": 0.01}]
    assert loader.kept(rated, waited)
    assert not loader.kept([{"form": "loader", "ratio": 0.79}], waited)
    assert not loader.kept(rated, [{"share": 0.06}])


def test_enlarged_pictures_are_different_and_of_that_size(tmp_path):
    found = sorted(enlarged(tmp_path / "p", 3, 96, "webp").iterdir())
    assert [path.name for path in found] == ["00000.webp", "00001.webp", "00002.webp"]
    assert {Image.open(path).size for path in found} == {(96, 96)}
    assert len({path.read_bytes() for path in found}) == 3
