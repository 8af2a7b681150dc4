"""The one exception meant for people, and the one of the machine that ends whatever meets it."""

import errno
import os
from collections.abc import Iterator

CONFIG, INPUT, CELLS_FAILED, ENVIRONMENT, INTERRUPTED = 2, 3, 4, 5, 130
FULL = (errno.ENOSPC, errno.EDQUOT)


class GraftError(Exception):
    """One clear sentence (what is wrong, where, what to do) and the exit code of the command."""

    def __init__(self, sentence: str, exit_code: int = CONFIG) -> None:
        super().__init__(sentence)
        self.exit_code = exit_code


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error, what it was raised from, and so on."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def is_full(error: BaseException) -> bool:
    """True for a full disk, also where a library (safetensors, torch) says so in words only."""
    return any(
        (isinstance(each, OSError) and each.errno in FULL) or os.strerror(errno.ENOSPC) in str(each)
        for each in causes(error)
    )
