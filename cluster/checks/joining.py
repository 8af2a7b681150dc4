"""`python -m cluster.checks.joining ADDRESS`: join a Ray cluster and print its size.

A process of its own, because joining one that accepts and never answers takes Ray minutes: it can be ended.
"""

import json
import sys

from cluster.errors import MachineError
from cluster.fleet import joined


def size_of(address: str) -> dict[str, float]:
    """machines, cpus and gpus of the cluster. Raises MachineError if it cannot be joined."""
    with joined(address) as ray:
        alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    cpus, gpus = (sum(each.get(kind, 0.0) for each in alive) for kind in ("CPU", "GPU"))
    return {"machines": len(alive), "cpus": cpus, "gpus": gpus}


if __name__ == "__main__":
    try:
        print(json.dumps(size_of(sys.argv[1])))
    except MachineError as error:
        raise SystemExit(str(error)) from None
