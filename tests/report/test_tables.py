import csv
import io
import json

import pytest
from rich.console import Console

from pipeline.report import tables
from pipeline.report.content import Column, Comparison, Failure, Row, Value, Verdict


@pytest.fixture
def comparison() -> Comparison:
    columns = (
        Column("kid", "graft_eye", "lower", "against 200 held-out pictures"),
        Column("intra", "graft_eye", "higher"),
    )
    rows = (
        Row(
            "plain",
            "lorelei",
            10,
            (0, 1, 2),
            {"kid": Value(0.0213, 0.0190, 0.0240, 1000), "intra": Value(0.31, 0.29, 0.33, 1000)},
            16000,
            402,
            front=True,
        ),
        Row(
            "rssa|b",
            "lorelei",
            10,
            (0, 2),
            {"kid": Value(0.05, None, None, 500)},
            32000,
            7200,
            0,
            False,
            "late",
        ),
    )
    verdicts = (
        Verdict(
            "kid", "lorelei", 10, "rssa", "plain", Value(0.0287, -0.001, 0.06, 500), 0.0004, "not separable"
        ),
    )
    failures = (Failure("cdc-lorelei-10-0-0badf00d", "diverged", "G/fool was not finite", 1248, 131),)
    return Comparison("few", columns, rows, verdicts, failures, notes=("One note.",))


def test_markdown_is_as_written_by_hand(comparison: Comparison) -> None:
    assert tables.markdown(comparison) == (
        "# few\n\n"
        "| method | target | shots | seeds | kid (graft_eye, n 1000) ↓ | intra (graft_eye, n 1000) ↑ "
        "| Pareto | images shown | time | mark |\n"
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n"
        "| plain | lorelei | 10 | 0-2 | 0.0213 [0.0190, 0.0240] | 0.310 [0.290, 0.330] "
        "| front | 16,000 | 7 min |  |\n"
        "| rssa\\|b | lorelei | 10 | 0, 2 | 0.05 (n 500) |  |  | 32,000 | 2.0 h | late |\n\n"
        "value [95 % interval]; ↓ lower is better, ↑ higher is better. "
        "kid: against 200 held-out pictures.\n\n"
        "## Paired differences\n\n"
        "| metric | target | shots | method | against | difference | p (Holm) | verdict |\n"
        "| --- | --- | --- | --- | --- | --- | --- | --- |\n"
        "| kid | lorelei | 10 | rssa | plain | +0.029 [-0.001, +0.060] | < 0.001 | not separable |\n\n"
        "## Failures\n\n"
        "| cell | what happened | reason | images shown | time |\n"
        "| --- | --- | --- | --- | --- |\n"
        "| cdc-lorelei-10-0-0badf00d | diverged | G/fool was not finite | 1,248 | 2 min |\n\n"
        "- One note.\n"
    )


def test_csv_has_a_line_per_row_and_failure_with_unrounded_numbers(comparison: Comparison) -> None:
    lines = list(csv.DictReader(io.StringIO(tables.csv_text(comparison))))
    assert [line["method"] for line in lines] == ["plain", "rssa|b", "cdc-lorelei-10-0-0badf00d"]
    first, second, failed = lines
    assert (first["kid"], first["kid_low"], first["kid_n"], first["kid_network"]) == (
        "0.0213",
        "0.019",
        "1000",
        "graft_eye",
    )
    assert (first["ranked"], first["front"], second["ranked"], second["mark"]) == ("yes", "yes", "no", "late")
    assert (second["kid_low"], second["intra"]) == ("", "")
    assert (failed["status"], failed["reason"], failed["images"]) == (
        "diverged",
        "G/fool was not finite",
        "1248",
    )


def test_json_reads_back_as_the_same_comparison(comparison: Comparison) -> None:
    assert Comparison.from_dict(json.loads(tables.json_text(comparison))) == comparison


@pytest.mark.parametrize("width", [60, 80, 100, 140])
def test_no_number_is_cut_on_any_terminal(comparison: Comparison, width: int) -> None:
    console = Console(file=io.StringIO(), width=width, record=True)
    tables.show(comparison, console)
    text = console.export_text()
    for words in (
        "0.0213",
        "[0.0190, 0.0240]",
        "[0.290, 0.330]",
        "(n 500)",
        "graft_eye",
        "[-0.001, +0.060]",
        "diverged",
    ):
        assert words in text
    assert "…" not in text
    assert "\x1b" not in text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Value(0.02134, 0.01902, 0.02401), "0.0213 [0.0190, 0.0240]"),
        (Value(12.3, 9.0, 17.0), "12.3 [9.0, 17.0]"),
        (Value(1234.5, 1100.0, 1400.0), "1234 [1100, 1400]"),
        (Value(0.5, 0.5, 0.5), "0.5000 [0.5000, 0.5000]"),
        (Value(-0.25), "-0.25"),
        (Value(float("nan"), float("nan"), float("nan")), "nan"),
    ],
)
def test_the_interval_decides_how_many_decimals_are_shown(value: Value, text: str) -> None:
    assert tables.value_text(value) == text


def test_seeds_and_times_are_short() -> None:
    assert [tables.seeds_text(s) for s in ((0,), (1, 0), (4, 2, 3), (0, 2, 7))] == [
        "0",
        "0, 1",
        "2-4",
        "0, 2, 7",
    ]
    assert [tables.time_text(s) for s in (0, 45, 720, 12240)] == ["0 s", "45 s", "12 min", "3.4 h"]
