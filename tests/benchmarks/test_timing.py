"""What a benchmark says: ratios of pairs, and lines that a reader can take apart again."""

import json

import pytest

from benchmarks import timing
from benchmarks.rows import Row
from benchmarks.rssa_step import amortised
from benchmarks.timing import Spell


def test_the_ratio_is_the_median_over_pairs_inside_its_interval():
    found = timing.ratio([2.0, 4.0, 6.0, 80.0, 10.0], [1.0, 2.0, 3.0, 4.0, 5.0])
    assert found.median == 2.0
    assert found.low == 2.0
    assert found.low <= found.median <= found.high <= 20.0


def test_forms_take_turns_and_the_warm_one_does_not_count():
    order: list[tuple[str, int]] = []
    forms = {name: (lambda turn, name=name: order.append((name, turn))) for name in ("a", "b")}
    found = timing.interleaved(forms, pairs=2)
    assert order == [("a", 0), ("b", 0), ("a", 1), ("b", 1), ("a", 2), ("b", 2)]
    assert {name: len(times) for name, times in found.items()} == {"a": 2, "b": 2}


def test_a_mean_step_counts_every_row_by_how_often_it_happens():
    rows = [Row("D", "D", 0, 48), Row("R1", "R1", 0, 3)]
    assert amortised(rows, [[Spell(10, 20)], [Spell(16, 32)]]) == [Spell(11, 22)]


def test_lines_carry_the_machine_and_are_appended(tmp_path):
    out = tmp_path / "new" / "lines.jsonl"
    for _ in range(2):
        timing.write([timing.line("P0", [Spell(3, 4)], [Spell(1, 1)], what="x", error=1e-13)], out)
    lines = [json.loads(text) for text in out.read_text().splitlines()]
    assert len(lines) == 2
    assert {"date", "commit", "device", "torch", "threads"} <= set(lines[0])
    assert (lines[0]["median_ms"], lines[0]["ratio"], lines[0]["n"]) == (3, 3, 1)
    assert "3.00 (3.00-3.00)" in timing.shown(lines)


def test_the_peak_is_that_of_this_process():
    assert timing.peak_mb() == pytest.approx(timing.peak_mb(), rel=0.05)
    assert timing.peak_mb() > 10
