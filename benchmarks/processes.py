"""Two processes on two cores against one on one: `python -m benchmarks.processes [--rounds 5] [--steps 4]`.

Real training steps of the same global batch of 16: pretraining as in configs/pretrain_personas.yaml, CDC and RSSA of
the same network. Each process is pinned to a core of its own and has one thread; two share the batch
through Accelerate, over gloo on loopback. They live through all rounds (one, two, one, two, ...), and in a round both
take the same steps of the schedule. The wall clock counts, so the machine must have nothing else to do. One process is
promised to take at least 1.6 times as long as two (exit code 1 if not, for any of the trainings); the first round does
not count.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks import timing
from benchmarks.literal.step import CPU, RandomPictures, Work, modules_of
from benchmarks.rssa_step import shipped_shape
from benchmarks.timing import free_port, ratio
from cluster.engine import Engine, open_engine
from models.stylegan2 import Shape
from pipeline.draws import Change, Draws
from pipeline.nets import Nets
from pipeline.trainer import Trainer

LEAST = 1.6
BATCHES = {"stylegan2": 16, "cdc": 16, "rssa": 16}
ALONE = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")


def work_of(method: str, tiny: bool = False) -> Work:
    """What a step is made of; tiny: networks of 32 px that only show whether all of this works."""
    shape = Shape(32, dict.fromkeys((4, 8, 16, 32), 8), 16, 2) if tiny else shipped_shape()
    return Work(method, shape, BATCHES[method], averages=True)


def trainer_of(work: Work, engine: Engine) -> Trainer:
    """Our step in this process, which has its share of the batch."""
    nets = Nets(modules_of(work), work.table(), {"path_mean": torch.zeros(())}, CPU)
    data, group = RandomPictures(work.shape.size), work.settings.stddev_group
    place = {"rank": engine.rank, "world": engine.world, "gather": engine.gather, "group": group}
    draws = Draws(work.seed, work.batch, CPU, data, Change(flip=True), **place)
    return Trainer(work.table(), nets, draws, engine)


def take_steps(engine: Engine, trainer: Trainer) -> None:
    """One process: for each number on stdin so many steps, and the seconds they took on stdout; to the end of stdin."""
    torch.set_num_threads(1)
    for line in sys.stdin:
        engine.barrier()
        began = time.perf_counter()
        for _ in range(int(line)):
            trainer.step()
        engine.barrier()
        seconds = time.perf_counter() - began
        found = {"seconds": seconds, "refused": sum(trainer.refused.values()), "peak": timing.peak_mb()}
        print(json.dumps(found), flush=True)
    engine.close()


class Group:
    """Processes of `python -m WORDS` that take the same steps together (`take_steps`), one on each of `cores`."""

    def __init__(self, words: Sequence[str], cores: Sequence[int]) -> None:
        self.peak = 0.0  # MB, of the largest so far
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": str(len(cores))}
        place |= {"GLOO_SOCKET_IFNAME": "lo"}
        self.processes = []
        own = os.sched_getaffinity(0)
        for rank, core in enumerate(cores):
            ranked = os.environ | ALONE | place | {"RANK": str(rank), "LOCAL_RANK": str(rank)}
            os.sched_setaffinity(0, {core})  # what is started now may run there alone
            started = subprocess.Popen(
                [sys.executable, "-m", *words],
                env=ranked,
                cwd=timing.ROOT,
                text=True,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            self.processes.append(started)
        os.sched_setaffinity(0, own)

    def take(self, steps: int) -> float:
        """Seconds of so many steps, of the slowest."""
        for process in self.processes:
            assert process.stdin is not None
            process.stdin.write(f"{steps}\n")
            process.stdin.flush()
        answers = [json.loads(self._line(process)) for process in self.processes]
        if any(answer["refused"] for answer in answers):
            raise SystemExit("error: a step was not finite, so it was left out; the times mean nothing")
        self.peak = max(self.peak, *(answer["peak"] for answer in answers))
        return float(max(answer["seconds"] for answer in answers))

    def _line(self, process: subprocess.Popen[str]) -> str:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise SystemExit(f"error: a process ended with {process.wait()}; what it said stands above")
        return line

    def close(self) -> None:
        """Ends the processes: those that listen by the end of their stdin, others after a while by force."""
        for process in self.processes:
            assert process.stdin is not None
            process.stdin.close()
        for process in self.processes:
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def words_of(method: str, tiny: bool = False) -> list[str]:
    """The command of one of the processes."""
    words = ["benchmarks.processes", "--take", method, "--batch", str(BATCHES[method])]
    return [*words, "--tiny"] if tiny else words


def two_cores() -> list[int]:
    """The first two that this process may use."""
    cores = sorted(os.sched_getaffinity(0))[:2]
    if len(cores) < 2:
        raise SystemExit("error: two cores are needed, and this process may use one only")
    return cores


def in_turns(
    commands: Mapping[str, tuple[Sequence[str], Sequence[int]]], rounds: int, steps: int
) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Groups of these words and cores take turns: the seconds of every round that counts, and the peak MB, by name."""
    found: dict[str, list[float]] = {name: [] for name in commands}
    groups: dict[str, Group] = {}
    try:
        for name, (words, cores) in commands.items():
            groups[name] = Group(words, cores)
        for number in range(-1, rounds):
            for name, group in groups.items():
                seconds = group.take(steps)
                if number >= 0:
                    found[name].append(seconds)
    finally:
        for group in groups.values():
            group.close()
    return found, {name: group.peak for name, group in groups.items()}


def compared(method: str, rounds: int, steps: int, tiny: bool = False) -> dict[str, Any]:
    """One process against two: median seconds of a round, and how many times as long one takes."""
    cores, words = two_cores(), words_of(method, tiny)
    found, _peaks = in_turns({"one": (words, cores[:1]), "two": (words, cores)}, rounds, steps)
    times = ratio(found["one"], found["two"])
    return {
        "what": f"{method}, batch {BATCHES[method]}: one process against two",
        "clock": "wall",
        **{
            f"{name}_ms_a_step": round(1e3 * statistics.median(all_) / steps, 1)
            for name, all_ in found.items()
        },
        "ratio": round(times.median, 3),
        "interval": [round(times.low, 3), round(times.high, 3)],
        "n": rounds,
        "steps": steps,
    }


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.processes", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--rounds", type=int, default=5, help="that count (default: 5)")
    parser.add_argument("--steps", type=int, default=4, help="of a round (default: 4)")
    parser.add_argument(
        "--only", nargs="+", choices=list(BATCHES), default=list(BATCHES), help="which of them"
    )
    parser.add_argument("--batch", type=int, help="pictures of a step, of all processes (default: 16)")
    parser.add_argument("--tiny", action="store_true", help="networks of 32 px, to see that it works")
    parser.add_argument("--out", type=Path, help="append JSON lines to this file")
    parser.add_argument("--take", choices=list(BATCHES), help="be one of the processes")
    given = parser.parse_args(argv)
    if given.batch is not None:
        BATCHES.update(dict.fromkeys(BATCHES, given.batch))
    if given.take is not None:
        engine = open_engine("cpu")
        take_steps(engine, trainer_of(work_of(given.take, given.tiny), engine))
        return 0
    timing.about()
    lines = []
    for method in given.only:
        lines.append(compared(method, given.rounds, given.steps, given.tiny))
        print(json.dumps(lines[-1]), flush=True)
    timing.write(lines, given.out)
    return 0 if all(one["ratio"] >= LEAST for one in lines) else 1


if __name__ == "__main__":
    raise SystemExit(main())
