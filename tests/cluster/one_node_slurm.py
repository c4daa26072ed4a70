"""A real SLURM of one node on this machine: Debian's daemons on the loopback, without systemd, cgroups or accounting.

Its GPU is /dev/null. Memory limits are kept by looking every second, so a job that needs too much for less gets away.
"""

import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

CORES = 2
MEMORY_MB = 8000
PORTS = (16817, 16818)
PACKAGES = {"munged": "munge", "slurmctld": "slurmctld", "slurmd": "slurmd", "sbatch": "slurm-client"}
# Where alone the srun inside a job looks: Snakemake takes SLURM_CONF from its environment.
PLACE = Path("/etc/slurm")
PATH = f"{os.environ['PATH']}:/usr/sbin"
# Processes are tracked by group: by parent, a Snakemake whose shell had died outlived its cancelled job.
SLURM_CONF = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock
CredType=cred/munge
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
MpiDefault=none
ProctrackType=proctrack/pgid
TaskPlugin=task/affinity
SwitchType=switch/none
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=2,batch_sched_delay=0,sched_interval=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
MinJobAge=300
KillWait=5
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc={folder}/ended.log
GresTypes=gpu
SlurmdParameters=config_overrides
NodeName={host} NodeAddr=127.0.0.1 CPUs={cores} RealMemory={memory} Gres=gpu:1 State=UNKNOWN
PartitionName=all Nodes={host} Default=YES MaxTime=720 State=UP
"""
GRES_CONF = """\
AutoDetect=off
NodeName={host} Name=gpu File=/dev/null
"""


class CannotStart(Exception):
    """Why there is no SLURM, and what to do, in one sentence."""


@contextmanager
def running(folder: Path) -> Iterator[Path]:
    """SLURM within the context, its state in `folder`; yields the log of the jobs that have ended."""
    _install()
    for port in PORTS:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                raise CannotStart(f"Port {port} of this machine is taken: end the SLURM daemon that listens there.")
    with ExitStack() as stack:
        _configure(folder, stack)
        key = folder / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        places = {"key-file": key, "socket": "munge.sock", "pid-file": "munged.pid", "log-file": "munged.log"}
        options = [f"--{name}={folder / place}" for name, place in (places | {"seed-file": "munge.seed"}).items()]
        _daemon(["munged", "--foreground", "--force", *options], folder, stack)
        _wait(lambda: (folder / "munge.sock").exists(), folder)
        _daemon(["slurmctld", "-D"], folder, stack)
        _daemon(["slurmd", "-D"], folder, stack)
        _wait(lambda: ask("sinfo", "--noheader", "--format", "%T").strip() == "idle", folder)
        stack.callback(cancel_all)
        yield folder / "ended.log"


def ask(*command: str) -> str:
    """What a command says; nothing where it fails."""
    return subprocess.run(command, capture_output=True, text=True).stdout


def queue(*options: str) -> list[str]:
    """Ids of the jobs in the queue, chosen by options of squeue."""
    return ask("squeue", "--noheader", "--format", "%i", *options).split()


def cancel_all() -> None:
    """Empty the queue."""
    for job in queue():
        ask("scancel", job)
    deadline = time.monotonic() + 30
    while queue() and time.monotonic() < deadline:
        time.sleep(0.2)


def ended(log: Path) -> list[dict[str, str]]:
    """Jobs that have ended, in that order: {JobId, JobState, TimeLimit, Tres, StartTime, ...}."""
    lines = log.read_text().splitlines() if log.exists() else []
    return [dict(re.findall(r"(\w+)=(\S*)", line)) for line in lines]


def _install() -> None:
    """Debian's packages, where they are missing."""
    missing = sorted({package for name, package in PACKAGES.items() if not shutil.which(name, path=PATH)})
    if os.geteuid() != 0:
        raise CannotStart("These tests start SLURM's daemons: run them as root, in a container or virtual machine.")
    if missing and not shutil.which("apt-get"):
        raise CannotStart(f"These tests need {', '.join(missing)}: install what your system names so.")
    if missing:
        install = ["apt-get", "install", "--yes", "--no-install-recommends", *missing]
        environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        for command in (["apt-get", "update"], install):
            done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise CannotStart(f"`{' '.join(install)}` fails: {done.stderr.strip().splitlines()[-1]}")


def _configure(folder: Path, stack: ExitStack) -> None:
    """Write SLURM's configuration and link it where SLURM looks, for as long as `stack` lasts."""
    host = socket.gethostname().split(".")[0]
    values = {"host": host, "folder": folder, "ports": PORTS, "cores": CORES, "memory": MEMORY_MB}
    PLACE.mkdir(exist_ok=True)
    for name, text in (("slurm.conf", SLURM_CONF), ("gres.conf", GRES_CONF)):
        (folder / name).write_text(text.format(**values))
        link = PLACE / name
        if link.exists() and not link.is_symlink():
            raise CannotStart(f"{link} belongs to another SLURM: run these tests in a container or virtual machine.")
        link.unlink(missing_ok=True)  # of tests that were killed
        link.symlink_to(folder / name)
        stack.callback(link.unlink)
    for name in ("state", "spool"):
        (folder / name).mkdir()


def _daemon(command: list[str], folder: Path, stack: ExitStack) -> None:
    """Start a daemon that is ended when `stack` closes."""
    with (folder / f"{command[0]}.out").open("w") as said:
        process = subprocess.Popen(
            [shutil.which(command[0], path=PATH), *command[1:]],
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            start_new_session=True,  # Ctrl-C ends the tests, which then end it
        )
    stack.callback(_end, process)


def _end(process: subprocess.Popen) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _wait(ready, folder: Path) -> None:
    """Until something is so, for 30 seconds."""
    deadline = time.monotonic() + 30
    while not ready():
        if time.monotonic() > deadline:
            said = [path.read_text().strip().splitlines()[-1:] for path in sorted(folder.glob("*.out"))]
            raise CannotStart(f"SLURM does not start: {said}")
        time.sleep(0.1)
