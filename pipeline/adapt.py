"""`adapt`: one cell of a sweep, in this process (or in each of several under torchrun)."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.cli import arguments, resources_option, run
from pipeline.keeping import disk, in_store, mirror_option

if TYPE_CHECKING:
    from argparse import Namespace

EXAMPLE = "python -m pipeline.adapt configs/adapt_lorelei.yaml method=rssa steps=200"


def _given(argv: Sequence[str] | None) -> "Namespace":
    parser = arguments("adapt", EXAMPLE)
    parser.add_argument("config", nargs="?", help="a YAML file: configs/adapt_*.yaml")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="values over those of the file")
    parser.add_argument(
        "--runs", default="runs/adapt", type=disk, help="folder of cells (default: runs/adapt)"
    )
    mirror_option(parser)
    resources_option(parser)
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    parser.add_argument("--tracker", default="mlflow", choices=["mlflow", "none"], help="default: mlflow")
    parser.add_argument(
        "--explain", metavar="KEY", help="say what a key means, its range, default and source"
    )
    given = parser.parse_intermixed_args(argv)
    if given.config is None and given.explain is None:
        parser.error("the following arguments are required: config")
    return given


def main(argv: Sequence[str] | None = None) -> int:
    given = _given(argv)
    from pipeline.grid import explained
    from pipeline.job import Job
    from pipeline.problems import problems
    from pipeline.read import read
    from pipeline.resources import parted, ready

    own, more = parted(given.overrides)
    job = read(given.config, own, Job, problems) if given.config is not None else Job()
    if given.explain is not None:
        print(explained(Job, given.explain, job.method))
        return 0
    job, used = ready(job, given.resources, more, given.device)
    from cluster.engine import open_engine
    from pipeline.cell import finished, run_cell
    from pipeline.errors import CELLS_FAILED
    from pipeline.inputs import look_at_inputs
    from pipeline.record import Place
    from pipeline.tracking.progress import CellView, Progress

    engine = open_engine(given.device, engine=used.engine, zero=used.zero)
    folder = given.runs / job.id
    if engine.rank == 0 and finished(folder) is None:
        look_at_inputs([job])
    store = in_store(given.mirror, job.id)
    place = Place(folder, given.runs / "cache", given.tracker, store=store, resources=used)
    try:
        if engine.rank == 0:
            from pipeline.methods import METHODS

            print(METHODS[job.method].table(job.method_settings()).table())
            with Progress([CellView(job.id, folder, job.steps)]) as progress:
                result = run_cell(job, place, engine, tick=lambda step: progress.refresh())
        else:
            result = run_cell(job, place, engine)
    finally:
        engine.close()
    if engine.rank == 0:
        print(report_of(result, folder))
    return 0 if result["status"] == "done" else CELLS_FAILED


def report_of(result: dict[str, object], folder: Path) -> str:
    """The lines at the end: every number with its network, and where the pictures are."""
    from pipeline.judging.score import score_lines

    scores = result["scores"]
    assert isinstance(scores, list)
    said = f"{result['id']}: {result['status']}" + (f" ({result['reason']})" if result["reason"] else "")
    lines = [said, *score_lines(scores)]
    return "\n".join([*lines, f"  pictures   {folder / 'samples'}", f"  model      {folder / 'model'}"])


if __name__ == "__main__":
    raise SystemExit(run(main))
