"""Which pictures a process opens, counted where they are opened: all of them once in an epoch, each by one process."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from pipeline.data import streamed as streaming
from pipeline.data.pack import Choices, pack
from pipeline.data.samples import Sample
from pipeline.data.streamed import Streamed
from pipeline.draws import Draws
from tests.data.drawn import folder

COUNT, BATCH = 48, 12
STEPS = COUNT // BATCH  # of an epoch
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    path = tmp_path_factory.mktemp("split")
    pack(folder(path / "p", COUNT), path / "s", Choices(per_shard=7))
    return sorted((path / "s").glob("*.tar"))


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each sample was decoded, by its key."""
    counts: Counter[str] = Counter()
    decode = streaming.decoded

    def counted(
        sample: Sample, size: int, fit: str, into: torch.Tensor | None
    ) -> tuple[torch.Tensor, list[str]]:
        counts[sample.key] += 1
        return decode(sample, size, fit, into)

    monkeypatch.setattr(streaming, "decoded", counted)
    return counts


def rank(shards: list[Path], number: int, world: int, parts: int) -> tuple[Streamed, Callable[[int], None]]:
    """One process of a run: its stream, and what it does in a step."""
    stream = Streamed(shards, 16, seed=5, buffer=10)
    stream._ahead = 0  # what a stopped run had decoded ahead was not shown
    draws = Draws(5, BATCH, CPU, stream, rank=number, world=world, parts=parts)

    def step(at: int) -> None:
        for part in range(parts):
            draws.at(at, "D", part).real()
        for part in range(parts):
            draws.at(at, "D_r1", part).real()  # the same pictures once more, not decoded again

    return stream, step


def shown(
    shards: list[Path], opened: Counter[str], steps: range, world: int, parts: int = 1
) -> list[Counter[str]]:
    """What each of `world` processes decodes in these steps."""
    found = []
    for number in range(world):
        opened.clear()
        stream, step = rank(shards, number, world, parts)
        for at in steps:
            step(at)
        stream.close()
        found.append(Counter(opened))
    return found


@pytest.mark.parametrize(
    ("nodes", "workers", "parts"),
    [(1, 1, 1), (1, 2, 1), (2, 1, 1), (2, 2, 1), (3, 2, 1), (2, 1, 3), (4, 3, 1)],
)
def test_an_epoch_shows_each_sample_to_one_process_once(
    shards: list[Path], opened: Counter[str], nodes: int, workers: int, parts: int
) -> None:
    by_rank = shown(shards, opened, range(STEPS), nodes * workers, parts)
    assert [sum(each.values()) for each in by_rank] == [COUNT // (nodes * workers)] * (nodes * workers)
    together = sum(by_rank, Counter())
    assert len(together) == COUNT
    assert set(together.values()) == {1}


@pytest.mark.parametrize(("before", "after"), [(1, 4), (4, 1), (2, 3), (6, 4)])
@pytest.mark.parametrize("stopped", [1, 3])
def test_a_run_that_goes_on_with_other_processes_shows_the_rest_of_the_epoch(
    shards: list[Path], opened: Counter[str], before: int, after: int, stopped: int
) -> None:
    first = shown(shards, opened, range(stopped), before)
    rest = shown(shards, opened, range(stopped, STEPS), after)
    together = sum(first + rest, Counter())
    assert len(together) == COUNT
    assert set(together.values()) == {1}


@pytest.mark.parametrize(("world", "parts"), [(1, 1), (3, 1), (1, 3), (2, 2)])
def test_what_is_decoded_ahead_is_what_is_asked_for_next(
    shards: list[Path], opened: Counter[str], world: int, parts: int
) -> None:
    """Rank 0 decodes its rows of the epoch, and of the steps after it as many as it looks ahead."""
    stream = Streamed(shards, 16, seed=5, buffer=10)
    draws = Draws(5, BATCH, CPU, stream, rank=0, world=world, parts=parts)
    for at in range(STEPS):
        for part in range(parts):
            draws.at(at, "D", part).real()
    stream._worker.submit(lambda: None).result()  # behind all that waits
    ahead = [
        tuple(range(at * BATCH + part * world, (at + 1) * BATCH, world * parts))
        for at in range(STEPS, STEPS + streaming._AHEAD)
        for part in range(parts)
    ]
    assert sorted(stream._ready) == sorted(ahead)
    assert sum(opened.values()) == (STEPS + streaming._AHEAD) * BATCH // world
    stream.close()
