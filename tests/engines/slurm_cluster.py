"""A SLURM of two nodes on this machine: the real controller and node daemons, with a configuration of their own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from waiting import until

CONF = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
MpiDefault=none
SwitchType=switch/none
ReturnToService=2
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,sched_min_interval=0,batch_sched_delay=0,bf_interval=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
KillWait=30
MinJobAge=600
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={first} CPUs=1 RealMemory=1000 State=UNKNOWN
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={second} CPUs=1 RealMemory=1000 State=UNKNOWN
PartitionName=all Nodes=n1,n2 Default=YES MaxTime=INFINITE OverTimeLimit=0 State=UP
"""
SBIN = "/usr/sbin"
START = 120
"""Seconds in which the daemons have to start; 5 on a quiet machine."""


def missing() -> str:
    """What is not installed; empty where nothing is."""
    needed = ("slurmctld", "slurmd", "munged", "sbatch", "scontrol", "squeue")
    path = f"{os.environ.get('PATH', '')}:{SBIN}"
    return ", ".join(name for name in needed if not shutil.which(name, path=path))


@contextmanager
def cluster(folder: Path) -> Iterator[dict[str, str]]:
    """Two nodes; the variables that sbatch needs."""
    host = socket.gethostname()
    port, first, second = (_free() for _ in range(3))
    conf = folder / "slurm.conf"
    conf.write_text(CONF.format(host=host, port=port, first=first, second=second, folder=folder))
    for name in ("state", "spool-n1", "spool-n2"):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o600)
    folder.chmod(0o755)
    environment = {**os.environ, "SLURM_CONF": str(conf), "PATH": f"{os.environ['PATH']}:{SBIN}"}
    munge = [
        "munged",
        "--foreground",
        "--force",
        "--num-threads=2",
        f"--socket={folder}/munge.socket",
        f"--key-file={key}",
    ]
    munge += [f"--pid-file={folder}/munged.pid", f"--seed-file={folder}/munged.seed", f"--log-file={folder}/munged.log"]
    daemons = [munge, ["slurmctld", "-D", "-i"], *(["slurmd", "-D", "-N", name] for name in ("n1", "n2"))]
    started: list[subprocess.Popen[bytes]] = []
    try:
        for number, words in enumerate(daemons):
            with (folder / f"daemon{number}.log").open("wb") as log:
                started.append(subprocess.Popen(words, env=environment, stdout=log, stderr=log, start_new_session=True))
            if number == 0:
                until((folder / "munge.socket").exists, START, logs=folder)
        until(lambda: _idle(environment) == 2, START, every=0.2, logs=folder)
        yield environment
    finally:
        subprocess.run(["scancel", "--user", str(os.getuid())], env=environment, check=False, capture_output=True)
        for daemon in reversed(started):
            daemon.terminate()
        for daemon in reversed(started):
            _end(daemon)


def _end(daemon: subprocess.Popen[bytes]) -> None:
    try:
        daemon.wait(20)
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait()


def _idle(environment: dict[str, str]) -> int:
    shown = subprocess.run(
        ["sinfo", "-h", "-N", "-o", "%T"], env=environment, capture_output=True, text=True, check=False
    ).stdout
    return shown.split().count("idle")


def _free() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
