import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.tracking import jsonl
from pipeline.tracking.jsonl import Lines


def test_lines_come_back_in_order(tmp_path: Path) -> None:
    path = tmp_path / "sub folder ä" / "metrics.jsonl"
    lines = Lines(path)
    for step in (0, 10, 20):
        lines.append({"step": step, "terms": {"D/real": 0.5 * step}})
    assert jsonl.read(path) == [{"step": s, "terms": {"D/real": 0.5 * s}} for s in (0, 10, 20)]
    assert [json.loads(raw)["step"] for raw in path.read_text().splitlines()] == [0, 10, 20]
    assert jsonl.last(path) == {"step": 20, "terms": {"D/real": 10.0}}


def test_truncation_drops_later_steps_and_the_half_written_line(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    lines = Lines(path)
    for step in (0, 5, 10, 15):
        lines.append({"step": step})
    with path.open("a") as file:
        file.write('{"step": 20, "te')
    assert Lines(path).truncate_after(10) == 3
    assert path.read_text() == '{"step": 0}\n{"step": 5}\n{"step": 10}\n'


def test_truncation_of_a_file_that_needs_none_does_not_write(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    lines = Lines(path)
    lines.append({"step": 3})
    before = path.stat().st_ino
    assert lines.truncate_after(3) == 1
    assert path.stat().st_ino == before
    assert Lines(tmp_path / "none.jsonl").truncate_after(5) == 0


def test_appending_after_a_kill_starts_on_a_line_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2, "x')
    Lines(path).append({"step": 2})
    assert jsonl.read(path) == [{"step": 1}, {"step": 2}]


@given(cut=st.integers(0, 200))
def test_any_cut_of_the_file_reads_as_a_prefix_of_its_lines(
    cut: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("cut") / "metrics.jsonl"
    lines = Lines(path)
    for step in range(8):
        lines.append({"step": step, "name": "ä"})
    whole = jsonl.read(path)
    path.write_bytes(path.read_bytes()[:cut])
    part = jsonl.read(path)
    assert part == whole[: len(part)]


def test_what_is_not_finite_is_valid_json_and_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    Lines(path).append({"step": 1, "terms": {"a": math.nan, "b": math.inf, "c": -math.inf}})
    json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    terms = jsonl.read(path)[0]["terms"]
    assert math.isnan(terms["a"])
    assert (terms["b"], terms["c"]) == (math.inf, -math.inf)


def test_flat_names_terms_as_they_are_and_scores_apart() -> None:
    line = {
        "step": 3,
        "images": 12,
        "seconds": 1.5,
        "terms": {"G/fool": 2.0},
        "scores": {"kid": 0.1},
        "note": "x",
    }
    assert jsonl.flat(line) == {"images": 12.0, "seconds": 1.5, "G/fool": 2.0, "score/kid": 0.1}


def test_tail_of_a_long_file_is_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(f'{{"step": {i}, "pad": "{"x" * 50}"}}\n' for i in range(5000)))
    steps = [line["step"] for line in jsonl.tail(path)]
    assert steps == list(range(5000 - len(steps), 5000))
    assert 100 < len(steps) < 1000
