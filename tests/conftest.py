import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from cluster import download
from tests.stores import BUCKET, SHORT, Store, running_store
from tests.tiny import Tiny, make_tiny

# Started in the background of a shell, this process ignores Ctrl-C, and so would every command that a test starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
settings.register_profile("untimed", deadline=None)  # a busy machine must not fail a test
settings.load_profile("untimed")


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


@pytest.fixture(scope="module")
def running() -> Iterator[Store]:
    """An S3 server, and before it a proxy that cuts, stalls, corrupts and refuses when told to."""
    with running_store() as store:
        yield store


@pytest.fixture
def store(running: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Store:
    """The store without faults, short limits, and a cache and folder of the test's own."""
    running.faults.clear()
    running.asked.clear()
    for name in [name for name in os.environ if name.startswith(("AWS_", "GRAFT_"))]:
        monkeypatch.delenv(name)
    for name, value in running.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("GRAFT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(download, "LIMITS", SHORT)
    monkeypatch.chdir(tmp_path)
    return running


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """The address of a folder that no other test uses."""
    return f"s3://{BUCKET}/{abs(hash(request.node.nodeid))}"
