"""Quality against correspondence as inline SVG, with intervals: copying wins one and loses the other."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from .curves import COLOURS, Scale, axes

WIDTH, HEIGHT = 640, 380
LEFT, RIGHT, TOP, BOTTOM = 70, 20, 16, 44
SHAPES = 4  # targets are told apart by the shape of their points, methods by colour


@dataclass(frozen=True)
class Spot:
    """A method on a target: (value, low, high) of either axis; None where there is no interval."""

    method: str
    target: str
    quality: tuple[float, float | None, float | None]
    correspondence: tuple[float, float | None, float | None]
    front: bool


def pareto_plot(spots: Sequence[Spot], quality: str, correspondence: str) -> str:
    """One plot; `quality` and `correspondence` name the axes with network and better direction.

    Points of the Pareto front are filled, the others hollow. Methods have colours, targets have shapes.
    """
    if not spots:
        return ""
    across = Scale(_ends([spot.quality for spot in spots]), LEFT, WIDTH - RIGHT)
    up = Scale(_ends([spot.correspondence for spot in spots]), HEIGHT - BOTTOM, TOP)
    methods = list(dict.fromkeys(spot.method for spot in spots))
    targets = list(dict.fromkeys(spot.target for spot in spots))
    parts = axes(across, up, quality, correspondence)
    for spot in spots:
        colour = methods.index(spot.method) % COLOURS
        parts.append(_mark(spot, across, up, colour, targets.index(spot.target) % SHAPES))
    key = "".join(
        f'<span><i class="c{i % COLOURS}"></i>{escape(name)}</span>' for i, name in enumerate(methods)
    )
    if len(targets) > 1:
        key += "".join(
            f'<span><svg viewBox="-7 -7 14 14" class="shape">{_shape(0, 0, i % SHAPES, "ink full")}</svg>'
            f"{escape(name)}</span>"
            for i, name in enumerate(targets)
        )
    return (
        f'<figure class="plot wide"><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="quality against correspondence">{"".join(parts)}</svg>'
        f'<div class="key">{key}<span>filled: on the Pareto front</span></div></figure>'
    )


def _ends(values: Sequence[tuple[float, float | None, float | None]]) -> list[float]:
    ends = [end for triple in values for end in triple if end is not None]
    room = (max(ends) - min(ends)) * 0.06
    return [min(ends) - room, max(ends) + room]


def _mark(spot: Spot, across: Scale, up: Scale, colour: int, shape: int) -> str:
    x, y = across(spot.quality[0]), up(spot.correspondence[0])
    low_x, high_x = (across(end) if end is not None else x for end in spot.quality[1:])
    low_y, high_y = (up(end) if end is not None else y for end in spot.correspondence[1:])
    words = f"{spot.method}, {spot.target}: {spot.quality[0]:.4g}, {spot.correspondence[0]:.4g}"
    full = "full" if spot.front else "hollow"
    return (
        f"<g><title>{escape(words)}</title>"
        f'<path class="error c{colour}" '
        f'd="M{low_x:.1f} {y:.1f}H{high_x:.1f}M{x:.1f} {low_y:.1f}V{high_y:.1f}"/>'
        f"{_shape(x, y, shape, f'c{colour} {full}')}</g>"
    )


def _shape(x: float, y: float, shape: int, classes: str) -> str:
    """Circle, square, triangle, diamond of about one size."""
    if shape == 0:
        return f'<circle class="{classes}" cx="{x:.1f}" cy="{y:.1f}" r="5"/>'
    paths = {1: "m-4.5-4.5h9v9h-9z", 2: "m0-6l5.5 10h-11z", 3: "m0-6.5l5.5 6.5l-5.5 6.5l-5.5-6.5z"}
    return f'<path class="{classes}" d="M{x:.1f} {y:.1f}{paths[shape]}"/>'
