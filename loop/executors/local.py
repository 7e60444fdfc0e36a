"""Evaluations on this machine's cores: one worker process per core, with one thread, models kept loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from loop.executors.base import ExecutorSettings
from loop.executors.pool import WorkerPool
from loop.executors.pooled import PoolDispatcher

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


class LocalDispatcher(PoolDispatcher):
    """Keeps this machine's workers busy. What they print beside evaluations is in workers.log."""

    def __init__(self, folder: Path, seconds_per_evaluation: float, workers: int) -> None:
        # The pool writes its log there before the base class could make the folder.
        folder.mkdir(parents=True, exist_ok=True)
        super().__init__(folder, seconds_per_evaluation, WorkerPool(workers, folder.absolute() / WORKERS_LOG))
        self.workers = workers
