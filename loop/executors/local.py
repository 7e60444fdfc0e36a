"""Evaluations on this machine's cores: one worker process per core, with one thread, models kept loaded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from loop.executors.base import Dispatcher, ExecutorSettings
from loop.executors.logs import descriptors_to
from loop.executors.pool import START_SECONDS, Call, OverdueError, WorkerLostError, WorkerPool
from loop.executors.records import attempt_folder
from loop.executors.tasks import RunningTask, evaluate, failed, preload
from materials.base import Crystal
from materials.evaluation import FailureKind, Outcome, Request, Ticket
from oracles.base import OracleSettings

WORKERS_LOG = "workers.log"


class LocalExecutorSettings(ExecutorSettings):
    """Runs evaluations in worker processes on this machine."""

    kind: Literal["local"] = "local"
    workers: Literal["auto"] | Annotated[int, Field(ge=1)] = "auto"
    """Worker processes; auto means the cores this process may use (affinity and limits counted)."""

    def build(self, folder: Path, seconds_per_evaluation: float) -> LocalDispatcher:
        return LocalDispatcher(folder, seconds_per_evaluation, self.number_of_workers())

    def number_of_workers(self) -> int:
        """The number itself, `auto` resolved."""
        if self.workers != "auto":
            return self.workers
        import joblib

        return int(joblib.cpu_count())


class LocalDispatcher(Dispatcher):
    """Keeps the workers busy while the driver waits. What they print beside evaluations is in workers.log."""

    def __init__(self, folder: Path, seconds_per_evaluation: float, workers: int) -> None:
        super().__init__(folder, seconds_per_evaluation)
        self.workers = workers
        self._pool = WorkerPool(workers, self.folder / WORKERS_LOG)
        self._preloaded: list[OracleSettings] = []
        self._calls: dict[str, tuple[Request, Call]] = {}

    def map(self, function: Callable[..., Any], work: Sequence[tuple[Any, ...]]) -> list[Any]:
        # The first call in each worker may have to load a model.
        seconds = START_SECONDS + self.seconds_per_evaluation
        calls = [self._pool.submit(seconds, function, *arguments) for arguments in work]
        self._pool.work(lambda: all(call.future.done() for call in calls))
        return [call.future.result() for call in calls]

    def close(self) -> None:
        self._pool.close()
        self._calls.clear()

    def _preload(self, settings: Sequence[OracleSettings]) -> None:
        for new in settings:
            if new not in self._preloaded:
                self._preloaded.append(new)
                self._pool.preload(preload, new)

    def _start(self, settings: OracleSettings, request: Request, attempt: int) -> None:
        self._preload([settings])
        arguments = (settings, request, self.folder, attempt)
        atoms = len(request.material.structure) if isinstance(request.material, Crystal) else 1
        weight = settings.typical_seconds * atoms
        seconds = settings.walltime or self.seconds_per_evaluation
        call = self._pool.submit(seconds, evaluate_apart, *arguments, weight=weight)
        self._calls[request.key] = (request, call)

    def _advance(self, timeout: float | None) -> list[Outcome]:
        self._pool.work(lambda: any(call.future.done() for _, call in self._calls.values()), timeout)
        ended = [(request, call) for request, call in self._calls.values() if call.future.done()]
        for request, _ in ended:
            del self._calls[request.key]
        return [_outcome(request, call) for request, call in ended]

    def _stop(self, ticket: Ticket) -> bool:
        if ticket.key not in self._calls or not self._pool.cancel(self._calls[ticket.key][1]):
            return False
        del self._calls[ticket.key]
        return True

    def _in_process(self) -> list[RunningTask]:
        calls = list(self._calls.values())
        tasks = [RunningTask.of(request, *self._pool.where(call)) for request, call in calls]
        return sorted(tasks, key=lambda task: task.seconds is None)


def evaluate_apart(settings: OracleSettings, request: Request, folder: Path, attempt: int) -> Outcome:
    """`evaluate` in a process of its own, whose whole output goes to the attempt's log."""
    with descriptors_to(attempt_folder(folder, request.key, attempt)):
        return evaluate(settings, request, folder, attempt)


def _outcome(request: Request, call: Call) -> Outcome:
    error = call.future.exception()
    if error is None:
        outcome: Outcome = call.future.result()
        return outcome
    message = f"{request.oracle}, {request.material.formula}: {error}"
    if isinstance(error, OverdueError):
        return failed(request, FailureKind.TIMEOUT, message, call.seconds)
    kind = FailureKind.WORKER_LOST if isinstance(error, WorkerLostError) else FailureKind.ERROR
    return failed(request, kind, message)
