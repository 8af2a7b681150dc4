"""The benchmark of two processes: they are two, each on a core of its own, and take the steps that one takes."""

import os

import pytest

from benchmarks import processes
from cluster.engine import PlainEngine

TWO = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")


@pytest.mark.parametrize("method", processes.BATCHES)
def test_a_batch_can_be_shared_by_two(method):
    class Second(PlainEngine):
        rank, world = 1, 2

    trainer = processes.trainer_of(processes.work_of(method, tiny=True), Second("cpu"))
    half = processes.BATCHES[method] // 2
    assert len(trainer.draws.at(0, "D").real()) == half
    assert len(trainer.draws.at(0, "G").normal("z", 2)) == half


@pytest.mark.slow
@TWO
def test_processes_are_pinned_take_their_steps_and_end():
    own = os.sched_getaffinity(0)
    cores = sorted(own)[:2]
    group = processes.Group(processes.words_of("stylegan2", tiny=True), cores)
    try:
        assert [os.sched_getaffinity(one.pid) for one in group.processes] == [{core} for core in cores]
        assert os.sched_getaffinity(0) == own
        assert group.take(2) > 0
        assert group.take(1) > 0
        assert group.peak > 100
    finally:
        group.close()
    assert [one.returncode for one in group.processes] == [0, 0]


def test_the_ratio_is_that_of_the_same_rounds_and_the_first_does_not_count(monkeypatch):
    class Told:
        peak = 0.0

        def __init__(self, words, cores):
            self.seconds = iter([9.0, 1.6, 3.4, 1.8] if len(cores) == 1 else [1.0, 1.0, 2.0, 1.0])

        def take(self, steps):
            return next(self.seconds)

        def close(self):
            pass

    monkeypatch.setattr(processes, "Group", Told)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    found = processes.compared("cdc", rounds=3, steps=2)
    assert (found["ratio"], found["interval"], found["n"]) == (1.7, [1.6, 1.8], 3)
    assert (found["one_ms_a_step"], found["two_ms_a_step"]) == (900.0, 500.0)
    assert processes.main(["--only", "cdc", "--rounds", "3"]) == 0


def test_on_one_core_it_says_what_is_missing(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    with pytest.raises(SystemExit, match="two cores are needed"):
        processes.compared("cdc", rounds=1, steps=1)
