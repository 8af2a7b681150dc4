"""`pretrain`: a source model from shards, judged and exported with its card when it is done."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.cli import arguments, resources_option, run
from pipeline.keeping import disk, in_store, mirror_option

if TYPE_CHECKING:
    from argparse import Namespace

EXAMPLE = "python -m pipeline.pretrain configs/pretrain_personas.yaml steps=200"


def _given(argv: Sequence[str] | None) -> "Namespace":
    parser = arguments("pretrain", EXAMPLE)
    parser.add_argument("config", nargs="?", help="a YAML file: configs/pretrain_*.yaml")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="values over those of the file")
    parser.add_argument("--runs", default="runs", type=disk, help="folder of runs (default: runs)")
    parser.add_argument(
        "--exports", default="exports", type=Path, help="folder of exports (also s3://...; default: exports)"
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
    from pipeline.job import Pretrain

    if given.explain is not None:
        print(explained(Pretrain, given.explain))
        return 0
    from cluster.engine import open_engine
    from pipeline.cell import finished, run_cell
    from pipeline.errors import CELLS_FAILED
    from pipeline.families import FAMILIES
    from pipeline.problems import problems
    from pipeline.read import read
    from pipeline.record import Place
    from pipeline.resources import parted, ready
    from pipeline.tracking.progress import CellView, Progress

    own, more = parted(given.overrides)
    job, used = ready(read(given.config, own, Pretrain, problems), given.resources, more, given.device)
    engine = open_engine(given.device, engine=used.engine, zero=used.zero)
    folder = given.runs / job.id
    if engine.rank == 0 and finished(folder) is None:
        FAMILIES[job.method].open(job)  # a bad file is named before anything is written
    store = in_store(given.mirror, job.id)
    place = Place(folder, given.runs / "cache", given.tracker, store=store, resources=used)
    try:
        if engine.rank != 0:
            result = run_cell(job, place, engine)
            return 0 if result["status"] == "done" else CELLS_FAILED
        print(job.entry.table(job.method_settings()).table(), flush=True)
        with Progress([CellView(job.name, folder, job.steps)]) as progress:
            result = run_cell(job, place, engine, tick=lambda step: progress.refresh())
    finally:
        engine.close()
    print(report_of(result, job.name, folder, given.exports))
    return 0 if result["status"] == "done" else CELLS_FAILED


def report_of(result: dict[str, Any], name: str, folder: Path, exports: Path) -> str:
    """The lines at the end: every number with its network, the pictures, and the model, which is copied to exports."""
    from pipeline.export import copied
    from pipeline.judging.score import score_lines

    said = f"{name}: {result['status']}" + (f" ({result['reason']})" if result["reason"] else "")
    lines = [said, *score_lines(result["scores"]), f"  pictures   {folder / 'samples'}"]
    if result["status"] == "done":
        lines.append(f"  model      {copied(folder / 'model', exports / name)}")
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(run(main))
