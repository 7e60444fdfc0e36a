"""One driver at a time for a run folder, and for a campaign in a shared PostgreSQL."""

from __future__ import annotations

import json
import os
import socket
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from filelock import FileLock, Timeout

from loop.errors import CampaignError

LOCK_FILE = "driver.lock"
NOTE_FILE = "driver.json"


@dataclass(frozen=True)
class Holder:
    """Who drives a campaign: host, process id, and since when (UTC, ISO 8601)."""

    host: str
    pid: int
    since: str

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} since {self.since}"


class LockHeldError(CampaignError):
    """Another driver has the campaign; the message says who."""


class DriverLock:
    """The right to drive a run folder, held from `with` to its end or until the process dies in any way.

    The lock is the operating system's on `driver.lock`; `driver.json` beside it only tells who holds it, and is
    believed only while the lock is held.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = FileLock(folder / LOCK_FILE)

    def __enter__(self) -> Self:
        try:
            self._lock.acquire(blocking=False)
        except Timeout:
            who = _read_note(self._folder)
            raise LockHeldError(
                f"{self._folder}: already driven by {who or 'another process'}; wait for it or stop it"
            ) from None
        note = self._folder / NOTE_FILE
        holder = Holder(socket.gethostname(), os.getpid(), datetime.now(UTC).isoformat(timespec="seconds"))
        note.write_text(json.dumps(asdict(holder)), encoding="utf-8")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        (self._folder / NOTE_FILE).unlink(missing_ok=True)
        self._lock.release()


def holder(folder: Path) -> Holder | None:
    """Who drives the run folder now; None when nobody does."""
    if not (folder / LOCK_FILE).exists():
        return None
    probe = FileLock(folder / LOCK_FILE)
    with suppress(Timeout), probe.acquire(blocking=False):
        return None
    return _read_note(folder)


def _read_note(folder: Path) -> Holder | None:
    try:
        return Holder(**json.loads((folder / NOTE_FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
