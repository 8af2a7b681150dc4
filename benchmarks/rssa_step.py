"""RSSA's step against its released form: `python -m benchmarks.rssa_step [--out FILE.jsonl] [--pairs N]`.

64 px with the widths of configs/pretrain_personas.yaml, batch 4, profile `released`. The released form is that of
`benchmarks.literal`: P0 (channels as batch) and, with --form P1, depthwise filters. Before anything is timed, all
losses and gradients of both are compared in float64. What the release does beyond this and we left out because it
would only make it slower: anchors drawn number by number, and path length on the larger consistency batch.
"""

import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial, reduce
from operator import add
from typing import Any

import torch
from torch import Tensor

from benchmarks import timing
from benchmarks.equal import checked
from benchmarks.literal import consistency
from benchmarks.literal.step import Work, literal_trainer, our_trainer
from benchmarks.rows import Row, rows_of, take
from benchmarks.timing import Spell, interleaved, line
from losses.disturbance import disturbance, disturbance_windows
from losses.self_correlation import self_correlation
from models.stylegan2 import Generator, Shape
from pipeline.job import Pretrain
from pipeline.read import read
from pipeline.trainer import Trainer


def shipped_shape() -> Shape:
    """The network of configs/pretrain_personas.yaml."""
    network = read(timing.ROOT / "configs/pretrain_personas.yaml", [], Pretrain).network_settings()
    return Shape(network.size, dict(network.widths), network.style_dim, network.mapping_layers)


def trainer_of(work: Work, form: str) -> Trainer:
    """Our step, or the literal one."""
    return our_trainer(work) if form == "ours" else literal_trainer(work, form)


def amortised(rows: Sequence[Row], times: Sequence[list[Spell]]) -> list[Spell]:
    """A mean step of each turn: every row's time by how often it happens."""
    turns = zip(*times, strict=True)
    return [reduce(add, (one * row.share for row, one in zip(rows, turn, strict=True))) for turn in turns]


def step_lines(work: Work, forms: Sequence[str], pairs: int, **more: Any) -> list[dict[str, Any]]:
    """Every row of the method, then the mean step, in each form; ratios against the first."""
    trainers = {form: trainer_of(work, form) for form in forms}
    rows = rows_of(trainers[forms[0]].method)
    found = {}
    for row in rows:
        runs = {form: partial(take, trainer, row) for form, trainer in trainers.items()}
        found[row] = interleaved(runs, pairs)
    shapes = {"size": work.shape.size, "widths": work.shape.as_dict()["widths"], "batch": work.batch}
    more = more | {"method": work.method, "profile": work.profile, "shapes": shapes}
    lines = []
    for row in rows:
        for form in forms:
            reference = None if form == forms[0] else found[row][forms[0]]
            what = f"{row.label}, {row.count} of 48"
            lines.append(line(form, found[row][form], reference, what=what, **more))
    means = {form: amortised(rows, [found[row][form] for row in rows]) for form in forms}
    for form in forms:
        reference = None if form == forms[0] else means[forms[0]]
        lines.append(line(form, means[form], reference, what=f"{work.method}: mean step", **more))
    return lines


def features_of(work: Work) -> tuple[list[Tensor], list[Tensor]]:
    """All features of the adapted generator, as leaves, and of the source."""
    trainer = our_trainer(work)
    z = torch.randn(4, work.shape.style_dim, generator=torch.Generator().manual_seed(0))
    found = []
    for name in ("G", "source"):
        generator = trainer.nets.of(Generator, name)
        with torch.no_grad():
            drawn = generator.synthesis(generator.styles(generator.mapping(z))).features
        found.append([x.clone().requires_grad_(name == "G") for x in drawn])
    return found[0], found[1]


def loss_lines(work: Work, pairs: int) -> list[dict[str, Any]]:
    """The two consistency losses alone, forward and backward to the features; and ours against itself."""
    after, before = features_of(work)
    sides, size = work.shape.noise_sides, work.shape.size
    read_self = [i for i, side in enumerate(sides) if 4 * side >= size]
    read_cross = range(sides.index(size // 2) + 1)
    cuts = [disturbance_windows(sides[i], size) for i in read_cross]
    chosen = {"self": read_self, "cross": read_cross}
    losses: dict[tuple[str, str], Callable[[list[Tensor], list[Tensor]], Tensor]] = {
        ("self", "ours"): self_correlation,
        ("self", "literal"): consistency.self_correlation,
        ("cross", "ours"): partial(disturbance, windows=cuts),
        ("cross", "literal"): partial(consistency.disturbance, cuts=cuts),
    }

    def run(name: str, form: str) -> None:
        ours = [after[i] for i in chosen[name]]
        loss = losses[name, form](ours, [before[i] for i in chosen[name]])
        torch.autograd.grad(loss, ours)

    lines = []
    for name in chosen:

        def turned(form: str, name: str = name) -> Callable[[int], object]:
            return lambda turn: run(name, form)

        forms = {"ours": turned("ours"), "literal": turned("literal"), "ours again": turned("ours")}
        found = interleaved(forms, pairs, warm=3)
        for form, times in found.items():
            reference = None if form == "ours" else found["ours"]
            lines.append(line(form, times, reference, what=f"{name}-correlation loss alone", method="rssa"))
    return lines


def peak(form: str) -> None:
    """Print this process's peak in MB before and after every row has run twice."""
    work = Work("rssa", shipped_shape(), 4, "released")
    trainer = trainer_of(work, form)
    first = timing.peak_mb()
    for turn in range(2):
        for row in rows_of(trainer.method):
            take(trainer, row, turn)
    print(first, timing.peak_mb())


def peak_lines(forms: Sequence[str]) -> list[dict[str, Any]]:
    """Peak resident size of a fresh process each; `before_mb` is that of the libraries and networks alone."""
    lines = []
    for form in forms:
        words = [sys.executable, "-m", "benchmarks.rssa_step", "--peak", form]
        done = subprocess.run(words, cwd=timing.ROOT, capture_output=True, text=True, check=True)
        before, most = map(float, done.stdout.split())
        lines.append(
            {"what": "rssa: peak resident size", "method": "rssa", "form": form, "mb": round(most)}
            | {"before_mb": round(before), "n": 1}
        )
    return lines


def main(argv: Sequence[str] | None = None) -> int:
    parser = timing.arguments("rssa_step", (__doc__ or "").splitlines()[0])
    parser.add_argument("--form", choices=("P0", "P1"), default="P0", help="form of the reference")
    parser.add_argument("--peak", help="print the peak memory of one form and stop")
    given = parser.parse_args(argv)
    if given.peak:
        peak(given.peak)
        return 0
    work = Work("rssa", shipped_shape(), 4, "released")
    error = checked(work, given.form)
    print(f"losses and gradients agree to {error:.0e} in float64")
    lines = step_lines(work, ("ours", given.form), given.pairs, error=error) + loss_lines(work, given.pairs)
    print(timing.shown(lines))
    peaks = peak_lines(("ours", given.form))
    for one in peaks:
        print(
            f"peak resident size, {one['form']}: {one['mb']} MB, of which {one['before_mb']} before the first step"
        )
    timing.write(lines + peaks, given.out)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
