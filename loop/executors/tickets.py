"""Oracles outside of this process (a robot, a remote queue): submitted to and polled by the driver."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from pathlib import Path

from loop.executors.records import attempt_folder, write_outcome
from loop.executors.tasks import RunningTask, checked, failed_by
from materials.evaluation import Outcome, Request, Ticket
from oracles.base import TicketOracle, TicketOracleSettings
from oracles.lab.base import LabQueue, QueuedOracleSettings

log = logging.getLogger(__name__)

ATTEMPT = "attempt"
"""Where a ticket's handle carries the number of the attempt, beside what the oracle put there."""
UNSENT = "unsent"
"""Where a ticket's handle says that the oracle could not be reached. It is asked again under the same key, since what
seemed lost may have arrived: by its contract an oracle then gives the running ticket."""
LONGEST_PAUSE = 60.0
"""Seconds between attempts to reach an oracle; the first is `FIRST_PAUSE`, each is twice the one before."""
FIRST_PAUSE = 1.0


@dataclass
class _Open:
    settings: TicketOracleSettings
    request: Request
    ticket: Ticket
    since: float
    pause: float = 0.0
    not_before: float = 0.0


class TicketDesk:
    """Keeps the open tickets of a driver. Each oracle is built once, in the driver's process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.queue: LabQueue | None = None
        self._oracles: dict[str, TicketOracle] = {}
        self._open: dict[str, _Open] = {}

    def submit(self, settings: TicketOracleSettings, request: Request, attempt: int) -> Ticket:
        """Asks the oracle and keeps its ticket.

        Where it cannot be reached now (OSError), the request waits here and is asked again until it is taken, also by
        a later driver that resumes this ticket. What else the oracle raises is raised.
        """
        self.resume(settings, request, Ticket(request.oracle, request.key, {UNSENT: True, ATTEMPT: attempt}))
        entry = self._open[request.key]
        try:
            self._send(entry)
        except OSError as error:
            log.warning("oracle %s, request %s: cannot be sent now: %s", request.oracle, request.key, error)
        except Exception:
            del self._open[request.key]
            raise
        return entry.ticket

    def _send(self, entry: _Open) -> None:
        """Asks the oracle what it has not been asked yet."""
        handle = entry.ticket.handle
        if UNSENT not in handle:
            return
        entry.pause = min(2 * entry.pause or FIRST_PAUSE, LONGEST_PAUSE)
        entry.not_before = time.monotonic() + entry.pause
        (given,) = self._oracle(entry.settings).submit([entry.request])
        entry.ticket = Ticket(given.oracle, given.key, {**given.handle, ATTEMPT: handle[ATTEMPT]})

    def resume(self, settings: TicketOracleSettings, request: Request, ticket: Ticket) -> None:
        """Polls a ticket from now on."""
        self._open[ticket.key] = _Open(settings, request, ticket, time.monotonic())

    def poll(self) -> list[Outcome]:
        """The outcomes that are there now, recorded on disk like those of workers."""
        return [outcome for entry in list(self._open.values()) if (outcome := self._poll(entry)) is not None]

    def _poll(self, entry: _Open) -> Outcome | None:
        request, settings = entry.request, entry.settings
        if UNSENT in entry.ticket.handle and time.monotonic() < entry.not_before:
            return None
        try:
            self._send(entry)
            answer = self._oracle(settings).poll(entry.ticket)
        except OSError as error:  # an outage outside; the answer is not lost, it comes later
            log.warning("oracle %s, request %s: cannot be asked now: %s", request.oracle, request.key, error)
            return None
        except Exception as error:
            answer = failed_by(error, request)
        if answer is None:
            return None
        del self._open[request.key]
        outcome = checked([answer], settings, request)
        attempt = attempt_folder(self._folder, request.key, entry.ticket.handle.get(ATTEMPT, 1))
        try:
            attempt.mkdir(parents=True, exist_ok=True)
            write_outcome(outcome, attempt)
        except OSError as error:
            log.warning("request %s: its outcome could not be written to %s: %s", request.key, attempt, error)
        return outcome

    def holds_key(self, key: str) -> bool:
        """Whether a ticket of this key is polled here."""
        return key in self._open

    def holds_any(self) -> bool:
        """Whether any ticket is open."""
        return bool(self._open)

    def cancel(self, ticket: Ticket) -> bool:
        """Asks the oracle to stop; when it will, the ticket is forgotten.

        What could not be sent may have arrived all the same, so it is sent again first: only that gives a ticket under
        which it can be stopped.
        """
        entry = self._open[ticket.key]
        try:
            self._send(entry)
            stopped = self._oracle(entry.settings).cancel(entry.ticket)
        except OSError as error:
            log.warning(
                "oracle %s, request %s: cannot be cancelled now: %s", ticket.oracle, ticket.key, error
            )
            return False
        if stopped:
            del self._open[ticket.key]
        return stopped

    def running(self) -> list[RunningTask]:
        """The open tickets."""
        now = time.monotonic()
        return [RunningTask.of(e.request, now - e.since, outside=True) for e in self._open.values()]

    def _oracle(self, settings: TicketOracleSettings) -> TicketOracle:
        name = settings.model_dump_json()  # not its fingerprint: two folders or servers may mean the same
        if name not in self._oracles:
            self._oracles[name] = self._built(settings)
        return self._oracles[name]

    def _built(self, settings: TicketOracleSettings) -> TicketOracle:
        if not isinstance(settings, QueuedOracleSettings):
            return settings.build()
        if self.queue is None:
            raise RuntimeError(
                f"an oracle of kind {settings.kind} works on a campaign's queue; run it in a campaign"
            )
        return settings.build_on(self.queue)
