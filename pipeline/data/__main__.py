"""`python -m pipeline.data pack|check ...`: the same program as `graft data`."""

from pipeline.cli import run
from pipeline.data.verb import main

if __name__ == "__main__":
    raise SystemExit(run(main))
