import io
import json
import os
from pathlib import Path

import pytest
from rich.console import Console

from pipeline.tracking.jsonl import Lines
from pipeline.tracking.progress import CellView, Progress, look


def step(folder: Path, number: int, **more: object) -> None:
    Lines(folder / "metrics.jsonl").append(
        {"step": number, "images": 4 * number, "seconds": number / 10, "images_per_second": 40.0}
        | {"terms": {"G/fool": 0.75}}
        | more
    )


def finish(folder: Path, status: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "result.json").write_text(json.dumps({"status": status}))


def views(tmp_path: Path) -> list[CellView]:
    return [CellView(name, tmp_path / name, 100) for name in ("rssa-0", "cdc-0", "plain-0")]


def test_a_cell_is_waiting_then_running_then_what_its_result_says(tmp_path: Path) -> None:
    cell = views(tmp_path)[0]
    assert look(cell).state == "waiting"
    step(cell.folder, 20)
    found = look(cell)
    assert (found.state, found.step, found.images_per_second) == ("running", 20, 40.0)
    assert found.seconds_left == pytest.approx(80 * 4 / 40)  # 80 steps of 4 images at 40 images/s
    assert found.metric == "G/fool 0.75"
    Lines(cell.folder / "metrics.jsonl").append({"step": 20, "scores": {"kid": 0.0312}})
    assert look(cell).metric == "kid 0.0312"
    finish(cell.folder, "diverged")
    assert look(cell).state == "diverged"


def test_a_cell_that_is_tried_again_is_running(tmp_path: Path) -> None:
    cell = views(tmp_path)[0]
    finish(cell.folder, "stopped")
    os.utime(cell.folder / "result.json", (1, 1))
    step(cell.folder, 30)
    assert look(cell).state == "running"


def test_a_pipe_gets_a_plain_line_each_30_s_and_only_on_change(tmp_path: Path) -> None:
    now = [0.0]
    out = io.StringIO()
    cells = views(tmp_path)
    finish(cells[1].folder, "failed")
    with Progress(cells, Console(file=out, width=40), lambda: now[0]) as progress:
        for second in range(100):
            now[0] = float(second)
            if second == 10:
                step(cells[0].folder, 50)
            progress.refresh()
        finish(cells[0].folder, "done")
    assert out.getvalue().splitlines() == [
        "[0:00] 0/3 done, 1 failed, 2 waiting",
        "[0:30] 0/3 done, 1 failed, 1 running, 1 waiting, 0:15 left; "
        "rssa-0: step 50/100, 40 images/s, 0:05 left, G/fool 0.75",
        "[1:39] 1/3 done, 1 failed, 1 waiting",
    ]


def test_a_terminal_shows_a_line_per_running_cell_and_the_total(tmp_path: Path) -> None:
    out = io.StringIO()
    cells = views(tmp_path)
    step(cells[0].folder, 50)
    step(cells[2].folder, 25)
    console = Console(file=out, width=110, height=20, force_terminal=True)
    with Progress(cells, console, lambda: 0.0) as progress:
        progress.refresh()
        shown = Console(file=io.StringIO(), width=110, record=True)
        shown.print(progress._live.get_renderable() if progress._live else "")
    lines = shown.export_text().splitlines()
    assert [line.split()[0] for line in lines] == ["rssa-0", "plain-0", "0/3"]
    assert "50/100" in lines[0]
    assert "40 images/s" in lines[0]


def test_more_cells_than_the_terminal_is_high_keep_the_total_in_view(tmp_path: Path) -> None:
    out = io.StringIO()
    cells = [CellView(f"c{i}", tmp_path / f"c{i}", 100) for i in range(30)]
    for cell in cells:
        step(cell.folder, 10)
    console = Console(file=out, width=100, height=12, force_terminal=True)
    with Progress(cells, console, lambda: 0.0) as progress:
        progress.refresh()
    assert "and 22 more" in out.getvalue()
    assert "30 running" in out.getvalue()
