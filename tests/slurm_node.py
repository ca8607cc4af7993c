"""A real SLURM of one node, this machine, for tests: on loopback only, without systemd, cgroups or accounting."""

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel")
DAEMONS = ("slurmd", "slurmctld", "munged")  # in the order in which they are stopped
CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}({address})
SlurmctldPort={port}
SlurmdPort={slurmd_port}
SlurmUser=root
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
AuthInfo=socket={folder}/munge.socket
MailProg=/bin/true
StateSaveLocation={folder}/ctld
SlurmctldPidFile={folder}/slurmctld.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdSpoolDir={folder}/d
SlurmdPidFile={folder}/slurmd.pid
SlurmdLogFile={folder}/slurmd.log
ReturnToService=2
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
SchedulerParameters=batch_sched_delay=0,sched_interval=1
KillWait=2
NodeName={host} NodeAddr={address} CPUs=2 RealMemory=2000
PartitionName=test Nodes={host} Default=YES MaxTime=INFINITE
"""


def missing() -> str:
    """Why there can be no SLURM here; empty where there can."""
    if absent := [name for name in NEEDED if shutil.which(name) is None]:
        return f"not installed: {', '.join(absent)} (Debian: slurmctld slurmd slurm-client munge)"
    if os.geteuid() != 0:
        return "its daemons need root"
    try:
        address = socket.gethostbyname(socket.gethostname())
    except OSError:
        address = "nothing"
    return "" if address.startswith("127.") else f"the name of this machine stands for {address}, not for loopback"


def wait(is_true: Callable[[], bool], seconds: float, what: str) -> None:
    """Wait until something is so; AssertionError if it is not in time."""
    end = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < end, f"waited {seconds} s for {what}"
        time.sleep(0.1)


def output(*command: str) -> str:
    """What a command prints; empty where it fails or hangs."""
    with contextlib.suppress(subprocess.SubprocessError):
        return subprocess.run(command, capture_output=True, text=True, timeout=10).stdout
    return ""


def free_ports() -> tuple[int, int]:
    """Two ports that nobody listens on."""
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]


@contextlib.contextmanager
def running() -> Iterator[Path]:
    """Start it, with SLURM_CONF set for all that is started from here; stop it and all its jobs at the end."""
    folder = Path(tempfile.mkdtemp(prefix="slurm", dir="/tmp"))  # short, for the sockets in it
    host, (port, slurmd_port) = socket.gethostname().split(".")[0], free_ports()
    address = socket.gethostbyname(socket.gethostname())
    for name in ("ctld", "d"):
        (folder / name).mkdir()
    text = CONFIGURATION.format(host=host, address=address, port=port, slurmd_port=slurmd_port, folder=folder)
    (folder / "slurm.conf").write_text(text)
    (folder / "munge.key").write_bytes(secrets.token_bytes(1024))
    (folder / "munge.key").chmod(0o600)
    munge = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
    places = [f"--{option}={folder}/{'munged' if name == 'pid' else 'munge'}.{name}" for option, name in munge.items()]
    before = os.environ.get("SLURM_CONF")
    os.environ["SLURM_CONF"] = str(folder / "slurm.conf")
    try:
        for command in (["munged", "--force", *places], ["slurmctld"], ["slurmd"]):
            done = subprocess.run(command, capture_output=True, text=True, timeout=30)
            assert done.returncode == 0, f"{command[0]}: {done.stderr}"
        wait(lambda: output("sinfo", "-h", "-o", "%t").strip() in ("idle", "mix", "alloc"), 60, "a node that is idle")
        yield folder
    finally:
        output("scancel", "--user=root")
        with contextlib.suppress(AssertionError):
            wait(lambda: not output("squeue", "-h").strip(), 15, "jobs to end")
        for name in DAEMONS:
            with contextlib.suppress(OSError, ValueError):
                os.kill(int((folder / f"{name}.pid").read_text()), signal.SIGTERM)
        os.environ.pop("SLURM_CONF")
        if before is not None:
            os.environ["SLURM_CONF"] = before
        time.sleep(0.5)
        shutil.rmtree(folder, ignore_errors=True)
