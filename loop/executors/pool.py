"""Worker processes of which any one may die, hang or be cancelled without disturbing the others."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from loop.errors import NoWorkersError
from loop.executors.worker import Worker

log = logging.getLogger(__name__)

START_SECONDS = 300.0
"""The longest a worker may take to start and to load models; only a hang takes this long."""
STARTS = 3
"""So many workers lost before they were ready, in a row, and the pool gives up."""


class WorkerLostError(RuntimeError):
    """A call lost its worker twice; made with the reason of the second loss."""

    def __str__(self) -> str:
        return f"its worker process was lost twice ({', '.join(map(str, self.args))})"


class OverdueError(RuntimeError):
    """A call took longer than it may, and its worker was killed."""


@dataclass(eq=False)
class Call:
    """A function to be called in some worker; `future` gets its end while the pool works."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    seconds: float
    weight: float = 1.0
    future: Future[Any] = field(default_factory=Future)
    lost_before: bool = False
    on_gpu: bool = False
    """Done by the first worker alone, because two processes on one GPU would take its memory from one another."""
    files: tuple[Path, ...] = ()
    """What it writes one after the other; the call has its `seconds` anew whenever one more of them is there."""
    seen: int = 0

    def goes_on(self) -> bool:
        """Whether it has done more since it was asked last."""
        before, self.seen = self.seen, sum(file.is_file() for file in self.files)
        return self.seen > before


class Seat:
    """A place for a worker: who sits there now, and with what call."""

    def __init__(self, log_file: Path, preloads: list[tuple[Any, ...]]) -> None:
        self.worker = Worker(log_file)
        self.since = self.heard = time.monotonic()
        self.starting: list[Future[Any]] = [self.worker.started]
        self.starting += [self.worker.submit(*preload) for preload in preloads]
        self.call: Call | None = None
        self.answer: Future[Any] | None = None

    @property
    def started(self) -> bool:
        """Whether all that comes before the first call is done."""
        return all(future.done() for future in self.starting)

    @property
    def broken(self) -> bool:
        """Whether the worker was lost."""
        futures = [*self.starting, *([self.answer] if self.answer else [])]
        if any(f.done() and isinstance(f.exception(), BrokenProcessPool) for f in futures):
            return True
        return self.call is None and not self.worker.process.is_alive()

    @property
    def limit(self) -> float:
        """When it will have taken too long, on the monotonic clock."""
        if self.call is not None:
            return self.heard + self.call.seconds
        return math.inf if self.started else self.since + START_SECONDS

    @property
    def awaited(self) -> list[Future[Any]]:
        """What is not done yet."""
        return [f for f in (*self.starting, self.answer) if f is not None and not f.done()]

    def take(self, call: Call) -> None:
        """Starts a call. Raises BrokenProcessPool."""
        self.answer = self.worker.submit(call.function, *call.arguments)
        self.call, self.since = call, time.monotonic()
        self.heard = self.since

    def give(self) -> None:
        """Passes a finished call its result or exception, and is free again."""
        if self.call is None or self.answer is None or not self.answer.done():
            return
        error = self.answer.exception()
        if error is None:
            self.call.future.set_result(self.answer.result())
        else:
            self.call.future.set_exception(error)
        self.call = self.answer = None


class WorkerPool:
    """Calls functions in `size` workers, the heaviest waiting call first. It works only inside `work`.

    Heavy first keeps all workers busy to the end (Graham, SIAM J. Appl. Math. 1969, 17, 416).
    A call whose worker is lost is called once more, with nothing beside it, because the usual reason is
    memory.
    """

    def __init__(self, size: int, log_file: Path) -> None:
        self._log_file = log_file
        self._preloads: list[tuple[bool, tuple[Any, ...]]] = []
        self._queue: list[Call] = []
        self._failed_starts = 0
        self._seats = [self._seat(place) for place in range(size)]

    def preload(self, function: Callable[..., Any], *arguments: Any, on_gpu: bool = False) -> None:
        """Calls a function first in every worker that may need it, also in those that will replace lost ones."""
        self._preloads.append((on_gpu, (function, *arguments)))
        for place, seat in enumerate(self._seats):
            if seat.broken or (on_gpu and place > 0):
                continue
            try:
                seat.starting.append(seat.worker.submit(function, *arguments))
            except BrokenProcessPool:  # died while idle, unnoticed until now
                self._replace(place)

    def submit(
        self,
        seconds: float,
        function: Callable[..., Any],
        *arguments: Any,
        weight: float = 1.0,
        on_gpu: bool = False,
        files: Sequence[Path] = (),
        lost_before: bool = False,
    ) -> Call:
        """Queues a call that may take so many seconds; `weight` is a guess of how long it takes, in any unit.

        With `files`, which it writes one after the other, it may take them for each. A call that was `lost_before` is
        not repeated when it loses its worker.
        The call's future ends with the result, what the function raised, WorkerLostError or OverdueError.
        """
        call = Call(function, arguments, seconds, weight, lost_before=lost_before, on_gpu=on_gpu)
        call.files = tuple(files)
        self._queue.append(call)
        self._hand_out()
        return call

    def slots(self, on_gpu: bool) -> int:
        """How many batches of one oracle are worth asking at the same time: they share the machine, so one."""
        return 1

    def work(self, until: Callable[[], bool], timeout: float | None = None) -> None:
        """Goes on until the condition holds, all calls have ended, or the timeout has passed.

        Raises NoWorkersError when workers cannot be started.
        """
        end = math.inf if timeout is None else time.monotonic() + timeout
        while True:
            for place in range(len(self._seats)):
                self._attend(place)
            self._hand_out()
            now = time.monotonic()
            if until() or now >= end or not (self._queue or any(s.call for s in self._seats)):
                return
            nearest = min(end, *(seat.limit for seat in self._seats))
            awaited = [future for seat in self._seats for future in seat.awaited]
            wait(awaited, None if nearest == math.inf else max(0.0, nearest - now), FIRST_COMPLETED)

    def cancel(self, call: Call) -> bool:
        """True when the call will not end any more; a running one loses its worker."""
        if call in self._queue:
            self._queue.remove(call)
            return True
        for place, seat in enumerate(self._seats):
            if seat.call is call and not (seat.answer and seat.answer.done()):
                self._replace(place)
                return True
        return False

    def where(self, call: Call) -> tuple[float | None, int | None]:
        """Seconds since a call started and the process id it runs in; None, None while it waits."""
        for seat in list(self._seats):
            if seat.call is call:
                return time.monotonic() - seat.since, seat.worker.process.pid
        return None, None

    def close(self) -> None:
        """Ends all workers at once, whatever they do."""
        seats, self._seats = self._seats, []
        self._queue.clear()
        for seat in seats:
            seat.worker.kill()

    def _seat(self, place: int) -> Seat:
        return Seat(self._log_file, [call for on_gpu, call in self._preloads if place == 0 or not on_gpu])

    def _attend(self, place: int) -> None:
        seat = self._seats[place]
        call = seat.call
        if seat.broken:
            reason = seat.worker.how_it_ended()
            self._replace(place)
            if call is not None:
                self._lose(call, reason)
        elif seat.answer is not None and seat.answer.done():
            seat.give()
        elif time.monotonic() >= seat.limit:
            if call is not None and call.goes_on():
                seat.heard = time.monotonic()
                return
            self._replace(place)
            if call is not None:
                call.future.set_exception(OverdueError(f"no answer for {call.seconds:g} s; killed"))
        elif seat.started:
            self._failed_starts = 0

    def _lose(self, call: Call, reason: str) -> None:
        if call.lost_before:
            call.future.set_exception(WorkerLostError(reason))
            return
        log.warning("a worker process was lost (%s); what it did is repeated once, alone", reason)
        call.lost_before, call.weight = True, -1.0  # last, when it delays nothing
        self._queue.append(call)

    def _replace(self, place: int) -> None:
        seat = self._seats[place]
        seat.worker.kill()
        if not seat.started or any(isinstance(f.exception(), BrokenProcessPool) for f in seat.starting):
            self._failed_starts += 1
        if self._failed_starts >= STARTS:
            raise NoWorkersError(
                f"{STARTS} worker processes in a row ended before they were ready ({seat.worker.how_it_ended()}). "
                f"See {self._log_file}, or try executor.kind=serial"
            )
        self._seats[place] = self._seat(place)

    def _hand_out(self) -> None:
        for place, seat in enumerate(self._seats):
            if not self._queue or any(s.call and s.call.lost_before for s in self._seats):
                return
            here = [call for call in self._queue if place == 0 or not call.on_gpu]
            if not here:
                continue
            heaviest = max(here, key=lambda call: call.weight)
            if heaviest.lost_before and any(s.call for s in self._seats):
                return
            if seat.call is not None or not seat.started:
                continue
            try:
                seat.take(heaviest)
                self._queue.remove(heaviest)
            except BrokenProcessPool:  # died while idle
                self._replace(place)
