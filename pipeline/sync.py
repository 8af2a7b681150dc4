"""`sync`: complete the MLflow mirror from what lies on disk."""

import argparse
from pathlib import Path

from .errors import ENVIRONMENT, INPUT, GraftError
from .tracking.card import tracking_uri, without_login
from .tracking.mlflow_tracker import refusals
from .tracking.sync import complete

EXAMPLE = "example: python -m pipeline.sync runs/few_shot --uri http://127.0.0.1:5000"


def main(argv: list[str]) -> int:
    """Mirror each folder (a sweep or one cell) to MLflow; running it again sends nothing twice."""
    parser = argparse.ArgumentParser(
        "graft sync", description=(main.__doc__ or "").split("\n")[0], epilog=EXAMPLE
    )
    parser.add_argument(
        "folders", nargs="+", type=Path, metavar="FOLDER", help="runs/SWEEP or runs/SWEEP/CELL"
    )
    parser.add_argument(
        "--uri", help="tracking URI (default: MLFLOW_TRACKING_URI, else sqlite:///mlflow.db here)"
    )
    asked = parser.parse_args(argv)
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
    from pipeline.cli import run

    raise SystemExit(run(main))
