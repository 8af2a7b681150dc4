"""`sync`: complete the MLflow mirror from what lies on disk."""

from collections.abc import Sequence
from pathlib import Path

from pipeline.cli import arguments, run

EXAMPLE = "python -m pipeline.sync runs/demo --uri http://127.0.0.1:5000"


def main(argv: Sequence[str] | None = None) -> int:
    """Mirror each folder (a sweep or one cell) to MLflow; running it again sends nothing twice."""
    parser = arguments("sync", EXAMPLE)
    parser.add_argument(
        "folders", nargs="+", type=Path, metavar="FOLDER", help="runs/SWEEP or runs/SWEEP/CELL"
    )
    parser.add_argument(
        "--uri", help="tracking URI (default: MLFLOW_TRACKING_URI, else sqlite:///mlflow.db here)"
    )
    asked = parser.parse_args(argv)
    from pipeline.errors import ENVIRONMENT, INPUT, GraftError
    from pipeline.tracking.card import tracking_uri, without_login
    from pipeline.tracking.mlflow_tracker import refusals
    from pipeline.tracking.sync import complete

    for folder in asked.folders:
        if not folder.is_dir():
            raise GraftError(f"{folder}: no such folder; pass the folder of a sweep or of a cell", INPUT)
        try:
            sent = complete(folder, asked.uri)
        except refusals() as error:
            at, why = without_login(tracking_uri(asked.uri)), str(error).split("\n")[0][:200]
            raise GraftError(
                f"{folder}: MLflow at {at} refused or does not answer: {why}", ENVIRONMENT
            ) from error
        print(f"{folder}: {sent.runs} runs, {sent.numbers} new numbers, {sent.files} new files")
    return 0


if __name__ == "__main__":
    raise SystemExit(run(main))
