"""Grids and animations of translations: sources above, below them one row for each style.

b pictures at once, H W pixels, S style dimension, K styles.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from pipeline.data.singles import Single
from pipeline.guides import Guide
from pipeline.pictures import as_bytes
from pipeline.report.grids import animation, grid, save
from pipeline.translator import AnyTranslator

COLUMNS = 8  # sources in a grid
ANIMATED = 6  # sources in an animation
FRAMES = 20  # of a way from one style to the next, as released
STEEP, TAIL = 5.0, 10  # the release paces by a sigmoid over -5 .. 5, and rests at its end
SECONDS = 0.08  # a frame
WHITE = 255


@dataclass
class Shown:
    """The first sources, and of each its outputs in the order of the guides: uint8 [3, H, W].

    count, files: of all that were translated, and of what was written of them.
    """

    count: int = 0
    files: int = 0
    domains: list[str | None] = field(default_factory=list)
    sources: list[Tensor] = field(default_factory=list)
    rows: list[list[Tensor]] = field(default_factory=list)

    def add(self, some: Sequence[Single], pictures: Tensor, drawn: Sequence[Tensor]) -> None:
        """One more batch: of each guide its outputs."""
        self.count += len(some)
        room = COLUMNS - len(self.sources)
        self.domains += [one.domain for one in some[:room]]
        self.sources += pictures[:room]
        self.rows += [[row[i] for row in drawn] for i in range(min(room, len(some)))]

    def going_to(self, model: AnyTranslator, target: int) -> list[Tensor]:
        """The sources that a model translates to a target."""
        own = None if model.within else model.names[target]
        pairs = zip(self.sources, self.domains, strict=True)
        return [picture for picture, domain in pairs if own is None or domain != own]


def write_grid(path: Path, shown: Shown, guides: Sequence[Guide]) -> str:
    """Sources on top, one row for each guide, references at the left edge of theirs. Returns what to say."""
    guided = any(guide.picture is not None for guide in guides)
    blank = torch.full_like(shown.sources[0], WHITE)
    rows = [torch.stack([*[blank] * guided, *shown.sources])]
    for k, guide in enumerate(guides):
        edge = [blank if guide.picture is None else guide.picture] if guided else []
        rows.append(torch.stack([*edge, *(outputs[k] for outputs in shown.rows)]))
    labels = ["source", *(guide.label for guide in guides)]
    save(grid([row.numpy() for row in rows], labels), path)
    some = f" (the first {len(shown.sources)} sources)" if shown.count > len(shown.sources) else ""
    return f"grid       {path}{some}"


def alphas(frames: int) -> list[float]:
    """Shares of the second style on the way from one to the next, paced as released (StarGAN v2, 875b70a).

    0, then the sigmoid of `frames` steps from -5 up to 5, then a rest of ten frames at 1.
    """
    paced = [1 / (1 + math.exp(STEEP - 2 * STEEP * i / frames)) for i in range(frames)]
    return [0.0, *paced, *[1.0] * TAIL]


@torch.no_grad()
def write_animation(
    path: Path, model: AnyTranslator, shown: Shown, guides: Sequence[Guide], frames: int
) -> str:
    """An endless GIF: the same sources through the guides' styles, linearly from each to the next and back.

    Returns what to say.
    """
    going = shown.going_to(model, guides[0].target)
    if not going:
        return f"animation  none to {model.names[guides[0].target]}: the first sources are all of it already"
    sources = torch.stack(going[:ANIMATED])
    encoded = model.encode(sources.to(model.device).float() / 127.5 - 1)

    def frame(style: Tensor) -> Tensor:
        return as_bytes(model.decode(encoded, style.expand(len(sources), -1)))

    sheets = []
    for first, second in zip(guides, [*guides[1:], guides[0]], strict=True):
        shares = alphas(frames)
        drawn = {
            share: grid([sources.numpy(), frame(torch.lerp(first.style, second.style, share)).numpy()])
            for share in dict.fromkeys(shares)
        }
        sheets += [drawn[share] for share in shares]
    animation(sheets, path, SECONDS)
    return f"animation  {path} ({len(sheets) * SECONDS:.1f} s)"
