"""The jobs of a campaign on a cluster: one Parsl executor for each pool of workers, started when it is first needed."""

from __future__ import annotations

import logging
import os
import shlex
import sys
import sysconfig
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loop.errors import NoWorkersError
from loop.executors import parsl_interchange
from loop.executors.parsl_providers import walltime_of
from loop.executors.pool import STARTS

if TYPE_CHECKING:
    from loop.executors.parsl import ParslExecutorSettings, WorkersSettings

log = logging.getLogger(__name__)

CPU, GPU = "cpu", "gpu"
CLOSING_SECONDS = 20.0
LOG_FILE = "parsl.log"
LEAVING_SECONDS = 60.0
"""What a job needs beside its last evaluation: to start its workers, and to end them."""


class Jobs:
    """Keeps as many jobs as there is work for, and passes tasks to them.

    seconds: the longest that an evaluation of each pool may take; before the end of its walltime a job takes none that
    might not end.
    """

    def __init__(self, settings: ParslExecutorSettings, folder: Path) -> None:
        self._settings = settings
        self._folder = folder
        self._kernel: Any = None
        self._executors: dict[str, Any] = {}
        self._handler: logging.Handler | None = None
        self.seconds: dict[str, float] = {CPU: 0.0, GPU: 0.0}

    def start(self, pool: str) -> None:
        """Asks for the first job of a pool, once."""
        if pool in self._executors:
            return
        workers = self._settings.workers_of(pool)
        executor = self._executors[pool] = self._executor(pool, workers)
        if self._kernel is None:
            self._handler = _log_to(self._folder / LOG_FILE)
            self._kernel = _kernel([executor], self._folder, self._settings.idle_seconds)
        else:
            self._kernel.add_executors([executor])

    def submit(
        self, pool: str, priority: float, function: Callable[..., Any], *arguments: Any
    ) -> Future[Any]:
        """Queues a call for the workers of a pool, small priorities first. The future must not be cancelled."""
        self.start(pool)
        future: Future[Any] = self._executors[pool].submit(function, {"priority": priority}, *arguments)
        return future

    def ids(self, pool: str) -> list[str]:
        """The scheduler's ids of the jobs that wait or run."""
        executor = self._executors.get(pool)
        if executor is None:
            return []
        alive = [block for block, status in list(executor.status_facade.items()) if not status.terminal]
        return [
            str(executor.blocks_to_job_id[block]) for block in alive if block in executor.blocks_to_job_id
        ]

    def check(self) -> None:
        """Raises NoWorkersError when no job can be started, or nothing passes between driver and jobs any more."""
        for pool, executor in self._executors.items():
            process = executor.interchange_proc
            if not executor.bad_state_is_set and process is not None and process.poll() is not None:
                # Whatever asks the dead process waits for ever, so all that follows must know.
                executor.set_bad_state_and_fail_all(RuntimeError("Parsl's interchange has ended"))
            if executor.bad_state_is_set:
                raise NoWorkersError(
                    f"executor parsl, pool {pool}: {executor.executor_exception}. What jobs said is in {self._folder}"
                )

    def forget(self, pool: str, jobs: Sequence[str]) -> None:
        """Cancels jobs of a driver that died. One that cannot be cancelled ends by itself, without its driver."""
        provider = self._provider(self._settings.workers_of(pool))
        status = _unknown_status()
        for job in jobs:
            provider.resources[job] = {"job_id": job, "status": status}
        try:
            provider.cancel(list(jobs))
        except Exception as error:
            log.warning("jobs %s of an earlier driver could not be cancelled: %s", ", ".join(jobs), error)

    def close(self) -> None:
        """Cancels all jobs."""
        kernel, self._kernel = self._kernel, None
        for pool, executor in self._executors.items():
            if executor.bad_state_is_set:  # Parsl would leave its jobs to themselves
                with suppress(Exception):
                    executor.provider.cancel(self.ids(pool))
        self._executors = {}
        if kernel is not None:
            # Parsl waits for ever for an interchange that has died, and nothing is lost by not waiting.
            closing = threading.Thread(target=kernel.cleanup, daemon=True, name="close Parsl")
            closing.start()
            closing.join(CLOSING_SECONDS)
        if self._handler is not None:
            logging.getLogger("parsl").removeHandler(self._handler)
            self._handler.close()
            self._handler = None

    def _provider(self, workers: WorkersSettings) -> Any:
        return workers.provider.build(
            self._settings.status_seconds,
            init_blocks=1,
            min_blocks=workers.kept_jobs,
            max_blocks=workers.jobs,
        )

    def _executor(self, pool: str, workers: WorkersSettings) -> Any:
        from parsl.executors import HighThroughputExecutor

        settings = self._settings
        provider = self._provider(workers)
        # Parsl counts the workers of a node to know how many jobs it needs; a pool of all cores counts as one.
        number = None if workers.workers == "auto" else workers.workers
        return HighThroughputExecutor(
            label=pool,
            provider=provider,
            launch_cmd=_launch_command(settings.python),
            interchange_launch_cmd=parsl_interchange.command(),
            address=settings.address,
            cores_per_worker=workers.cores_per_worker,
            mem_per_worker=workers.memory_per_worker,
            max_workers_per_node=number,
            available_accelerators=workers.accelerators,
            heartbeat_period=settings.heartbeat_seconds,
            heartbeat_threshold=settings.lost_after_seconds,
            drain_period=self._drain_period(pool, walltime_of(provider)),
            block_error_handler=stop_when_no_job_starts,
        )

    def _drain_period(self, pool: str, walltime: float | None) -> int | None:
        """Seconds after which a job takes no more evaluations."""
        if walltime is None:
            return None
        longest = self.seconds[pool]
        if longest + LEAVING_SECONDS < walltime / 2:
            return int(walltime - longest - LEAVING_SECONDS)
        log.warning(
            "pool %s: an evaluation may take %g s, and a job lasts %g s: some will be lost when their job ends "
            "(raise the provider's walltime, or lower limits.seconds_per_evaluation)",
            *(pool, longest, walltime),
        )
        return max(1, int(walltime / 2))


def _kernel(executors: list[Any], folder: Path, idle_seconds: float) -> Any:
    from parsl.config import Config
    from parsl.dataflow.dflow import DataFlowKernel

    # Only how it keeps jobs is used; tasks go to the executors directly, with standard futures.
    config = Config(
        executors=executors,
        run_dir=str(folder),
        strategy="simple",
        strategy_period=1.0,
        max_idletime=idle_seconds,
        initialize_logging=False,
    )
    return DataFlowKernel(config)


def _log_to(file: Path) -> logging.Handler:
    """Parsl's own messages go to a file and not to the terminal; its debugging would fill a disk in a long campaign."""
    file.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(file, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s %(message)s"))
    parsl = logging.getLogger("parsl")
    parsl.setLevel(logging.INFO)
    parsl.propagate = False
    parsl.addHandler(handler)
    return handler


def _unknown_status() -> Any:
    from parsl.jobs.states import JobState, JobStatus

    return JobStatus(JobState.UNKNOWN)


def stop_when_no_job_starts(executor: Any, status: dict[str, Any]) -> None:
    """Gives up when the latest jobs, several in a row, ended before any worker answered from them.

    A job that was cancelled, killed or out of walltime after that says nothing of the next one.
    """
    from parsl.jobs.states import JobState

    last = [status[block] for block in sorted(status, key=int)[-STARTS:]]
    if executor.bad_state_is_set or len(last) < STARTS or any(s.state is not JobState.MISSING for s in last):
        return
    said = last[-1].message or ""
    with suppress(Exception):  # the files of a job that never ran may be missing
        said = (last[-1].stderr_summary or "").strip() or said
    executor.set_bad_state_and_fail_all(
        RuntimeError(f"{STARTS} jobs in a row ended before a worker answered ({said})")
    )


def _launch_command(python: str | None) -> str:
    """How a job starts its workers: by default with the driver's interpreter, which finds the same modules."""
    from parsl.executors.high_throughput.executor import DEFAULT_LAUNCH_CMD

    start = f"{shlex.quote(python or sys.executable)} -m parsl.executors.high_throughput.process_worker_pool"
    if python is None:
        start = f"env PYTHONPATH={shlex.quote(os.pathsep.join(_own_places()))} {start}"
    # Parsl formats the command twice.
    start = start.replace("{", "{{{{").replace("}", "}}}}")
    return str(DEFAULT_LAUNCH_CMD).replace("process_worker_pool.py", start, 1)


def _own_places() -> list[str]:
    """Where this process finds modules beside those installed with its interpreter."""
    installed = {Path(path) for path in sysconfig.get_paths().values()}
    places = dict.fromkeys(str(Path(place).absolute()) for place in sys.path if not place.endswith(".zip"))
    inside = [Path(path) for path in installed] + [path / "lib-dynload" for path in installed]
    return [place for place in places if Path(place) not in inside and Path(place).is_dir()]
