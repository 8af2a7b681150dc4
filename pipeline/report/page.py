"""report.html: one self-contained page. Pictures first, then the table, the two axes, and how it was made.

No script, no external resource: it opens from a disk, a mail, an artifact store.
"""

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from PIL import Image

from . import tables
from .content import Column, Comparison, Row
from .curves import line_plot
from .gather import Cell, Gathered, curves, training
from .grids import reduced
from .pareto import Spot, pareto_plot

STYLE = Path(__file__).with_name("style.css")
SEPARABLE = "not separable"
OPEN_CELLS = 1  # cells whose curves are unfolded when the page opens


def write_page(path: Path, comparison: Comparison, gathered: Gathered) -> None:
    """Write the page, aside and renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.aside")
    aside.write_text(page(comparison, gathered), encoding="utf-8")
    aside.replace(path)


def page(comparison: Comparison, gathered: Gathered) -> str:
    """The page as text."""
    sections = [
        ("pictures", "Pictures", _pictures(gathered)),
        ("table", "Table", _table(comparison)),
        ("axes", "Quality and correspondence", _axes(comparison)),
        ("differences", "Paired differences", _verdicts(comparison)),
        ("failures", "Failures", _failures(comparison)),
        ("training", "How each cell trained", _training(gathered.cells)),
        ("made", "How it was made", _made(gathered)),
    ]
    shown = [(key, title, body) for key, title, body in sections if body]
    links = "".join(f'<a href="#{key}">{title}</a>' for key, title, _ in shown)
    bodies = "".join(f'<section id="{key}"><h2>{title}</h2>{body}</section>' for key, title, body in shown)
    notes = "".join(f"<p>{escape(note)}</p>" for note in comparison.notes)
    title = escape(comparison.name)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title} - Graft</title><style>{STYLE.read_text(encoding='utf-8')}</style></head>"
        f"<body><main><header><h1>{title}</h1>{_counts(comparison)}{notes}<nav>{links}</nav></header>"
        f"{bodies}<footer>Made by Graft from the run's files; nothing here is loaded from elsewhere.</footer>"
        "</main></body></html>\n"
    )


def _counts(comparison: Comparison) -> str:
    methods = len({row.method for row in comparison.rows})
    targets = len({row.target for row in comparison.rows})
    cells = sum(len(row.seeds) for row in comparison.rows)
    words = [_count(methods, "method"), _count(targets, "target"), f"{_count(cells, 'cell')} judged"]
    words += [f"{len(comparison.failures)} failed"] if comparison.failures else []
    return f"<p>{', '.join(words)}</p>"


def _pictures(gathered: Gathered) -> str:
    if not gathered.sheets:
        return ""
    parts = ['<p class="lead">Each column is the same z: the source model above, below it each method.</p>']
    for sheet in gathered.sheets:
        rows = "".join(_sheet_row(sheet.title, label, picture) for label, picture in sheet.rows)
        heading = f"<h3>{escape(sheet.title)}</h3>"
        parts.append(f'{heading}<div class="card scroll"><div class="sheet">{rows}</div></div>')
    return "".join(parts)


def _sheet_row(title: str, label: str, picture: Image.Image) -> str:
    kind = " source" if label == "source" else ""
    image = _image(picture, f"{title}: {label}")
    return f'<div class="label{kind}">{escape(label)}</div><div class="row{kind}">{image}</div>'


def _table(comparison: Comparison) -> str:
    if not comparison.rows:
        return ""
    trials = any(row.trials for row in comparison.rows)
    heads = ["<th>method</th><th>target</th><th>shots</th><th>seeds</th>"]
    heads += [_metric_head(comparison, column) for column in comparison.columns]
    heads += ["<th>images<small>shown</small></th><th>time</th>", "<th>trials</th>" if trials else ""]
    rows = "".join(_row(comparison, row, trials) for row in comparison.rows)
    lead = f'<p class="lead">{escape(tables.legend(comparison))}</p>'
    return (
        f'{lead}<div class="card scroll"><table><thead><tr>{"".join(heads)}</tr></thead>{rows}</table></div>'
    )


def _metric_head(comparison: Comparison, column: Column) -> str:
    n = tables.common_n(comparison, column)
    under = column.network + (f", n {n}" if n else "")
    arrow = tables.ARROW[column.better]
    return f'<th><span class="head">{escape(column.name)} {arrow}</span><small>{escape(under)}</small></th>'


def _row(comparison: Comparison, row: Row, trials: bool) -> str:
    badges = '<span class="badge">Pareto front</span>' if row.front else ""
    badges += f'<span class="badge bad">{escape(row.mark)}</span>' if row.mark else ""
    cells = [f'<td class="method">{escape(row.method)}<small>{badges}</small></td>']
    cells += [f"<td>{escape(str(x))}</td>" for x in (row.target, row.shots, tables.seeds_text(row.seeds))]
    for column in comparison.columns:
        number, _, interval = tables.metric_cell(comparison, row, column).partition(" ")
        cells.append(f'<td class="number">{number}<small>{interval}</small></td>')
    cells.append(f'<td class="number">{row.images:,.0f}</td>')
    cells.append(f'<td class="number">{tables.time_text(row.seconds)}</td>')
    cells += [f"<td>{row.trials}</td>"] if trials else []
    return f'<tr class="{"unranked" if row.mark else ""}">{"".join(cells)}</tr>'


def _axes(comparison: Comparison) -> str:
    quality, other = comparison.column(comparison.quality), comparison.column(comparison.correspondence)
    if quality is None or other is None:
        return ""
    spots = [
        Spot(
            row.method,
            f"{row.target}, {row.shots} shots",
            _triple(row, quality),
            _triple(row, other),
            row.front,
        )
        for row in comparison.rows
        if quality.name in row.values and other.name in row.values
    ]
    lead = (
        '<p class="lead">Copying the shots wins quality and loses correspondence; leaving the source as '
        "it is does the opposite. Bars are 95 % intervals.</p>"
    )
    plot = pareto_plot(spots, _axis(quality), _axis(other))
    return f'{lead}<div class="card">{plot}</div>' if plot else ""


def _triple(row: Row, column: Column) -> tuple[float, float | None, float | None]:
    value = row.values[column.name]
    return value.value, value.low, value.high


def _axis(column: Column) -> str:
    return f"{column.name} ({column.network}), {column.better} is better"


def _verdicts(comparison: Comparison) -> str:
    rows = []
    for verdict in comparison.verdicts:
        *front, words = tables.verdict_cells(verdict)
        state = "same" if words.startswith(SEPARABLE) else "apart"
        rows.append(f'<tr>{_cells(front)}<td class="{state}">{escape(words)}</td></tr>')
    if not rows:
        return ""
    lead = (
        '<p class="lead">A method minus the one it stands against, on the same z and seeds, '
        "with its 95 % interval; p after Holm.</p>"
    )
    return lead + _plain_table(tables.VERDICT_HEADS, rows)


def _failures(comparison: Comparison) -> str:
    rows = []
    for index in range(len(comparison.failures)):
        cell, status, reason, *cost = tables.failure_cells(comparison, index)
        rows.append(
            f'<tr><td class="method">{escape(cell)}</td>'
            f'<td><span class="badge bad">{escape(status)}</span></td>'
        )
        rows[-1] += f'<td class="long">{escape(reason)}</td>' + _cells(cost) + "</tr>"
    return _plain_table(tables.FAILURE_HEADS, rows) if rows else ""


def _cells(texts: Iterable[str]) -> str:
    return "".join(f"<td>{escape(text)}</td>" for text in texts)


def _plain_table(heads: Sequence[str], rows: Sequence[str]) -> str:
    head = "".join(f"<th>{escape(text)}</th>" for text in heads)
    return f'<div class="card scroll"><table><thead><tr>{head}</tr></thead>{"".join(rows)}</table></div>'


def _training(cells: Sequence[Cell]) -> str:
    bodies: list[str] = []
    for cell in cells:
        plots = "".join(line_plot(phase, series) for phase, series in curves(cell).items())
        pictures = "".join(
            f'<div class="label">step {step}</div><div>{_image(picture, f"{cell.id} at step {step}")}</div>'
            for step, picture in training(cell)
        )
        strip = f'<div class="scroll"><div class="sheet small">{pictures}</div></div>' if pictures else ""
        if plots or strip:
            state = " open" if len(bodies) < OPEN_CELLS else ""
            body = f'{strip}<br><div class="plots">{plots}</div>' if plots else strip
            bodies.append(f"<details{state}><summary>{escape(cell.id)}</summary>{body}</details>")
    lead = '<p class="lead">The same z as training went on, and every loss term before its weight.</p>'
    return f'{lead}<div class="card">{"".join(bodies)}</div>' if bodies else ""


def _made(gathered: Gathered) -> str:
    parts = []
    if gathered.sweep:
        parts.append(_fold("sweep.yaml", f"<pre>{escape(gathered.sweep)}</pre>"))
    for cell in gathered.cells:
        facts = "".join(
            f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in _flat(cell.inputs)
        )
        body = f"<dl>{facts}</dl>" if facts else ""
        parts.append(_fold(cell.id, f"{body}<pre>{escape(cell.config)}</pre>"))
    lead = (
        '<p class="lead">What went into each cell, by hash; the machine; the config that reproduces it.</p>'
    )
    return f'{lead}<div class="card">{"".join(parts)}</div>' if parts else ""


def _fold(title: str, body: str) -> str:
    return f"<details><summary>{escape(title)}</summary>{body}</details>"


def _flat(values: Mapping[str, Any], front: str = "") -> Iterable[tuple[str, str]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{front}{name} / ")
        else:
            yield f"{front}{name}", ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _image(picture: Image.Image, words: str) -> str:
    """A picture as a PNG inside the page, which enlarges its pixels again."""
    out, picture = io.BytesIO(), reduced(picture)
    picture.save(out, format="PNG")
    data = base64.b64encode(out.getvalue()).decode()
    size = f'width="{picture.width}" height="{picture.height}"'
    return f'<img src="data:image/png;base64,{data}" alt="{escape(words)}" {size} loading="lazy">'


def _count(number: int, word: str) -> str:
    return f"{number} {word}" + ("" if number == 1 else "s")
