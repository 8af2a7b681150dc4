"""Pretraining from shards on two nodes with addresses of their own, without Ray: two network namespaces, one wire."""

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from pipeline.data.pack import Choices, pack
from pipeline.tracking.mlflow_tracker import ENVIRONMENT
from pipeline.tracking.sync import complete
from tests.data.drawn import folder
from tests.tracking.server import held
from tests.tracking.test_tracking_load import Trial, mirrored_once

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
    """Shards and a config, and pretraining on one process or on two nodes; what each rank decoded, and MLflow has.

    Every folder of runs has an MLflow file of its own, which both nodes can reach.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.said: dict[str, str] = {}
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
            "mlflow",
            "--device",
            "cpu",
        ]
        rank = str(REPO / "tests" / "node_rank.py")
        return [rank, str(runs), str(dies), str(self.path / "config.yaml"), *options]

    def alone(self, where: str) -> None:
        self._run(where, [sys.executable, *self.command(where, 0)], 0)

    def two_nodes(self, where: str, dies: int = 0) -> None:
        torchrun = f"{sys.executable} -m torch.distributed.run --nnodes=2 --nproc-per-node=1"
        torchrun += " --master-addr=10.77.0.1 --master-port=29511"
        self._run(where, [*ROOM, " ".join(self.command(where, dies)), torchrun], 1 if dies else 0)

    def tracked(self, where: str) -> str:
        return f"sqlite:///{self.path}/{where}/mlflow.db"

    def _run(self, where: str, command: list[str], code: int) -> None:
        held(self.tracked(where))  # its tables are made here, while nobody waits for them
        own = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPO), "MLFLOW_TRACKING_URI": self.tracked(where)}
        environment = os.environ | own
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=600, check=False
        )
        assert done.returncode == code, done.stderr
        self.said[where] = self.said.get(where, "") + done.stderr

    def decoded(self, where: str) -> dict[int, Counter[str]]:
        found = sorted((self.path / where).glob("[0-9].txt"))
        return {int(path.stem): Counter(path.read_text().split()) for path in found}

    def cell(self, where: str) -> Path:
        (path,) = (self.path / where).glob("two-*/metrics.jsonl")
        return path.parent

    def lines(self, where: str) -> list[dict[str, float]]:
        path = self.cell(where) / "metrics.jsonl"
        return [
            entry["terms"] for entry in map(json.loads, path.read_text().splitlines()) if "terms" in entry
        ]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(tmp_path_factory.mktemp("nodes"))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        site.alone("calm")
        site.two_nodes("both")
        site.two_nodes("hurt", dies=2)
        site.alone("hurt")
        yield site


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


@pytest.mark.parametrize("where", ["both", "hurt"])
def test_rank_0_alone_tracks_one_run_with_every_number_once(site: Site, where: str) -> None:
    uri, trial = site.tracked(where), Trial(site.cell(where), site.tracked(where))
    assert "warning: MLflow" not in site.said[where]
    if where == "hurt":  # what a killed rank had not sent yet lies on the disk
        complete(trial.folder, uri)
    (run,) = mirrored_once(uri, [trial]).values()
    steps = [step for key, step, *_ in run["points"] if key == "D/fake"]
    assert steps == list(range(1, STEPS + 1))
