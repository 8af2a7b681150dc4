"""One seed for everything that these tests leave to chance: GRAFT_FAULTS_SEED, which `make faults SEED=...` sets."""

import os
import random

import pytest

SEED = int(os.environ.get("GRAFT_FAULTS_SEED", "0"))


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> random.Random:
    """Chance of one test, which depends on the seed and on its name alone: not on what else is run."""
    return random.Random(f"{SEED} {request.node.name}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Where something failed: how to do the same again."""
    if terminalreporter.stats.get("failed") or terminalreporter.stats.get("error"):
        terminalreporter.write_line(f"faults were drawn from the seed {SEED}: make faults SEED={SEED}")
