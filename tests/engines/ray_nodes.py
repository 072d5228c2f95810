"""A Ray cluster in a process of its own: Ray changes handlers and variables where it starts.

Run: python ray_nodes.py CORES CORES ..., the cores of each node, the head's first. It prints the cluster's address, the
one for drivers outside of it and the raylets' processes, and ends the cluster when its input ends.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

import ray._private.node
from ray.cluster_utils import Cluster


class Patient:
    """In place of ``time`` where Ray waits 30 seconds for a node: on a busy machine it takes longer."""

    def monotonic(self) -> float:
        return time.monotonic() / 20

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)


def end_without_raylet() -> None:
    """End as soon as a raylet has died, as it does if its agents take 15 seconds to import; Ray waits for it longer."""
    while threading.main_thread().is_alive() and not started.is_set():
        if any("(raylet) Z" in stat for stat in _stats()):
            os._exit(1)
        time.sleep(1)


def _stats() -> list[str]:
    """Of this process's children: number, name and state."""
    children = [pid for file in Path("/proc/self/task").glob("*/children") for pid in file.read_text().split()]
    return [Path(f"/proc/{pid}/stat").read_text(encoding="utf-8") for pid in children]


START = 200
"""Seconds for all nodes. One takes 10 on a quiet core; one that could not start would be waited for in vain."""
BUSY = {
    "worker_register_timeout_seconds": 600,  # it imports first
    "health_check_timeout_ms": 60_000,  # a node that is only slow is not dead
    "worker_niceness": 0,  # Ray's 15 leaves a run a thirtieth of a core that it shares with other work
}

signal.signal(signal.SIGINT, signal.SIG_IGN)  # as in a script's background
signal.alarm(START)
started = threading.Event()
threading.Thread(target=end_without_raylet, daemon=True).start()
ray._private.node.time = Patient()
head, *others = map(int, sys.argv[1:])
with socket.socket() as free:
    free.bind(("", 0))
    door = free.getsockname()[1]
own = {"num_cpus": head, "include_dashboard": False, "ray_client_server_port": door, "_system_config": BUSY}
cluster = Cluster(initialize_head=True, head_node_args=own)
for cores in others:
    cluster.add_node(num_cpus=cores)
cluster.wait_for_nodes(timeout=START)
nodes = [cluster.head_node, *cluster.worker_nodes]
raylets = [node.all_processes["raylet"][0].process for node in nodes]
facts = {"address": cluster.address, "outside": f"ray://127.0.0.1:{door}", "raylets": [each.pid for each in raylets]}
signal.alarm(0)
started.set()
print(json.dumps(facts), flush=True)
while not select.select([sys.stdin], [], [], 1)[0]:
    for each in raylets:
        each.poll()  # one that was killed is a zombie until then, which its workers take for alive
cluster.shutdown()
