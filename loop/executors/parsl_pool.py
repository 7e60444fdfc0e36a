"""A pool whose workers are on other machines: what `WorkerPool` does here, through Parsl's jobs."""

from __future__ import annotations

import json
import logging
import math
import pickle
import socket
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from loop.errors import NoWorkersError
from loop.executors.parsl_jobs import CPU, GPU, Jobs
from loop.executors.parsl_task import DONE, Task, supervise
from loop.executors.pool import Call, WorkerLostError

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.5
"""How often the driver looks for notes of workers, and whether there are jobs."""


@dataclass
class Sent:
    """A call on its way: the task that carries it, and since when which process does it, on which host."""

    task: Task
    future: Future[Any]
    since: float | None = None
    host: str | None = None
    process: int | None = None


class ParslPool:
    """Calls functions on the workers of a cluster; those that need a GPU on workers that have one each.

    A call whose worker is lost is sent once more. `notes` is a folder that all nodes see.
    """

    def __init__(self, jobs: Jobs, notes: Path, slots: dict[str, int]) -> None:
        self._jobs = jobs
        self._notes = notes
        self._slots = slots
        self._preloads: dict[str, list[bytes]] = {CPU: [], GPU: []}
        self._sent: dict[Call, Sent] = {}
        self._dropped: list[Sent] = []
        self._ended: SimpleQueue[tuple[Call, Future[Any]]] = SimpleQueue()
        self._looked = -math.inf
        notes.mkdir(parents=True, exist_ok=True)
        for note in notes.iterdir():  # of a driver that was killed
            note.unlink(missing_ok=True)

    def preload(self, function: Callable[..., Any], *arguments: Any, on_gpu: bool = False) -> None:
        """Calls a function first in every worker of its pool, and asks for the first job."""
        pool = GPU if on_gpu else CPU
        self._preloads[pool].append(pickle.dumps((function, arguments)))
        self._jobs.start(pool)

    def submit(
        self,
        seconds: float,
        function: Callable[..., Any],
        *arguments: Any,
        weight: float = 1.0,
        on_gpu: bool = False,
        files: Sequence[Path] = (),
    ) -> Call:
        """Sends a call; see `WorkerPool.submit`."""
        call = Call(function, arguments, seconds, weight, on_gpu=on_gpu)
        call.files = tuple(files)
        self._send(call)
        return call

    def slots(self, on_gpu: bool) -> int:
        """The workers of a pool, at most."""
        return self._slots[GPU if on_gpu else CPU]

    def work(self, until: Callable[[], bool], timeout: float | None = None) -> None:
        """Goes on until the condition holds, all calls have ended, or the timeout has passed.

        Raises NoWorkersError when there can be no workers: no job starts, a node cannot import this package or does not
        see the run folder.
        """
        end = math.inf if timeout is None else time.monotonic() + timeout
        while True:
            self._look()
            while not self._ended.empty():
                self._attend(*self._ended.get())
            now = time.monotonic()
            if until() or now >= end or not self._sent:
                return
            with suppress(Empty):
                self._attend(*self._ended.get(timeout=min(LOOK_SECONDS, end - now)))

    def cancel(self, call: Call) -> bool:
        """True when the call will not end any more; a worker that is at it stops within seconds."""
        sent = self._sent.get(call)
        if sent is None or sent.future.done():
            return False
        sent.task.cancelled.touch()
        self._dropped.append(self._sent.pop(call))
        return True

    def where(self, call: Call) -> tuple[float | None, int | None]:
        """Seconds since a call started, and the process id where that is on this machine; see `WorkerPool.where`."""
        sent = self._sent.get(call)
        if sent is None or sent.since is None:
            return None, None
        here = sent.host == socket.gethostname()
        return time.monotonic() - sent.since, sent.process if here else None

    def close(self) -> None:
        """Cancels all jobs, whatever they do."""
        self._jobs.close()
        for sent in [*self._sent.values(), *self._dropped]:
            _clean(sent)
        self._sent.clear()
        self._dropped.clear()

    def _send(self, call: Call) -> None:
        pool = GPU if call.on_gpu else CPU
        task = Task(
            name=uuid.uuid4().hex,
            folder=str(self._notes),
            preloads=tuple(self._preloads[pool]),
            call=pickle.dumps((call.function, call.arguments)),
            seconds=call.seconds,
            files=tuple(map(str, call.files)),
        )
        # Heavy first; what lost its worker comes last, when it delays nothing.
        sent = self._sent[call] = Sent(task, self._jobs.submit(pool, -call.weight, supervise, task))
        sent.future.add_done_callback(lambda future: self._ended.put((call, future)))

    def _attend(self, call: Call, future: Future[Any]) -> None:
        """Passes an ended call its result or exception, or sends it again."""
        sent = self._sent.get(call)
        if sent is None or sent.future is not future:  # cancelled before
            return
        error = future.exception()
        reason = None if error is None else loss(error)
        if error is not None and reason is None:
            self._ended.put((call, future))  # whoever asks again is told again
            self._jobs.check()  # says more where there is no job at all
            raise NoWorkersError(
                f"no worker of the executor parsl can work: {type(error).__name__}: {error}"
            ) from error
        del self._sent[call]
        _clean(sent)
        if reason is not None:
            self._lose(call, reason)
            return
        kind, data = future.result()
        answer = pickle.loads(data)
        if kind == DONE:
            call.future.set_result(answer)
        elif isinstance(answer, WorkerLostError):
            self._lose(call, str(answer.args[0]))
        else:
            call.future.set_exception(answer)

    def _lose(self, call: Call, reason: str) -> None:
        if call.lost_before:
            call.future.set_exception(WorkerLostError(reason))
            return
        log.warning("a worker was lost (%s); what it did is repeated once", reason)
        call.lost_before, call.weight = True, -1.0
        self._send(call)

    def _look(self) -> None:
        """Reads the notes of workers, not too often: a folder that many machines share is slow."""
        if time.monotonic() < self._looked + LOOK_SECONDS:
            return
        self._looked = time.monotonic()
        self._jobs.check()
        names = {path.name for path in self._notes.iterdir()}
        for sent in self._sent.values():
            if sent.since is None and sent.task.note.name in names:
                with suppress(OSError, ValueError, KeyError):
                    note = json.loads(sent.task.note.read_text(encoding="utf-8"))
                    sent.host, sent.process = note["host"], note["process"]
                    sent.since = time.monotonic()
        for sent in [sent for sent in self._dropped if sent.future.done()]:
            self._dropped.remove(sent)
            _clean(sent)


def loss(error: BaseException) -> str | None:
    """How a worker or its whole node was lost, in words; None for any other error."""
    from parsl.executors.high_throughput.errors import ManagerLost, WorkerLost

    if isinstance(error, WorkerLost):
        return f"worker {error.worker_id} on {error.hostname} ended"
    if isinstance(error, ManagerLost):
        return (
            f"no sign of life from {error.hostname}, whose job ended, was cancelled or reached its walltime"
        )
    return None


def _clean(sent: Sent) -> None:
    with suppress(OSError):
        sent.task.note.unlink(missing_ok=True)
        sent.task.cancelled.unlink(missing_ok=True)
