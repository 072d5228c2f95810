"""A Ray cluster in a process of its own: Ray changes handlers and variables where it starts.

Run: python ray_nodes.py CORES CORES ..., the cores of each node, the head's first. It prints the cluster's address and
the raylets' processes, and ends the cluster when its input ends.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from typing import Any

import ray._private.node
from ray.cluster_utils import Cluster


class Patient:
    """In place of ``time`` where Ray waits 30 seconds for a node: on a busy machine it takes longer."""

    def monotonic(self) -> float:
        return time.monotonic() / 20

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)


START = 200
"""Seconds for all nodes. One takes 10 on a quiet core; one that could not start would be waited for in vain."""
BUSY = {
    "worker_register_timeout_seconds": 600,  # it imports first
    "health_check_timeout_ms": 60_000,  # a node that is only slow is not dead
    "worker_niceness": 0,  # Ray's 15 leaves a run a thirtieth of a core that it shares with other work
}

signal.alarm(START)
ray._private.node.time = Patient()
head, *others = map(int, sys.argv[1:])
cluster = Cluster(
    initialize_head=True, head_node_args={"num_cpus": head, "include_dashboard": False, "_system_config": BUSY}
)
for cores in others:
    cluster.add_node(num_cpus=cores)
cluster.wait_for_nodes(timeout=START)
nodes = [cluster.head_node, *cluster.worker_nodes]
raylets = [node.all_processes["raylet"][0].process.pid for node in nodes]
signal.alarm(0)
print(json.dumps({"address": cluster.address, "raylets": raylets}), flush=True)
sys.stdin.read()
cluster.shutdown()
