import signal
from collections.abc import Iterator

import pytest
import torch

from tests.tiny import Tiny, make_tiny

# Started in the background of a shell, this process ignores Ctrl-C, and so would every command that a test starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """Folders of an exported 32 px source, ten pictures of a target, and a held-out set."""
    return make_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def double() -> Iterator[None]:
    """float64 wherever torch is not told otherwise."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
