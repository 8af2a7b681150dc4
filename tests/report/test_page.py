import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from pipeline.report import grids
from pipeline.report.content import Column, Comparison, Failure, Row, Value, Verdict
from pipeline.report.curves import MOST_POINTS, Scale, line_plot, thinned
from pipeline.report.gather import gather
from pipeline.report.page import write_page
from pipeline.report.pareto import Spot, pareto_plot

VOID = {"meta", "img", "br"}


class Balanced(HTMLParser):
    """Fails on a tag that is closed out of turn."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.images: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "img":
            self.images.append(dict(attrs)["src"] or "")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def make_sweep(folder: Path) -> Comparison:
    rng = np.random.default_rng(0)
    rows = []
    for method in ("plain", "rssa"):
        for seed in (0, 1):
            cell = folder / f"{method}-mine-10-{seed}-0000000{seed}"
            cell.mkdir(parents=True)
            (cell / "config.yaml").write_text(f"method: {method}\ntarget: mine\nshots: 10\nseed: {seed}\n")
            (cell / "inputs.json").write_text(
                json.dumps({"sha256": {"source": "ab" * 32}, "device": "<cpu>"})
            )
            lines = [{"step": s, "terms": {"G_image/fool": s / 7 + 1}} for s in range(0, 100, 10)]
            (cell / "metrics.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines) + '{"step": 1')
            for step in (0, 50, 100):
                pair = [rng.integers(0, 256, (3, 3, 8, 8), np.uint8) for _ in range(2)]
                grids.save(grids.grid(pair), cell / "samples" / f"{step:06d}.png")
        values = {"kid": Value(0.02, 0.01, 0.03, 100), "structure": Value(0.2, 0.1, 0.3, 100)}
        rows.append(Row(method, "mine", 10, (0, 1), values, 400, 10, front=method == "rssa"))
    (folder / "sweep.yaml").write_text("grid: {}\n")
    (folder / "half-made").mkdir()
    return Comparison(
        "<few> & more",
        (Column("kid", "graft_eye", "lower"), Column("structure", "sobel", "lower")),
        tuple(rows),
        (Verdict("kid", "mine", 10, "rssa", "plain", Value(0.0, -0.1, 0.1, 100), 0.9, "not separable"),),
        (Failure("cdc-mine-10-0-0badf00d", "diverged", "a < b", 4, 1),),
    )


@pytest.fixture
def html(tmp_path: Path) -> str:
    comparison = make_sweep(tmp_path)
    write_page(tmp_path / "report.html", comparison, gather(tmp_path, ["plain", "rssa"]))
    return (tmp_path / "report.html").read_text(encoding="utf-8")


def test_the_page_is_self_contained(html: str) -> None:
    words = re.sub(r'"data:image/png;base64,[^"]*"', "", html)  # base64 has slashes of its own
    assert not re.search(r"https?:|//[a-z]|url\(|@import|<script|<link|<iframe", words)
    assert not re.search(r'(src|href)="(?!data:image/png;base64,|#)', html)


def test_the_page_is_well_formed_and_escaped(html: str) -> None:
    parser = Balanced()
    parser.feed(html)
    assert parser.open == []
    assert "&lt;few&gt; &amp; more" in html
    assert "&lt;cpu&gt;" in html
    assert "a &lt; b" in html


def test_the_page_shows_each_method_under_the_source_and_its_failures(html: str) -> None:
    labels = re.findall(r'<div class="label[^"]*">([^<]*)</div>', html)
    assert labels[:3] == ["source", "plain", "rssa"]
    parser = Balanced()
    parser.feed(html)
    assert len(parser.images) == 3 + 4 * 3  # the sheet, and three pictures of each of four cells
    for words in ("diverged", "not separable", "graft_eye", "n 100", "Pareto front", "ab" * 32, "grid: {}"):
        assert words in html


def test_an_empty_sweep_is_a_page_too(tmp_path: Path) -> None:
    write_page(tmp_path / "report.html", Comparison("none", (), ()), gather(tmp_path))
    assert "none" in (tmp_path / "report.html").read_text()


def test_the_plot_of_what_is_not_finite_has_a_gap_and_never_the_word_nan() -> None:
    plot = line_plot("G", {"fool": [(0, 1.0), (1, math.nan), (2, 2.0), (3, math.inf)]})
    assert "nan" not in plot
    assert "inf" not in plot
    assert len(re.findall(r"M\d", plot)) == 2
    assert "no finite value" in line_plot("G", {"fool": [(0, math.nan)]})


def test_a_long_series_is_thinned_to_means_over_equal_parts() -> None:
    thin = thinned([(i, float(i % 2)) for i in range(10 * MOST_POINTS)])
    assert len(thin) == MOST_POINTS
    assert {y for _, y in thin} == {0.5}


@pytest.mark.parametrize(
    ("values", "marks"),
    [([0.0, 1.0], [0.0, 0.5, 1.0]), ([0.0, 1000.0], [0, 500, 1000]), ([-3.0, 7.0], [0.0, 5.0])],
)
def test_marks_of_a_scale_are_round(values: list[float], marks: list[float]) -> None:
    assert Scale(values, 0, 100).marks() == pytest.approx(marks)


def test_equal_values_and_negative_ones_have_a_scale() -> None:
    scale = Scale([-2.0, -2.0], 0, 100)
    assert scale(-2.0) == pytest.approx(50)


def test_a_spot_without_an_interval_is_drawn_and_the_front_is_filled() -> None:
    spots = [
        Spot("rssa", "mine", (0.02, None, None), (0.2, 0.1, 0.3), True),
        Spot("cdc", "mine", (0.03, 0.02, 0.04), (0.3, 0.2, 0.4), False),
    ]
    plot = pareto_plot(spots, "kid", "structure")
    assert plot.count(" full") == 1
    assert plot.count(" hollow") == 1
    assert pareto_plot([], "kid", "structure") == ""
