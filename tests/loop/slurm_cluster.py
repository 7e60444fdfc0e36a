"""A Slurm cluster of one node, this machine, for as long as a test needs it."""

import getpass
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel")
PATIENCE = 60.0

CONFIGURATION = """\
ClusterName=trial
SlurmctldHost={host}
SlurmctldPort={controller}
SlurmdPort={daemon}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
SwitchType=switch/none
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
SchedulerParameters=sched_interval=1,batch_sched_delay=0
KillWait=1
ReturnToService=2
InactiveLimit=0
NodeName={host} CPUs={cores} Boards=1 SocketsPerBoard=1 CoresPerSocket={cores} ThreadsPerCore=1 RealMemory=2000
PartitionName=trial Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""

needs_slurm = pytest.mark.skipif(
    not all(shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin") for name in PROGRAMS),
    reason="Slurm is not installed (apt-get install slurm-wlm munge)",
)


@contextmanager
def slurm() -> Iterator[None]:
    """Starts munge, the controller and the node's daemon; inside, `sbatch` and its kin speak to them."""
    # Munge distrusts a socket below a folder that others cannot enter, as the folders of pytest are.
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        with _daemons(Path(name)):
            yield


@contextmanager
def _daemons(folder: Path) -> Iterator[None]:
    processes: list[subprocess.Popen[bytes]] = []
    before = dict(os.environ)
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    os.environ["SLURM_CONF"] = str(_configured(folder))
    try:
        munge = [f"--{name}-file={folder}/munge.{name}" for name in ("key", "pid", "log", "seed")]
        processes.append(
            _started(["munged", "--foreground", f"--socket={folder}/munge.socket", *munge], folder)
        )
        _until(lambda: (folder / "munge.socket").exists(), folder)
        processes.append(_started(["slurmctld", "-D"], folder))
        processes.append(_started(["slurmd", "-D"], folder))
        _until(lambda: "idle" in said("sinfo", "--noheader", "--format=%T"), folder)
        yield
    finally:
        for process in reversed(processes):
            process.terminate()
        for process in processes:
            process.wait(timeout=PATIENCE)
        os.environ.clear()
        os.environ.update(before)


def said(*command: str) -> str:
    """What a program of Slurm prints."""
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def jobs() -> list[str]:
    """The ids of the jobs that wait or run."""
    return said("squeue", "--noheader", "--format=%i").split()


def _configured(folder: Path) -> Path:
    host = socket.gethostname().split(".")[0]
    for name in ("state", "spool"):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o600)
    controller, daemon = _free_ports(2)
    file = folder / "slurm.conf"
    values = {"folder": folder, "host": host, "user": getpass.getuser(), "cores": os.cpu_count()}
    file.write_text(CONFIGURATION.format(**values, controller=controller, daemon=daemon))
    return file


def _free_ports(number: int) -> list[int]:
    sockets = [socket.socket() for _ in range(number)]
    for one in sockets:
        one.bind(("", 0))
    ports = [int(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return ports


def _started(command: list[str], folder: Path) -> subprocess.Popen[bytes]:
    with (folder / f"{command[0]}.said").open("wb") as log:
        return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)


def _until(condition: Callable[[], bool], folder: Path) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            logs = "\n".join(f"{f.name}: {f.read_text()[-2000:]}" for f in folder.glob("*.said"))
            raise TimeoutError(f"Slurm did not start\n{logs}")
        time.sleep(0.2)
