"""Options of adapt, pretrain and sweep that say where runs are kept. Nothing heavy is imported here."""

import os
from argparse import ArgumentParser
from pathlib import Path

from cluster.objects import address, is_remote, listing, url_of
from pipeline.errors import GraftError

VARIABLE = "GRAFT_MIRROR"


def disk(text: str) -> Path:
    """A folder of this machine. GraftError for an address: runs are written where renames are whole."""
    if is_remote(text):
        raise GraftError(
            f"--runs {text}: runs lie on a disk of this machine; --mirror {text} keeps a copy of them there"
        )
    return Path(text)


def store(text: str) -> str:
    """The address of a folder in an S3 store."""
    if not is_remote(text):
        raise GraftError(f"--mirror {text}: expected s3://bucket/folder")
    return url_of(text)


def mirror_option(parser: ArgumentParser) -> None:
    """--mirror, by default what GRAFT_MIRROR says."""
    parser.add_argument(
        "--mirror",
        type=store,
        default=os.environ.get(VARIABLE) or None,
        metavar="s3://...",
        help=f"also keep checkpoints and results there (default: {VARIABLE}); a run lost here goes on from them",
    )


def in_store(mirror: str | None, name: str) -> str | None:
    """Where the copy of a run lies, None without --mirror. A store that cannot be asked is named now (exit code 5)."""
    if mirror is None:
        return None
    where = url_of(mirror, name)
    reach(where)
    return where


def reach(where: str) -> None:
    """Raises MachineError where the store cannot be asked; that there is nothing yet is well."""
    from cluster.errors import ObjectError

    try:
        listing(where)
    except ObjectError as error:
        if "bucket" in str(error):
            raise


def absolute(where: Path) -> Path:
    """A path from the root on; an address as it is."""
    return Path(address(where)) if is_remote(where) else where.absolute()
