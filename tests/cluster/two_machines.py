"""A Ray of three machines on one, one CPU each: a pair of workers runs on two, and one of those is taken away.

usage: python tests/cluster/two_machines.py FOLDER; the answers go to FOLDER/answers.json.
"""

import json
import sys
from pathlib import Path
from typing import Any

from cluster.fleet import run_many
from cluster.ray_settings import settle_variables
from cluster.tasks import Share
from tests.cluster.gangs import gang

SMALL = {"num_cpus": 1, "object_store_memory": 80 * 2**20}


def main(folder: Path) -> None:
    settle_variables(None)
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args=SMALL)
    others = [cluster.add_node(**SMALL) for _ in range(2)]
    by_id = {node.node_id: node for node in others}

    def take_one_away() -> None:
        if not (folder / "begun").exists() or (folder / "lost").exists():
            return
        used = [(folder / f"before-{rank}").read_text() for rank in range(2)]
        (folder / "lost").touch()
        cluster.remove_node(next(by_id[name] for name in used if name in by_id), allow_graceful=False)

    answers: dict[str, Any] = run_many(
        gang,
        [("a", {"do": "travel", "folder": str(folder)})],
        share=Share(cpus=1, workers=2),
        on_result=lambda key, answer: None,
        address=cluster.address,
        tick=take_one_away,
    )
    (folder / "answers.json").write_text(json.dumps({key: str(answer) for key, answer in answers.items()}))
    cluster.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
