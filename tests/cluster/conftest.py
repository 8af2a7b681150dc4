from collections.abc import Iterator

import pytest

from cluster.fleet import joined


@pytest.fixture(scope="session")
def ray_of_two() -> Iterator[None]:
    """One Ray for all tests of a session: two CPUs by count, loopback, gone at the end."""
    with joined(local=2):
        yield
