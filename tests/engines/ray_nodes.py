"""A Ray cluster of two nodes of one core, in a process of its own: Ray changes handlers and variables where it starts.

It prints the cluster's address and the raylets' processes, and ends the cluster when its input ends.
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


signal.alarm(150)  # a node that could not start would be waited for much longer
ray._private.node.time = Patient()
PATIENCE = {"worker_register_timeout_seconds": 600, "health_check_timeout_ms": 60_000}
cluster = Cluster(
    initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False, "_system_config": PATIENCE}
)
cluster.add_node(num_cpus=1)
cluster.wait_for_nodes(timeout=300)
nodes = [cluster.head_node, *cluster.worker_nodes]
raylets = [node.all_processes["raylet"][0].process.pid for node in nodes]
signal.alarm(0)
print(json.dumps({"address": cluster.address, "raylets": raylets}), flush=True)
sys.stdin.read()
cluster.shutdown()
