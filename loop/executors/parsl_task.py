"""What a Parsl worker does with a task: hands it to a process of its own, which it watches.

The evaluation runs in that process, with its models loaded, and not in Parsl's worker: so a hang, even in native
code, a cancelled task and a process killed for its memory end as they do on one machine, and the worker lives on.
Nothing heavy is imported here; calls travel as bytes that only the evaluating process opens.
"""

from __future__ import annotations

import json
import os
import pickle
import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from loop.executors.pool import Call, WorkerPool

LOOK_SECONDS = 0.5
"""How often the worker looks whether its task was cancelled and whether its node's manager lives."""
SHARING_SECONDS = 60.0
"""How long a file of the driver may take to appear on a node: network file systems cache what is not there."""
JOB_VARIABLES = ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "JOB_ID")
"""Where schedulers tell a job its id."""

DONE, RAISED, CANCELLED = "done", "raised", "cancelled"

_pool: WorkerPool | None = None
_preloaded: set[bytes] = set()


@dataclass(frozen=True)
class Task:
    """One call on its way to a worker.

    folder: where driver and worker leave notes for one another, on the file system they share. preloads: pickled
    calls that come before the first one of a worker. call: function and arguments, pickled. seconds: how long it may
    take. files: what it writes, see `Call.files`; a task without any (a call of `map`) leaves no note.
    """

    name: str
    folder: str
    preloads: tuple[bytes, ...]
    call: bytes
    seconds: float
    files: tuple[str, ...] = ()

    @property
    def note(self) -> Path:
        """Where the worker says that it has begun."""
        return Path(self.folder) / f"{self.name}.json"

    @property
    def cancelled(self) -> Path:
        """Where the driver says that it wants no answer any more."""
        return Path(self.folder) / f"{self.name}.cancelled"


class NotSharedError(RuntimeError):
    """A node does not see the run folder of the driver."""


def supervise(task: Task) -> tuple[str, bytes]:
    """How a call ended: `done` with its pickled result, `raised` with the pickled exception, or `cancelled`.

    Raises NotSharedError, and RuntimeError where no process can be started: then no other task can be done here.
    """
    manager = os.getppid()
    pool = _pool_of(task)
    if task.cancelled.exists():
        return CANCELLED, b""
    files = [Path(file) for file in task.files]
    # A lost process is the driver's to ask for again, perhaps on another node.
    call = pool.submit(task.seconds, open_and_call, task.call, files=files, lost_before=True)
    noted = not files

    def news() -> bool:
        return call.future.done() or (not noted and pool.where(call)[1] is not None)

    while not call.future.done():
        pool.work(news, LOOK_SECONDS)
        if not noted and pool.where(call)[1] is not None:
            noted = True
            _leave_note(task, pool.where(call)[1])
        if os.getppid() != manager:  # the job has ended around this process
            os._exit(1)
        if files and task.cancelled.exists() and pool.cancel(call):
            return CANCELLED, b""
    return _end_of(call)


def _end_of(call: Call) -> tuple[str, bytes]:
    error = call.future.exception()
    return (DONE, call.future.result()) if error is None else (RAISED, pickle.dumps(error))


def open_and_call(call: bytes) -> bytes:
    """Calls a pickled function with its pickled arguments; the result is pickled."""
    function, arguments = pickle.loads(call)
    return pickle.dumps(function(*arguments))


def _pool_of(task: Task) -> WorkerPool:
    """The pool of this worker, of a single process that has loaded what the task's driver wants loaded."""
    global _pool
    if _pool is None:
        _wait_for(Path(task.folder))
        # Several nodes write to one file system; one log for each keeps their lines apart.
        _pool = WorkerPool(1, Path(task.folder).parent / f"workers-{socket.gethostname()}.log")
    for call in task.preloads:
        if call not in _preloaded:
            _preloaded.add(call)
            _pool.preload(open_and_call, call)
    return _pool


def _wait_for(folder: Path) -> None:
    end = time.monotonic() + SHARING_SECONDS
    while not folder.is_dir():
        if time.monotonic() > end:
            raise NotSharedError(
                f"{socket.gethostname()} does not see {folder}: put the run folder (--dir) on a file system that the "
                "nodes share with the machine where the campaign runs"
            )
        time.sleep(0.2)


def _leave_note(task: Task, process: int | None) -> None:
    job = next((os.environ[name] for name in JOB_VARIABLES if name in os.environ), None)
    note = {"host": socket.gethostname(), "process": process, "job": job}
    draft = task.note.with_suffix(".draft")
    with suppress(OSError):  # a full disk; only the display misses it
        draft.write_text(json.dumps(note), encoding="utf-8")
        draft.replace(task.note)
