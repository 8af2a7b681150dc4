"""Pretraining from shards on two nodes with addresses of their own, without Ray: two network namespaces, one wire."""

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import yaml

from pipeline.data.pack import Choices, pack
from tests.data.drawn import folder

REPO = Path(__file__).parents[1]
COUNT, BATCH = 32, 8
STEPS = COUNT // BATCH  # one epoch
NETWORK = {"size": 32, "widths": {4: 8, 8: 8, 16: 8, 32: 8}, "style_dim": 16, "mapping_layers": 2}

# $1: the command of a rank, $2: torchrun's options. The wire lies in a namespace that ends with the script.
TWO_NODES = """
set -e
ip link set lo up
unshare --net sleep 600 & other=$!
trap 'kill $other' EXIT
until [ "$(readlink /proc/$other/ns/net)" != "$(readlink /proc/$$/ns/net)" ]; do sleep 0.05; done
ip link add node0 type veth peer name node1
ip link set node1 netns $other
ip addr add 10.77.0.1/24 dev node0
ip link set node0 up
nsenter -t $other -n sh -c 'ip link set lo up; ip addr add 10.77.0.2/24 dev node1; ip link set node1 up'
[ -n "$1" ] || exit 0
GLOO_SOCKET_IFNAME=node1 nsenter -t $other -n $2 --node-rank=1 $1 & second=$!
GLOO_SOCKET_IFNAME=node0 $2 --node-rank=0 $1 && first=0 || first=$?
wait $second && exit $first
"""
ROOM = ["unshare", "--user", "--map-root-user", "--net", "bash", "-c", TWO_NODES, "two-nodes"]


def permitted() -> bool:
    """Whether this machine lets us lay a wire between two network namespaces."""
    if not all(map(shutil.which, ("unshare", "nsenter", "ip", "bash"))):
        return False
    return subprocess.run([*ROOM, "", ""], capture_output=True, check=False, timeout=60).returncode == 0


pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(not permitted(), reason="network namespaces are not permitted here"),
]


class Site:
    """Shards and a config, and pretraining on one process or on two nodes; what each rank decoded."""

    def __init__(self, path: Path) -> None:
        self.path = path
        pack(folder(path / "pictures", COUNT, 32), path / "shards", Choices(per_shard=5))
        config = {
            "name": "two", "train": str(path / "shards"), "steps": STEPS, "batch": BATCH,
            "network": NETWORK,
            "every": {"log": 1, "sample": STEPS, "save": 1},
        }  # fmt: skip
        (path / "config.yaml").write_text(yaml.safe_dump(config))

    def command(self, where: str, dies: int) -> list[str]:
        runs = self.path / where
        runs.mkdir(exist_ok=True)
        options = [
            "--runs",
            str(runs),
            "--exports",
            str(runs / "exports"),
            "--tracker",
            "none",
            "--device",
            "cpu",
        ]
        rank = str(REPO / "tests" / "node_rank.py")
        return [rank, str(runs), str(dies), str(self.path / "config.yaml"), *options]

    def alone(self, where: str) -> None:
        self._run([sys.executable, *self.command(where, 0)], 0)

    def two_nodes(self, where: str, dies: int = 0) -> None:
        torchrun = f"{sys.executable} -m torch.distributed.run --nnodes=2 --nproc-per-node=1"
        torchrun += " --master-addr=10.77.0.1 --master-port=29511"
        self._run([*ROOM, " ".join(self.command(where, dies)), torchrun], 1 if dies else 0)

    def _run(self, command: list[str], code: int) -> None:
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPO)}
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=600, check=False
        )
        assert done.returncode == code, done.stderr

    def decoded(self, where: str) -> dict[int, Counter[str]]:
        found = sorted((self.path / where).glob("[0-9].txt"))
        return {int(path.stem): Counter(path.read_text().split()) for path in found}

    def lines(self, where: str) -> list[dict[str, float]]:
        (path,) = (self.path / where).glob("two-*/metrics.jsonl")
        return [
            entry["terms"] for entry in map(json.loads, path.read_text().splitlines()) if "terms" in entry
        ]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    site = Site(tmp_path_factory.mktemp("nodes"))
    site.alone("calm")
    site.two_nodes("both")
    site.two_nodes("hurt", dies=2)
    site.alone("hurt")
    return site


def test_each_node_decodes_its_half_and_no_sample_twice(site: Site) -> None:
    ranks = site.decoded("both")
    assert [sum(ranks[rank].values()) for rank in (0, 1)] == [COUNT // 2, COUNT // 2]
    assert len(ranks[0] + ranks[1]) == COUNT
    assert set((ranks[0] + ranks[1]).values()) == {1}


def test_both_nodes_killed_and_one_that_goes_on_show_the_epoch_once(site: Site) -> None:
    ranks = site.decoded("hurt")
    assert sum(ranks[1].values()) == COUNT // 4  # half of two of four steps
    assert ranks[0] + ranks[1] == site.decoded("calm")[0]


@pytest.mark.parametrize("where", ["both", "hurt"])
def test_two_nodes_train_what_one_process_trains(site: Site, where: str) -> None:
    calm, found = site.lines("calm"), site.lines(where)
    assert len(found) == len(calm) == STEPS  # rank 0 alone writes
    for ours, theirs in zip(found, calm, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-3, abs=1e-4)
