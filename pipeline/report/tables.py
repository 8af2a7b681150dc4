"""The comparison as tables: on the terminal, as Markdown, CSV and JSON."""

import csv
import io
import json
import math
from collections import Counter
from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .content import Column, Comparison, Row, Value, Verdict

ARROW = {"lower": "↓", "higher": "↑"}


def markdown(comparison: Comparison) -> str:
    """Three tables: the rows, the paired differences, the failures; ends with a line end."""
    heads = heads_of(comparison)
    body = [cells_of(comparison, row) for row in comparison.rows]
    parts = [f"# {comparison.name}", _pipe(heads, body), legend(comparison)]
    if comparison.verdicts:
        parts += [
            "## Paired differences",
            _pipe(VERDICT_HEADS, [verdict_cells(v) for v in comparison.verdicts]),
        ]
    if comparison.failures:
        rows = [failure_cells(comparison, index) for index in range(len(comparison.failures))]
        parts += ["## Failures", _pipe(FAILURE_HEADS, rows)]
    parts += ["\n".join(f"- {note}" for note in comparison.notes)] if comparison.notes else []
    return "\n\n".join(parts) + "\n"


def csv_text(comparison: Comparison) -> str:
    """One line per row and per failure; numbers unrounded, an empty field where there is none."""
    fixed = ["method", "target", "shots", "seeds", "status", "reason", "front", "ranked", "mark"]
    cost = ["images", "seconds", "trials"]
    heads = fixed + [f"{c.name}{part}" for c in comparison.columns for part in CSV_PARTS] + cost
    out = io.StringIO()
    writer = csv.DictWriter(out, heads, restval="", lineterminator="\n")
    writer.writeheader()
    for row in comparison.rows:
        record: dict[str, object] = {
            "method": row.method,
            "target": row.target,
            "shots": row.shots,
            "seeds": " ".join(str(seed) for seed in row.seeds),
            "status": "done",
            "front": "yes" if row.front else "no",
            "ranked": "no" if row.mark else "yes",
            "mark": row.mark,
            "images": row.images,
            "seconds": row.seconds,
            "trials": row.trials,
        }
        for column in comparison.columns:
            if (value := row.values.get(column.name)) is not None:
                parts = (value.value, value.low, value.high, value.n, column.network)
                record |= {
                    f"{column.name}{part}": x
                    for part, x in zip(CSV_PARTS, parts, strict=True)
                    if x is not None
                }
        writer.writerow(record)
    for failure in comparison.failures:
        writer.writerow(
            {"method": failure.cell, "status": failure.status, "reason": failure.reason}
            | {"front": "no", "ranked": "no", "images": failure.images, "seconds": failure.seconds}
        )
    return out.getvalue()


def json_text(comparison: Comparison) -> str:
    """All of it; `Comparison.from_dict` reads it back. What is not finite is null."""
    return json.dumps(_strict(comparison.as_dict()), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def show(comparison: Comparison, console: Console) -> None:
    """Print the tables; colour only where the console has it. Too narrow for a table, rows become records."""
    console.print(Text(comparison.name, style="bold"))
    table = _terminal_table(comparison)
    if _fits(table, console):
        console.print(table)
    else:
        for row in comparison.rows:
            console.print(_row_record(comparison, row))
    console.print(Text(legend(comparison), style="dim"))
    if comparison.verdicts:
        console.print(Text("Paired differences", style="bold"))
        verdicts = [verdict_cells(verdict) for verdict in comparison.verdicts]
        table = _simple_table(VERDICT_HEADS, verdicts)
        if _fits(table, console):
            console.print(table)
        else:
            for metric, target, shots, method, against, *judged in verdicts:
                title = f"{metric}, {target}, {shots} shots: {method} against {against}"
                console.print(_record(["", *VERDICT_HEADS[5:]], [title, *judged]))
    if comparison.failures:
        console.print(Text("Failures", style="bold red"))
        cells_of_all = [failure_cells(comparison, index) for index in range(len(comparison.failures))]
        console.print(_simple_table(FAILURE_HEADS, cells_of_all))  # a long reason is folded
    for note in comparison.notes:
        console.print(Text(note))


CSV_PARTS = ("", "_low", "_high", "_n", "_network")
VERDICT_HEADS = ["metric", "target", "shots", "method", "against", "difference", "p (Holm)", "verdict"]
FAILURE_HEADS = ["cell", "what happened", "reason", "images shown", "time"]


def heads_of(comparison: Comparison) -> list[str]:
    """Column heads: each metric with its network, the better direction, and the n of most rows."""
    heads = ["method", "target", "shots", "seeds"]
    heads += [metric_head(comparison, column) for column in comparison.columns]
    heads += ["Pareto", "images shown", "time"]
    heads += ["trials"] if any(row.trials for row in comparison.rows) else []
    return heads + (["mark"] if any(row.mark for row in comparison.rows) else [])


def metric_head(comparison: Comparison, column: Column) -> str:
    n = common_n(comparison, column)
    return f"{column.name} ({column.network}{f', n {n}' if n else ''}) {ARROW[column.better]}"


def cells_of(comparison: Comparison, row: Row) -> list[str]:
    """The texts of one row, in the order of `heads_of`."""
    cells = [row.method, row.target, str(row.shots), seeds_text(row.seeds)]
    cells += [metric_cell(comparison, row, column) for column in comparison.columns]
    cells += ["front" if row.front else "", f"{row.images:,.0f}", time_text(row.seconds)]
    cells += [str(row.trials)] if any(other.trials for other in comparison.rows) else []
    return cells + ([row.mark] if any(other.mark for other in comparison.rows) else [])


def verdict_cells(verdict: Verdict) -> list[str]:
    p = "" if verdict.p is None else ("< 0.001" if verdict.p < 0.001 else f"{verdict.p:.3f}")
    front = [verdict.metric, verdict.target, str(verdict.shots), verdict.first, verdict.second]
    return [*front, value_text(verdict.difference, signed=True), p, verdict.words]


def failure_cells(comparison: Comparison, index: int) -> list[str]:
    failure = comparison.failures[index]
    cost = [f"{failure.images:,.0f}", time_text(failure.seconds)]
    return [failure.cell, failure.status, failure.reason, *cost]


def legend(comparison: Comparison) -> str:
    """How to read the numbers: the interval, the arrows, the protocols."""
    protocols = [f"{column.name}: {column.protocol}." for column in comparison.columns if column.protocol]
    return " ".join(["value [95 % interval]; ↓ lower is better, ↑ higher is better.", *protocols])


def common_n(comparison: Comparison, column: Column) -> int:
    """The n that most rows have for a metric: it stands in the head, and cells that differ say their own."""
    counts = Counter(row.values[column.name].n for row in comparison.rows if column.name in row.values)
    return counts.most_common(1)[0][0] if counts else 0


def metric_cell(comparison: Comparison, row: Row, column: Column) -> str:
    """`value [low, high]`, with `n` where it is not the one in the head; empty where not measured."""
    value = row.values.get(column.name)
    if value is None:
        return ""
    own = "" if value.n == common_n(comparison, column) else f" (n {value.n})"
    return value_text(value) + own


def value_text(value: Value, signed: bool = False) -> str:
    """`0.0213 [0.0190, 0.0240]`: as many decimals as give the interval's half width two digits."""
    if value.low is None or value.high is None or not all(map(math.isfinite, (value.low, value.high))):
        return _signed(f"{value.value:.4g}", signed and value.value > 0)
    half = (value.high - value.low) / 2
    places = 4 if half <= 0 else min(6, max(0, 1 - math.floor(math.log10(half))))
    texts = [_signed(f"{x:.{places}f}", signed and x > 0) for x in (value.value, value.low, value.high)]
    return f"{texts[0]} [{texts[1]}, {texts[2]}]"


def time_text(seconds: float) -> str:
    """`45 s`, `12 min`, `3.4 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def seeds_text(seeds: Sequence[int]) -> str:
    """`0-4` for a run of seeds, else `0, 2, 7`."""
    ordered = sorted(seeds)
    if len(ordered) > 2 and ordered == list(range(ordered[0], ordered[-1] + 1)):
        return f"{ordered[0]}-{ordered[-1]}"
    return ", ".join(str(seed) for seed in ordered)


def _signed(text: str, plus: bool) -> str:
    return f"+{text}" if plus else text


def _pipe(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def _terminal_table(comparison: Comparison) -> Table:
    """Head and cell have two or three short lines each, so that four metrics fit a terminal."""
    table = Table(box=box.SIMPLE_HEAD, header_style="bold", padding=(0, 1), pad_edge=False)
    for head in ("method", "target\nshots", "seeds"):
        table.add_column(Text(head), no_wrap=True)
    for column in comparison.columns:
        n = common_n(comparison, column)
        under = f"\n{column.network}" + (f"\nn {n}" if n else "")
        table.add_column(Text(f"{column.name} {ARROW[column.better]}{under}"), no_wrap=True)
    table.add_column(Text("images\ntime"), no_wrap=True, justify="right")
    for row in comparison.rows:
        cells = [f"{row.method}{_under(row)}", f"{row.target}\n{row.shots} shots", seeds_text(row.seeds)]
        cells += [metric_cell(comparison, row, column).replace(" [", "\n[") for column in comparison.columns]
        cells.append(f"{row.images:,.0f}\n{time_text(row.seconds)}")
        table.add_row(*(Text(cell, style="dim" if row.mark else "") for cell in cells))
    return table


def _under(row: Row) -> str:
    words = [row.mark] if row.mark else ["Pareto front"] if row.front else []
    words += [f"{row.trials} trials"] if row.trials else []
    return "".join(f"\n{word}" for word in words)


def _simple_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False)
    for head in heads:
        table.add_column(Text(head), overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table


def _fits(table: Table, console: Console) -> bool:
    """Whether no cell has to be folded or cut."""
    return console.measure(table, options=console.options.update(width=10_000)).maximum <= console.width


def _row_record(comparison: Comparison, row: Row) -> Text:
    """A row as a line of facts and a line per metric."""
    facts = [row.target, f"{row.shots} shots", f"seeds {seeds_text(row.seeds)}", f"{row.images:,.0f} images"]
    facts += [time_text(row.seconds), *_under(row).split("\n")[1:]]
    heads = [metric_head(comparison, column) for column in comparison.columns]
    cells = [metric_cell(comparison, row, column) for column in comparison.columns]
    return _record(["", *heads], [f"{row.method}: {', '.join(facts)}", *cells])


def _record(heads: Sequence[str], cells: Sequence[str]) -> Text:
    """A row as lines of its own: `metric (network, n) value [interval]`; the first cell is its title."""
    width = max(len(head) for head in heads)
    lines = [f"  {head:{width}}  {cell}" for head, cell in zip(heads[1:], cells[1:], strict=True) if cell]
    return Text("\n").join([Text(cells[0], style="bold"), *(Text(line) for line in lines), Text("")])


def _strict(value: object) -> object:
    if isinstance(value, dict):
        return {key: _strict(x) for key, x in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(x) for x in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
