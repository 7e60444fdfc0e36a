"""The contract of an executor: the campaign submits requests, waits for outcomes, and cancels.

A dispatcher is used by one thread, the driver's. It starts no thread of its own that touches an outcome, so
work is handed out and deadlines are kept while the driver is inside `wait` or `map`.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Self

from loop.executors.records import find_outcome
from loop.executors.tasks import RunningTask
from loop.executors.tickets import TicketDesk
from materials.evaluation import Outcome, Request, Ticket
from materials.settings import Settings
from oracles.base import OracleSettings, TicketOracleSettings
from oracles.lab.base import LabQueue

__all__ = ["Dispatcher", "ExecutorSettings", "RunningTask"]

POLL_SECONDS = 1.0
"""How often answers from outside are looked for while the driver waits."""


class Dispatcher(ABC):
    """Hands requests to oracles and collects what comes back. A subclass says where oracles run.

    Oracles whose settings are `TicketOracleSettings` never run in a worker: the driver submits to them and
    polls them, whatever the executor, and their outcomes arrive in `wait` like all others.
    """

    def __init__(self, folder: Path, seconds_per_evaluation: float) -> None:
        self.folder = folder.absolute()
        self.seconds_per_evaluation = seconds_per_evaluation
        self._desk = TicketDesk(self.folder)
        self._inside: set[str] = set()
        self.folder.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def work_on(self, queue: LabQueue) -> None:
        """Hands in the queue on which lab oracles of the campaign work."""
        self._desk.queue = queue

    def warm(self, settings: Iterable[OracleSettings]) -> None:
        """Builds these oracles where they will run, without waiting; calling it early hides the loading."""
        self._preload([s for s in settings if not isinstance(s, TicketOracleSettings)])

    def submit(self, settings: OracleSettings, request: Request, attempt: int) -> Ticket:
        """Starts (or queues) an evaluation that writes into `folder/<key>/<attempt>/`.

        Raises ValueError when the request's key is already running. An oracle outside that cannot be reached now is
        asked later.
        """
        if request.key in self._inside or self._desk.holds_key(request.key):
            raise ValueError(
                f"request {request.key} ({request.oracle}, {request.candidate.formula}) runs already"
            )
        if isinstance(settings, TicketOracleSettings):
            return self._desk.submit(settings, request, attempt)
        self._start(settings, request, attempt)
        self._inside.add(request.key)
        return Ticket(request.oracle, request.key, {"attempt": attempt, **self._whereabouts(settings)})

    def resume(self, settings: OracleSettings, request: Request, ticket: Ticket) -> bool:
        """Takes up an earlier driver's ticket. False: it died with that driver; harvest, or submit again."""
        if not isinstance(settings, TicketOracleSettings):
            return False
        self._desk.resume(settings, request, ticket)
        return True

    def wait(self, timeout: float | None = None, outside: bool = True) -> list[Outcome]:
        """The outcomes that arrived since the last call, each once; without `outside` only those of workers.

        Blocks until there is at least one, `timeout` seconds have passed, or nothing is running any more; an
        empty list in the last two cases. Whatever goes wrong with one evaluation comes back as an outcome
        with a typed failure; it raises only when workers cannot be started at all (NoWorkersError).
        """
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            outcomes = self._desk.poll() if outside else []
            left = None if end is None else max(0.0, end - time.monotonic())
            if outcomes:
                left = 0.0
            elif self._desk.running():
                left = POLL_SECONDS if left is None else min(left, POLL_SECONDS)
            answered = self._advance(left)
            self._inside.difference_update(outcome.key for outcome in answered)
            outcomes += answered
            if outcomes or not self.running() or (end is not None and time.monotonic() >= end):
                return outcomes
            if not self._in_process():
                time.sleep(left or 0.0)

    def works(self) -> bool:
        """Whether anything in process has not come back; quick, however much it is."""
        return bool(self._inside)

    def waits_outside(self) -> bool:
        """Whether anything outside has not come back."""
        return self._desk.holds_any()

    def running(self) -> list[RunningTask]:
        """All that was submitted and has not come back: what runs, what waits, then what is outside.

        Safe to call from another thread (a progress display)."""
        return [*self._in_process(), *self._desk.running()]

    def cancel(self, ticket: Ticket) -> bool:
        """True when the evaluation will not go on and no outcome of it will arrive."""
        if self._desk.holds_key(ticket.key):
            return self._desk.cancel(ticket)
        stopped = self._stop(ticket)
        if stopped:
            self._inside.discard(ticket.key)
        return stopped

    def harvest(self, key: str, attempt: int | None = None) -> Outcome | None:
        """A valid outcome left on disk by an earlier driver's task, of one attempt or the first of any.

        A truncated file, or one that belongs to another key, is named in a warning and ignored.
        """
        return find_outcome(self.folder, key, attempt)

    @abstractmethod
    def map(self, function: Callable[..., Any], work: Sequence[tuple[Any, ...]]) -> list[Any]:
        """`function(*arguments)` for each of `work`, on all workers, in order.

        The function must be importable by name and pure: a lost worker's call is repeated once. What it
        raises is raised here; a call that loses its worker twice or exceeds its time raises RuntimeError.
        """

    @abstractmethod
    def close(self) -> None:
        """Ends everything in process at once; unfinished evaluations are left without an outcome."""

    @abstractmethod
    def _preload(self, settings: Sequence[OracleSettings]) -> None: ...

    @abstractmethod
    def _start(self, settings: OracleSettings, request: Request, attempt: int) -> None: ...

    def _whereabouts(self, settings: OracleSettings) -> dict[str, Any]:
        """What a later driver needs to know of where an evaluation runs, as JSON, in its ticket's handle."""
        return {}

    @abstractmethod
    def _advance(self, timeout: float | None) -> list[Outcome]:
        """Works or waits until an outcome arrives, the timeout passes or nothing is left to do."""

    @abstractmethod
    def _stop(self, ticket: Ticket) -> bool: ...

    @abstractmethod
    def _in_process(self) -> list[RunningTask]: ...


class ExecutorSettings(Settings):
    """The block `executor:`. Where oracles run never changes what they answer."""

    kind: str

    def build(self, folder: Path, seconds_per_evaluation: float) -> Dispatcher:
        """A dispatcher that keeps evaluations in `folder`; close it, or use it in a `with` statement.

        `seconds_per_evaluation` is a safety net against hangs, not a budget.
        """
        raise NotImplementedError
