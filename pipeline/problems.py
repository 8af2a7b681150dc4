"""What is wrong with a job or a sweep, found before anything of it starts. Pure reading: no file is opened."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from cluster.objects import is_remote
from pipeline.data.shipped import place_of
from pipeline.errors import GraftError
from pipeline.explain import dotted_keys, expected, field_at
from pipeline.families import FAMILIES
from pipeline.grid import Search, Sweep
from pipeline.job import Job, Pretrain, chosen, entry_of, inside
from pipeline.load import source_folder
from pipeline.methods import METHODS, PRETRAINING, Entry
from pipeline.nearest import did_you_mean, nearest
from pipeline.read import Problem
from pipeline.shares import resource_problems

RANGES = ("log", "uniform", "choice")


def problems(job: Job | Pretrain) -> Iterator[Problem]:
    """What the schema leaves free: method, profile, weights and settings, each against the method's own file."""
    table: Mapping[str, Entry] = METHODS if isinstance(job, Job) else PRETRAINING
    if job.method not in table:
        yield Problem("method", f"unknown method '{job.method}'{did_you_mean(job.method, list(table))}")
        return
    entry = table[job.method]
    if job.profile not in entry.profiles:
        known = did_you_mean(job.profile, entry.profiles)
        yield Problem("profile", f"'{job.method}' has no profile '{job.profile}'{known}")
        return
    if "weights" in job.settings:
        yield Problem("settings.weights", "'settings.weights' is not read; write 'weights' beside 'settings'")
    try:
        settings = job.method_settings()
        if isinstance(job, Pretrain):
            job.network_settings()
    except ValidationError as error:
        yield _refused(job.method, entry, error)
        return
    if isinstance(job, Pretrain):
        yield from _not_its_terms(job)
    group, halves = getattr(settings, "stddev_group", 1), getattr(settings, "group", 1)
    if job.batch % halves:
        yield Problem(
            "batch",
            f"'batch' of {job.batch} cannot be split into groups of {halves}, as '{job.method}' does; "
            "make it a multiple",
        )
    if job.batch > group and job.batch % group:
        sentence = f"'batch' of {job.batch} cannot be split into groups of {group}"
        yield Problem("batch", f"{sentence}; make it a multiple, or set settings.stddev_group")
    yield from _not_there(job)


def _not_its_terms(job: Pretrain) -> Iterator[Problem]:
    """Names under `diversity` that no term of the method has."""
    given = job.diversity
    named = [] if given is None else [given] if isinstance(given, str) else given
    known = ["none", *chosen((), job.entry)]
    for name in named:
        if name not in known:
            yield Problem(
                "diversity", f"'{job.method}' has no diversity term '{name}'{did_you_mean(name, known)}"
            )


def _refused(method: str, entry: Entry, error: ValidationError) -> Problem:
    """The first thing that the method's own file says against its weights, settings and sizes."""
    first = error.errors()[0]
    sizes = entry.network is not None and error.title == entry.network.__name__
    front = () if first["loc"][0] == "weights" else ("network" if sizes else "settings",)
    loc = (*front, *first["loc"])
    key = ".".join(map(str, loc))
    if first["type"] == "extra_forbidden":
        return Problem(key, _unknown(key, method, entry))
    found = field_at(entry.network if sizes and entry.network else entry.settings, first["loc"])
    wanted = expected(found) if found is not None else first["msg"].lower()
    return Problem(key, f"'{key}' is {first['input']!r}, expected {wanted}")


def _unknown(key: str, method: str, entry: Entry) -> str:
    """The nearest weight or setting of the method; where none is near, those of the same section."""
    sections = inside(entry)
    every = [f"{front}.{name}" for front, fields in sections.items() for name in fields]
    beside = [name for name in every if name.split(".")[0] == key.split(".")[0]]
    hint = did_you_mean(key, every if nearest(key, every) else beside or every)
    return f"unknown key '{key}' of method '{method}'{hint}"


def _not_there(job: Job | Pretrain) -> Iterator[Problem]:
    """Models and pictures that lie nowhere, and networks that cannot be built."""
    names = ("source", "target", "heldout") if isinstance(job, Job) else ("train", "heldout")
    for key in names:
        where = getattr(job, key)
        try:
            if where is not None and not is_remote(where):  # of a store it is looked at when it is opened
                (source_folder if key == "source" else place_of)(where)
        except GraftError as error:
            yield Problem(key, f"'{key}': {error}")
    if isinstance(job, Pretrain):
        try:
            FAMILIES[job.method].check(job)
        except (GraftError, ValueError) as error:
            yield Problem("network", f"'network': {str(error).removeprefix('network: ')}")


def sweep_problems(sweep: Sweep) -> Iterator[Problem]:
    """Keys of the grid, of the methods' own values, of the search; then every cell of the grid as a job."""
    table: Mapping[str, Entry] = METHODS if sweep.pretrain is None else PRETRAINING
    keys = [
        *dotted_keys(type(sweep.base)),
        *(
            f"{front}.{key}"
            for entry in table.values()
            for front, fields in inside(entry).items()
            for key in fields
        ),
    ]
    for name in sweep.methods:
        if name not in table:
            yield Problem(
                f"methods.{name}", f"unknown method '{name}' under 'methods'{did_you_mean(name, table)}"
            )
    own = {f"methods.{name}.{key}" for name, values in sweep.methods.items() for key in values}
    for place in (*(f"grid.{key}" for key in sweep.grid), *own):
        front, key = _front(place)
        if key not in keys:
            known = [f"{front}.{each}" for each in keys]
            yield Problem(place, f"unknown key '{place}'{did_you_mean(place, known)}")
            return
    for index, rule in enumerate(sweep.exclude):
        for key in rule:
            if key not in sweep.grid:
                near = did_you_mean(key, sweep.grid)
                yield Problem(
                    f"exclude.{index}", f"'exclude' names '{key}', which is no key of the grid{near}"
                )
    cells = sweep.cells()
    if not cells:
        yield Problem(
            "grid", "'grid' has no cell in it: a list is empty, or 'exclude' takes all of them away"
        )
        return
    found = [problem for cell in cells for problem in _cell_problems(sweep, cell)]
    yield from found
    if found:
        return
    jobs = [sweep.job_of(cell) for cell in cells]
    yield from resource_problems(sweep, jobs)
    if sweep.search is not None:
        yield from _search_problems(sweep.search, jobs)


def _front(place: str) -> tuple[str, str]:
    """grid.KEY or methods.NAME.KEY -> what stands before KEY, and KEY."""
    parts = place.split(".")
    size = 1 if parts[0] == "grid" else 2
    return ".".join(parts[:size]), ".".join(parts[size:])


def _cell_problems(sweep: Sweep, cell: Mapping[str, Any]) -> Iterator[Problem]:
    """What is wrong with one cell, at the key of the sweep that says so."""
    try:
        job = sweep.job_of(cell)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        model = type(sweep.base)
        found = field_at(model, first["loc"])
        wanted = expected(found) if found is not None else first["msg"].lower()
        unknown = first["type"] == "extra_forbidden"
        said = (
            f"unknown key '{key}'{did_you_mean(key, dotted_keys(model))}"
            if unknown
            else f"'{key}' is {first['input']!r}, expected {wanted}"
        )
        yield _placed(sweep, cell, Problem(key, said))
        return
    for problem in problems(job):
        yield _placed(sweep, cell, problem)
        return


def _placed(sweep: Sweep, cell: Mapping[str, Any], problem: Problem) -> Problem:
    """The same, with the place in the sweep: its grid, the method's own values, or the job under all cells."""
    method = str(cell.get("method", sweep.base.method))
    for key in cell:
        if problem.key == key or problem.key.startswith(f"{key}."):
            index = next(i for i, each in enumerate(sweep.grid[key]) if each == cell[key])
            return Problem(
                f"grid.{key}.{index}", f"in the grid, {problem.sentence} (cell {json.dumps(cell)})"
            )
    base = "job" if sweep.pretrain is None else "pretrain"
    front = f"methods.{method}" if problem.key.split(".")[0] in sweep.methods.get(method, {}) else base
    return Problem(f"{front}.{problem.key}", f"in '{front}', {problem.sentence} (cell {json.dumps(cell)})")


def _search_problems(search: Search, jobs: Sequence[Job | Pretrain]) -> Iterator[Problem]:
    """Spaces over weights that exist, ranges that are some, and a seed that no cell of the grid has."""
    if search.seed in {job.seed for job in jobs}:
        sentence = f"'search.seed' {search.seed} is a seed of the grid; scores must come from fresh seeds"
        yield Problem("search.seed", f"{sentence}, so name another")
    if search.steps < search.rungs:
        yield Problem(
            "search.rungs",
            f"'search.rungs' is {search.rungs}, expected at most search.steps ({search.steps})",
        )
    if not search.space:
        yield Problem("search.space", "'search.space' is empty: name a method and the weights to search over")
    rows = {job.method: job for job in jobs} | {job.variant: job for job in jobs if job.variant}
    for name, space in search.space.items():
        place = f"search.space.{name}"
        if name not in METHODS and name not in PRETRAINING and name not in rows:
            near = did_you_mean(name, [*rows, *METHODS])
            yield Problem(place, f"unknown method '{name}' in 'search.space'{near}")
        elif name not in rows:
            yield Problem(
                place, f"'{place}': no cell of the grid has this method; take it out, or into grid.method"
            )
        elif not space:
            yield Problem(
                place,
                f"'{place}' is empty: name weights to search over, as weights.NAME: {{log: [low, high]}}",
            )
        else:
            for key, rule in space.items():
                yield from _range_problems(f"{place}.{key}", key, rule, rows[name])


def _range_problems(place: str, key: str, rule: Mapping[str, Any], job: Job | Pretrain) -> Iterator[Problem]:
    """One key of a space: a weight or setting of the method, with a range inside what it may be."""
    front, _, name = key.partition(".")
    entry = entry_of(job)
    fields = inside(entry)
    if name not in fields.get(front, {}):
        said = _unknown(key, job.method, entry)
        yield Problem(place, f"in 'search.space', {said}")
        return
    kind, given = next(iter(rule.items())) if len(rule) == 1 else ("", None)
    if kind not in RANGES or not isinstance(given, list) or not given:
        yield Problem(
            place,
            f"'{place}': expected log: [low, high], uniform: [low, high] or choice: [...], not {json.dumps(rule)}",
        )
        return
    if kind != "choice":
        numbers = [each for each in given if isinstance(each, int | float) and math.isfinite(each)]
        if len(given) != 2 or len(numbers) != 2 or numbers[0] >= numbers[1]:
            yield Problem(place, f"'{place}': {kind} is {given}, expected two numbers, the lower one first")
            return
        if kind == "log" and numbers[0] <= 0:
            yield Problem(
                place, f"'{place}': log is {given}, expected numbers above 0; use uniform for a range from 0"
            )
            return
    for value in given:
        tried = job.model_copy(update={front: {**getattr(job, front), name: value}})
        yield from (
            Problem(place, f"'search.space.{job.method}': {problem.sentence}") for problem in problems(tried)
        )
