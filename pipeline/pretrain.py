"""`pretrain`: a source model from shards, judged and exported with its card when it is done."""

from collections.abc import Sequence
from pathlib import Path

from pipeline.cli import arguments, run

EXAMPLE = "python -m pipeline.pretrain configs/pretrain_personas.yaml steps=200"


def main(argv: Sequence[str] | None = None) -> int:
    parser = arguments("pretrain", EXAMPLE)
    parser.add_argument("config", nargs="?", help="a YAML file: configs/pretrain_*.yaml")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="values over those of the file")
    parser.add_argument("--runs", default="runs", type=Path, help="folder of runs (default: runs)")
    parser.add_argument(
        "--exports", default="exports", type=Path, help="folder of exports (default: exports)"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    parser.add_argument("--tracker", default="mlflow", choices=["mlflow", "none"], help="default: mlflow")
    parser.add_argument(
        "--explain", metavar="KEY", help="say what a key means, its range, default and source"
    )
    given = parser.parse_intermixed_args(argv)
    if given.config is None and given.explain is None:
        parser.error("the following arguments are required: config")
    from pipeline.job import Pretrain, explained

    if given.explain is not None:
        print(explained(Pretrain, given.explain))
        return 0
    from cluster.engine import open_engine
    from pipeline.exporting import write_export
    from pipeline.families import FAMILIES
    from pipeline.judging.score import score_lines
    from pipeline.pretraining import train_source
    from pipeline.problems import problems
    from pipeline.read import read
    from pipeline.tracking.progress import CellView, Progress

    job = read(given.config, given.overrides, Pretrain, problems)
    opened = FAMILIES[job.method].open(job)
    engine = open_engine(given.device)
    folder = given.runs / f"{job.name}-{job.digest}"
    try:
        if engine.rank != 0:
            train_source(job, opened, folder, engine)
            return 0
        print(job.entry.table(job.method_settings()).table(), flush=True)
        with Progress([CellView(job.name, folder, job.steps)]) as progress:
            model = train_source(job, opened, folder, engine, given.tracker, lambda step: progress.refresh())
        where = write_export(model, given.exports / job.name)
    finally:
        engine.close()
    print("\n".join([f"{job.name}: done", *score_lines(model.about["scores"])]))
    print(f"  pictures   {folder / 'samples'}\n  model      {where}")
    return 0


if __name__ == "__main__":
    raise SystemExit(run(main))
