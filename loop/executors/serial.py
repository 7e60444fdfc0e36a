"""One evaluation after the other in the driver's process: for tests, debugging, exact repeatability."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from loop.executors.base import Dispatcher, ExecutorSettings
from loop.executors.logs import streams_to
from loop.executors.records import attempt_folder
from loop.executors.tasks import RunningTask, evaluate_together
from materials.evaluation import Outcome, Request, Ticket
from oracles.base import OracleSettings


class SerialExecutorSettings(ExecutorSettings):
    """Runs evaluations in the driver's process, in the order they were asked for. Hangs are not caught."""

    kind: Literal["serial"] = "serial"

    def build(self, folder: Path, seconds_per_evaluation: float) -> SerialDispatcher:
        return SerialDispatcher(folder, seconds_per_evaluation)


class SerialDispatcher(Dispatcher):
    """Evaluates the oldest request inside `wait`, one per call, or a batch where its oracle prefers that."""

    def __init__(self, folder: Path, seconds_per_evaluation: float) -> None:
        super().__init__(folder, seconds_per_evaluation)
        self._queue: dict[str, tuple[OracleSettings, Request, int]] = {}
        self._since: float | None = None

    def map(self, function: Callable[..., Any], work: Sequence[tuple[Any, ...]]) -> list[Any]:
        return [function(*arguments) for arguments in work]

    def close(self) -> None:
        self._queue.clear()

    def _preload(self, settings: Sequence[OracleSettings]) -> None:
        """Nothing to hide the loading behind: oracles are built with their first request."""

    def _start(self, settings: OracleSettings, request: Request, attempt: int) -> None:
        self._queue[request.key] = (settings, request, attempt)

    def _advance(self, timeout: float | None) -> list[Outcome]:
        if not self._queue:
            return []
        settings, first, attempt = next(iter(self._queue.values()))
        same = [task[1:] for task in self._queue.values() if task[0] == settings]
        asked = same[: settings.preferred_batch]
        self._since = time.monotonic()
        with streams_to(attempt_folder(self.folder, first.key, attempt)):
            outcomes = evaluate_together(settings, asked, self.folder)
        self._since = None
        for request, _ in asked:
            del self._queue[request.key]
        return outcomes

    def _stop(self, ticket: Ticket) -> bool:
        return self._queue.pop(ticket.key, None) is not None

    def _in_process(self) -> list[RunningTask]:
        tasks = [RunningTask.of(request) for _, request, _ in list(self._queue.values())]
        if tasks and self._since is not None:
            tasks[0] = replace(tasks[0], seconds=time.monotonic() - self._since, worker=os.getpid())
        return tasks
