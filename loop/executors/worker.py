"""One worker process: a standard executor of a single process, so that losing it breaks nothing beside it."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing.context import SpawnContext, SpawnProcess
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from loop.executors.logs import send_descriptors_to

# One process per core with one thread each is twice as fast as one process with a thread per core.
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
PR_SET_PDEATHSIG = 1  # linux/prctl.h


class _Spawn(SpawnContext):
    """Starts a fresh interpreter (forking one that uses torch may hang) and remembers the process."""

    process: BaseProcess | None = None

    def Process(self, *arguments: Any, **named: Any) -> BaseProcess:  # type: ignore[override]  # noqa: N802
        self.process = SpawnProcess(*arguments, **named)
        return self.process


class Worker:
    """A process that runs one call at a time, with one thread, and never outlives the process that started it.

    It starts in the background; what is submitted early waits in it. Its output goes to the end of `log`.
    """

    def __init__(self, log: Path) -> None:
        on_main_thread = threading.current_thread() is threading.main_thread()
        context = _Spawn()
        with _starting_conditions():
            self._executor = ProcessPoolExecutor(
                max_workers=1,
                mp_context=context,
                initializer=_settle,
                initargs=(log, os.getpid(), on_main_thread),
            )
            self.started: Future[int] = self._executor.submit(os.getpid)
        assert context.process is not None
        self._process = context.process

    @property
    def process(self) -> BaseProcess:
        """The process, for its pid and whether it lives."""
        return self._process

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Runs after what was submitted before; BrokenProcessPool, now or in the future, when it is lost."""
        return self._executor.submit(function, *arguments)

    def how_it_ended(self) -> str:
        """For a worker that was lost: its exit code or the signal that killed it, in words."""
        # The executor's thread may have reaped the process and not yet said so.
        end = time.monotonic() + 1.0
        while self._process.exitcode is None and time.monotonic() < end:
            time.sleep(0.01)
        code = self._process.exitcode
        if code == -signal.SIGKILL:
            return "killed by SIGKILL, as when memory runs out"
        return f"killed by {signal.Signals(-code).name}" if code and code < 0 else f"exit code {code}"

    def kill(self) -> None:
        """Ends the process at once, with everything it started itself."""
        if self._process.is_alive():
            # There is no such group before the worker has settled, and none at all outside of POSIX.
            with suppress(ProcessLookupError, PermissionError, AttributeError):
                os.killpg(self._process.pid or 0, signal.SIGKILL)
            self._process.kill()
        self._executor.shutdown(wait=False, cancel_futures=True)


@contextmanager
def _starting_conditions() -> Iterator[None]:
    """What a new process inherits: one thread for each numerical library, and no Ctrl-C.

    The thread counts are read when the libraries are imported, which can be before any code of ours runs
    there. Ctrl-C on a terminal reaches every process; here the driver decides what it means.
    """
    changes = dict.fromkeys(THREAD_VARIABLES, "1")
    # A killed worker leaves semaphores behind (tqdm makes one); they are cleaned up, and nobody need know.
    filters = filter(None, [os.environ.get("PYTHONWARNINGS"), "ignore:resource_tracker:UserWarning"])
    changes["PYTHONWARNINGS"] = ",".join(filters)
    before = {name: os.environ.get(name) for name in changes}
    masks = hasattr(signal, "pthread_sigmask")
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}) if masks else set()
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value
        if masks:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _settle(log: Path, driver: int, started_by_main_thread: bool) -> None:
    """The first thing a worker does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(OSError):
        send_descriptors_to(log)
    with suppress(AttributeError, PermissionError):
        os.setsid()  # a group of its own, so that it can be ended with all it starts
    # The kernel's way also ends native code that hangs without giving Python a chance. It counts the death of
    # the thread that started the process as the parent's, so it fits only where that is the main thread.
    if sys.platform == "linux" and started_by_main_thread:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    threading.Thread(target=_follow, args=(driver,), daemon=True, name="follow the driver").start()


def _follow(driver: int) -> None:
    parent = multiprocessing.parent_process()
    if parent is not None and os.getppid() == driver:
        parent.join()
    with suppress(AttributeError, OSError):
        if os.getpgid(0) == os.getpid():
            os.killpg(os.getpid(), signal.SIGKILL)
    os._exit(1)
