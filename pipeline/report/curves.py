"""Line plots of logged terms as inline SVG: no plotting library, no script; the page's style colours them."""

import math
from collections.abc import Mapping, Sequence
from html import escape
from itertools import pairwise

WIDTH, HEIGHT = 420, 210
LEFT, RIGHT, TOP, BOTTOM = 58, 12, 14, 34  # margins for the scales' numbers
MOST_POINTS = 400  # a line has fewer pixels than a long run has steps
COLOURS = 8  # classes c0 ... c7 of the style sheet
LOG_SPAN = 200.0  # positive series that span more than this are drawn on a logarithmic scale

Series = Sequence[tuple[float, float]]


def line_plot(title: str, series: Mapping[str, Series], x_label: str = "step") -> str:
    """One plot: each series is (x, y) pairs. Values that are not finite are gaps."""
    lines = {name: thinned(points) for name, points in series.items()}
    finite = [(x, y) for points in lines.values() for x, y in points if math.isfinite(y)]
    if not finite:
        return f'<figure class="plot"><figcaption>{escape(title)}: no finite value</figcaption></figure>'
    values = [y for _, y in finite]
    logarithmic = min(values) > 0 and max(values) / min(values) > LOG_SPAN
    across = Scale([x for x, _ in finite], LEFT, WIDTH - RIGHT)
    up = Scale(values, HEIGHT - BOTTOM, TOP, logarithmic)
    drawn = [_path(points, across, up, index % COLOURS) for index, points in enumerate(lines.values())]
    parts = [*axes(across, up, x_label), *drawn]
    key = "".join(
        f'<span><i class="c{index % COLOURS}"></i>{escape(name)}</span>' for index, name in enumerate(lines)
    )
    legend = f'<div class="key">{key}</div>' if len(lines) > 1 else ""
    note = " (logarithmic)" if logarithmic else ""
    return (
        f'<figure class="plot"><figcaption>{escape(title)}{note}</figcaption>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">{"".join(parts)}</svg>'
        f"{legend}</figure>"
    )


class Scale:
    """From values to pixels, with about five round marks."""

    def __init__(self, values: Sequence[float], first: float, last: float, logarithmic: bool = False) -> None:
        self.logarithmic = logarithmic
        low, high = min(values), max(values)
        if logarithmic:
            low, high = math.log10(low), math.log10(high)
        if high - low < 1e-12 * max(1.0, abs(high)):
            low, high = low - (abs(low) or 1) / 10, high + (abs(high) or 1) / 10
        self.low, self.high, self.first, self.last = low, high, first, last

    def __call__(self, value: float) -> float:
        position = math.log10(value) if self.logarithmic else value
        return self.first + (position - self.low) / (self.high - self.low) * (self.last - self.first)

    def marks(self) -> list[float]:
        """Round values inside the scale: steps of 1, 2 or 5 times a power of ten."""
        if self.logarithmic:
            powers = range(math.ceil(self.low), math.floor(self.high) + 1)
            every = max(1, len(powers) // 5)
            return [10.0**power for power in powers if power % every == 0]
        raw = (self.high - self.low) / 4
        power = 10.0 ** math.floor(math.log10(raw))
        step = next(power * times for times in (1, 2, 5, 10) if power * times >= raw)
        first = math.ceil(self.low / step - 1e-9)
        return [index * step for index in range(first, math.floor(self.high / step + 1e-9) + 1)]


def axes(across: Scale, up: Scale, x_label: str, y_label: str = "") -> list[str]:
    """Grid lines with their numbers, and the names of the axes."""
    left, right, bottom, top = across.first, across.last, up.first, up.last
    parts = []
    for value in up.marks():
        y = up(value)
        parts.append(f'<line class="rule" x1="{left:.1f}" x2="{right:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{left - 6:.1f}" y="{y + 3.5:.1f}" text-anchor="end">{number(value)}</text>')
    for value in across.marks():
        x = across(value)
        parts.append(
            f'<line class="rule" x1="{x:.1f}" x2="{x:.1f}" y1="{bottom:.1f}" y2="{bottom + 4:.1f}"/>'
        )
        parts.append(f'<text x="{x:.1f}" y="{bottom + 16:.1f}" text-anchor="middle">{number(value)}</text>')
    middle = (left + right) / 2
    parts.append(
        f'<text class="name" text-anchor="middle" x="{middle:.1f}" y="{bottom + 30:.1f}">'
        f"{escape(x_label)}</text>"
    )
    if y_label:
        at = (bottom + top) / 2
        parts.append(
            f'<text transform="translate(12 {at:.1f}) rotate(-90)" text-anchor="middle" class="name">'
            f"{escape(y_label)}</text>"
        )
    return parts


def number(value: float) -> str:
    """A short number for an axis: 0.02, 1500, 2e-05."""
    return f"{value:.4g}" if value == 0 or 1e-4 <= abs(value) < 1e6 else f"{value:.0e}"


def thinned(points: Series) -> list[tuple[float, float]]:
    """At most 400 points, each the mean of its neighbourhood, so that no spike decides by luck."""
    ordered = sorted((float(x), float(y)) for x, y in points)
    if len(ordered) <= MOST_POINTS:
        return ordered
    cuts = [round(index * len(ordered) / MOST_POINTS) for index in range(MOST_POINTS + 1)]
    groups = [ordered[first:last] for first, last in pairwise(cuts)]
    return [(sum(x for x, _ in g) / len(g), sum(y for _, y in g) / len(g)) for g in groups]


def _path(points: Series, across: Scale, up: Scale, colour: int) -> str:
    command, steps = "M", []
    for x, y in points:
        if not math.isfinite(y):
            command = "M"
            continue
        steps.append(f"{command}{across(x):.1f} {up(y):.1f}")
        command = "L"
    if len(steps) == 1:
        x, y = next((x, y) for x, y in points if math.isfinite(y))
        return f'<circle class="c{colour}" cx="{across(x):.1f}" cy="{up(y):.1f}" r="3"/>'
    return f'<path class="line c{colour}" d="{"".join(steps)}"/>'
