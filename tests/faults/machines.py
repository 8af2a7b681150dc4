"""A Ray of several machines on this one: a head that runs nothing, and others that can be taken away.

usage: python tests/faults/machines.py COUNT. Says {"address", "nodes": [process ids of the raylets]} on stdout, then
does what the lines of stdin say: "remove N" takes machine N away as if its plug was pulled, "drain N" as a machine
leaves that is cleared. Ends all of them with its stdin.
"""

import json
import sys

from ray.cluster_utils import Cluster

from cluster.ray_settings import settle_variables


def main(count: int) -> None:
    settle_variables("127.0.0.1:0")
    few = {"object_store_memory": 128 * 2**20, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **few})
    try:
        nodes = [
            cluster.add_node(num_cpus=1, object_store_memory=few["object_store_memory"]) for _ in range(count)
        ]
        cluster.wait_for_nodes()
        raylets = [node.all_processes["raylet"][0].process.pid for node in nodes]
        print(json.dumps({"address": cluster.address, "nodes": raylets}), flush=True)
        for line in sys.stdin:
            word, number = line.split()
            cluster.remove_node(nodes[int(number)], allow_graceful=word == "drain")
            print(json.dumps({"removed": int(number)}), flush=True)
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    main(int(sys.argv[1]))
