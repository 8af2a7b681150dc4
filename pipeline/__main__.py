"""`python -m pipeline VERB ...`: the same program as `graft VERB ...`."""

from pipeline.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
