"""A step of every method: `python -m benchmarks.step [--out FILE.jsonl] [--pairs N] [--only NAME ...] [--profile]`.

64 px with the widths of configs/pretrain_personas.yaml. `main-4` and `main-16` time the main step (D and G, no
regulariser) at batch 4 and 16 against the plain forms P0 and P1 of `benchmarks.literal`, after comparing all losses and
gradients in float64. The methods (batch 4; pretraining: batch 16) are timed row by row, and a mean step is put
together by how often each row happens. --profile prints where the time of each method goes: by phase and by operator.
"""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from torch.profiler import ProfilerActivity, profile

from benchmarks import timing
from benchmarks.equal import checked
from benchmarks.literal.step import Work, our_trainer
from benchmarks.rows import CYCLE, rows_of, take
from benchmarks.rssa_step import shipped_shape, step_lines, trainer_of
from benchmarks.timing import interleaved, line, spell, table
from pipeline.methods import METHODS, cdc
from pipeline.phase import Phase
from pipeline.trainer import Trainer

FORMS = ("ours", "P0", "P1")
BATCH = 4
PRETRAINING_BATCH = 16
OPERATORS = 14


def works() -> dict[str, Work]:
    """Every method as it runs by default."""
    shape = shipped_shape()
    found = {name: Work(name, shape, BATCH) for name in METHODS}
    return found | {"pretraining": Work("stylegan2", shape, PRETRAINING_BATCH)}


def main_step(trainer: Trainer, turn: int) -> None:
    """D, then G, without the regularisers."""
    for row in rows_of(trainer.method):
        if row.phase in ("D", "G"):
            take(trainer, row, turn)


def main_lines(batch: int, pairs: int) -> list[dict[str, Any]]:
    """The main step in all forms, against ours."""
    work = Work("stylegan2", shipped_shape(), batch)
    error = max(checked(work, form) for form in FORMS[1:])
    trainers = {form: trainer_of(work, form) for form in FORMS}
    runs: dict[str, Callable[[int], object]] = {
        form: partial(main_step, trainer) for form, trainer in trainers.items()
    }
    found = interleaved(runs, pairs)
    shapes = {"size": work.shape.size, "widths": work.shape.as_dict()["widths"], "batch": batch}
    return [
        with_rate(
            line(
                form,
                times,
                None if form == "ours" else found["ours"],
                error=None if form == "ours" else error,
                what=f"main step, batch {batch}",
                shapes=shapes,
            ),
            batch,
        )
        for form, times in found.items()
    ]


def with_rate(found: dict[str, Any], batch: int) -> dict[str, Any]:
    """The line with pictures per second of CPU time."""
    return found | {"pictures_per_second": round(1e3 * batch / found["median_ms"], 2)}


def method_lines(name: str, work: Work, pairs: int) -> list[dict[str, Any]]:
    """Rows and mean step of a method, ours alone."""
    lines = step_lines(work, FORMS[:1], pairs)
    return [
        *lines[:-1],
        with_rate(lines[-1], work.batch) | {"what": f"{name}: mean step, batch {work.batch}"},
    ]


def bare(work: Work) -> Trainer:
    """The trainer of this work without consistency terms in its generator rows."""
    trainer, settings = our_trainer(work), work.settings
    assert isinstance(settings, cdc.PatchSettings)
    forwards = {"G_image": cdc.image_artist, "G_patch": cdc.patch_artist}

    def fooling(phase: Phase) -> Phase:
        if phase.name not in forwards:
            return phase
        terms = tuple(term for term in phase.terms if term.name == "fool")
        return replace(phase, forward=partial(forwards[phase.name], settings=settings), terms=terms)

    trainer.method = replace(trainer.method, phases=tuple(map(fooling, trainer.method.phases)))
    return trainer


def mean_of_rows(trainer: Trainer, turns: int) -> dict[str, float]:
    """CPU ms per mean step of each phase."""
    found: dict[str, float] = {}
    for row in rows_of(trainer.method):
        times = interleaved({"": partial(take, trainer, row)}, turns)[""]
        cost = statistics.median(one.cpu for one in times) * row.share
        found[row.phase] = found.get(row.phase, 0.0) + cost
    return found


def shares(work: Work, turns: int) -> str:
    """CPU ms and share of D, G, R1, path, consistency and the average, per mean step."""
    phases = mean_of_rows(our_trainer(work), turns)
    nets = our_trainer(replace(work, averages=True)).nets
    generator = sum(cost for phase, cost in phases.items() if phase.startswith("G"))
    parts = {
        "D": sum(cost for phase, cost in phases.items() if phase.startswith("D")),
        "R1": phases["R1"],
        "G": generator,
        "path": phases["path"],
        "average": min(spell(partial(nets.follow, turn)).cpu for turn in range(5)),
    }
    if isinstance(work.settings, cdc.PatchSettings):
        plain = mean_of_rows(bare(work), turns)
        parts["G"] = sum(cost for phase, cost in plain.items() if phase.startswith("G"))
        parts["consistency"] = generator - parts["G"]
    total = sum(parts.values())
    rows = [(name, f"{cost:.1f}", f"{100 * cost / total:.0f} %") for name, cost in parts.items()]
    return table(("phase", "CPU ms a mean step", "share"), rows)


def operators(work: Work) -> str:
    """The operators with the largest CPU time of their own, over twelve steps with everything that is due."""
    trainer = our_trainer(work)
    for row in rows_of(trainer.method):
        take(trainer, row, 1)
    trainer.step_number = CYCLE
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        for _ in range(12):
            trainer.step()
    events = sorted(seen.key_averages(), key=lambda event: -event.self_cpu_time_total)
    total = sum(event.self_cpu_time_total for event in events)
    rows = [
        (
            event.key[:60],
            f"{100 * event.self_cpu_time_total / total:.1f} %",
            f"{event.count / 12:.0f}",
        )
        for event in events[:OPERATORS]
    ]
    return table(("operator", "share", "calls a step"), rows)


def print_profile(name: str, work: Work, turns: int) -> None:
    print(f"\n== {name}, batch {work.batch}\n{shares(work, turns)}\n\n{operators(work)}", flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    parser = timing.arguments("step", (__doc__ or "").splitlines()[0])
    names = [f"main-{BATCH}", f"main-{PRETRAINING_BATCH}", *works()]
    parser.add_argument("--only", nargs="+", choices=names, default=names, help="what to time (default: all)")
    parser.add_argument("--profile", action="store_true", help="print where the time of each method goes")
    given = parser.parse_args(argv)
    for name in given.only:
        work = works().get(name)
        if given.profile:
            if work is not None:
                print_profile(name, work, max(1, given.pairs // 3))
            continue
        lines = main_lines(int(name.split("-")[1]), given.pairs) if work is None else []
        lines += [] if work is None else method_lines(name, work, given.pairs)
        print(f"{timing.shown(lines)}\n", flush=True)
        for one in lines:
            if "pictures_per_second" in one:
                print(f"{one['what']}, {one['form']}: {one['pictures_per_second']} pictures/s of CPU time")
        timing.write(lines, given.out)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
