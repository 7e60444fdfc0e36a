"""A dispatcher over a pool of workers, wherever they are: batches, failures, and what is asked again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from loop.executors.base import Dispatcher
from loop.executors.logs import descriptors_to
from loop.executors.pool import START_SECONDS, Call, OverdueError, WorkerLostError
from loop.executors.records import attempt_folder, find_outcome, outcome_file
from loop.executors.tasks import RunningTask, evaluate_together, failed, preload
from materials.base import Crystal
from materials.evaluation import FailureKind, Outcome, Request, Ticket
from oracles.base import OracleSettings

SHARING = 3
"""How much longer one of a batch may take than alone: they share the machine, and the first ends after many steps."""


@dataclass(frozen=True)
class Batch:
    """Requests, each with the number of its attempt, that one call asks an oracle together; mostly a single one."""

    settings: OracleSettings
    asked: tuple[tuple[Request, int], ...]
    call: Call

    def holds(self, key: str) -> bool:
        """Whether the request of that key is among them."""
        return any(request.key == key for request, _ in self.asked)


class Pool(Protocol):
    """Workers wherever they are; `WorkerPool` is the one of this machine and says what each verb means."""

    def preload(self, function: Callable[..., Any], *arguments: Any, on_gpu: bool = False) -> None: ...

    def submit(
        self,
        seconds: float,
        function: Callable[..., Any],
        *arguments: Any,
        weight: float = 1.0,
        on_gpu: bool = False,
        files: Sequence[Path] = (),
    ) -> Call: ...

    def slots(self, on_gpu: bool) -> int: ...

    def work(self, until: Callable[[], bool], timeout: float | None = None) -> None: ...

    def cancel(self, call: Call) -> bool: ...

    def where(self, call: Call) -> tuple[float | None, int | None]: ...

    def close(self) -> None: ...


class PoolDispatcher(Dispatcher):
    """Keeps the workers of a pool busy while the driver waits."""

    def __init__(self, folder: Path, seconds_per_evaluation: float, pool: Pool) -> None:
        super().__init__(folder, seconds_per_evaluation)
        self._pool = pool
        self._preloaded: list[OracleSettings] = []
        self._waiting: dict[str, tuple[OracleSettings, Request, int]] = {}
        self._batches: list[Batch] = []

    def map(self, function: Callable[..., Any], work: Sequence[tuple[Any, ...]]) -> list[Any]:
        # The first call in each worker may have to load a model.
        seconds = START_SECONDS + self.seconds_per_evaluation
        calls = [self._pool.submit(seconds, function, *arguments) for arguments in work]
        self._pool.work(lambda: all(call.future.done() for call in calls))
        return [call.future.result() for call in calls]

    def close(self) -> None:
        self._pool.close()
        self._waiting.clear()
        self._batches.clear()

    def _preload(self, settings: Sequence[OracleSettings]) -> None:
        for new in settings:
            if new not in self._preloaded:
                self._preloaded.append(new)
                self._pool.preload(preload, new, on_gpu=new.resources.gpus > 0)

    def _start(self, settings: OracleSettings, request: Request, attempt: int) -> None:
        self._preload([settings])
        if settings.preferred_batch > 1:
            self._waiting[request.key] = (settings, request, attempt)
        else:
            self._ask(settings, [(request, attempt)])

    def _ask(self, settings: OracleSettings, asked: Sequence[tuple[Request, int]]) -> None:
        materials = [request.material for request, _ in asked]
        atoms = sum(len(m.structure) if isinstance(m, Crystal) else 1 for m in materials)
        seconds = settings.walltime or self.seconds_per_evaluation
        call = self._pool.submit(
            seconds * SHARING if len(asked) > 1 else seconds,
            evaluate_apart,
            *(settings, tuple(asked), self.folder),
            weight=settings.typical_seconds * atoms,
            on_gpu=settings.resources.gpus > 0,
            files=[outcome_file(self.folder, r.key, n) for r, n in asked],
        )
        self._batches.append(Batch(settings, tuple(asked), call))

    def _form_batches(self) -> None:
        """As many batches of each oracle that prefers them as the pool has slots, of what was submitted until now."""
        for settings, _, _ in list(self._waiting.values()):
            asked = sum(batch.settings == settings for batch in self._batches)
            if asked >= self._pool.slots(settings.resources.gpus > 0):
                continue
            keys = [key for key, (same, _, _) in self._waiting.items() if same == settings]
            chosen = [self._waiting.pop(key)[1:] for key in keys[: settings.preferred_batch]]
            if chosen:
                self._ask(settings, chosen)

    def _advance(self, timeout: float | None) -> list[Outcome]:
        self._form_batches()
        self._pool.work(lambda: any(batch.call.future.done() for batch in self._batches), timeout)
        ended = [batch for batch in self._batches if batch.call.future.done()]
        self._batches = [batch for batch in self._batches if batch not in ended]
        return [outcome for batch in ended for outcome in self._outcomes(batch)]

    def _outcomes(self, batch: Batch) -> list[Outcome]:
        """What came of a batch; when it hung or lost its worker twice, what is missing is asked again one by one."""
        error = batch.call.future.exception()
        if error is None:
            return list(batch.call.future.result())
        outcomes = []
        for request, attempt in batch.asked:
            written = find_outcome(self.folder, request.key, attempt) if len(batch.asked) > 1 else None
            if written is not None:
                outcomes.append(written)
            elif isinstance(error, WorkerLostError | OverdueError) and len(batch.asked) > 1:
                self._ask(batch.settings, [(request, attempt)])
            else:
                outcomes.append(_failure(batch, request, error))
        return outcomes

    def _stop(self, ticket: Ticket) -> bool:
        if self._waiting.pop(ticket.key, None) is not None:
            return True
        batch = next((batch for batch in self._batches if batch.holds(ticket.key)), None)
        if batch is None or not self._pool.cancel(batch.call):
            return False
        self._batches.remove(batch)
        for request, attempt in batch.asked:
            if request.key != ticket.key:
                self._start(batch.settings, request, attempt)
        return True

    def _in_process(self) -> list[RunningTask]:
        batches = list(self._batches)
        tasks = [RunningTask.of(r, *self._pool.where(b.call)) for b in batches for r, _ in b.asked]
        tasks += [RunningTask.of(request) for _, request, _ in list(self._waiting.values())]
        return sorted(tasks, key=lambda task: task.seconds is None)


def evaluate_apart(
    settings: OracleSettings, asked: tuple[tuple[Request, int], ...], folder: Path
) -> list[Outcome]:
    """`evaluate_together` in a process of its own, whose whole output goes to the log of the first one's attempt."""
    first, attempt = asked[0]
    with descriptors_to(attempt_folder(folder, first.key, attempt)):
        return evaluate_together(settings, asked, folder)


def _failure(batch: Batch, request: Request, error: BaseException) -> Outcome:
    message = f"{request.oracle}, {request.material.formula}: {error}"
    if isinstance(error, OverdueError):
        # A walltime goes before the limit, which then is nothing to raise.
        limit = (
            "limits.seconds_per_evaluation" if batch.settings.walltime is None else "the oracle's walltime"
        )
        return failed(request, FailureKind.TIMEOUT, f"{message} (raise {limit})", batch.call.seconds)
    kind = FailureKind.WORKER_LOST if isinstance(error, WorkerLostError) else FailureKind.ERROR
    return failed(request, kind, message)
