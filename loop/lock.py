"""One driver at a time for a run folder, and for a campaign in a shared PostgreSQL."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from filelock import FileLock, Timeout

from loop.errors import CampaignError

if TYPE_CHECKING:
    from sqlalchemy import Connection

LOCK_FILE = "driver.lock"
NOTE_FILE = "driver.json"
PATIENCE = 0.5
"""Seconds a driver tries: `holder` takes the lock for an instant to see whether it is free."""


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

    The lock is the operating system's on `driver.lock`; `driver.json` beside it tells who holds it, and is
    believed only while the lock is held. Where the campaign lives in a PostgreSQL `database` (a URL), an
    advisory lock there keeps drivers with other run folders away as well.
    """

    def __init__(self, folder: Path, database: str | None = None, campaign: str = "") -> None:
        self._folder = folder
        self._database = database
        self._campaign = campaign
        self._exit = ExitStack()

    def __enter__(self) -> Self:
        """Raises LockHeldError, saying who holds it, instead of waiting for its end."""
        me = Holder(socket.gethostname(), os.getpid(), datetime.now(UTC).isoformat(timespec="seconds"))
        with ExitStack() as entered:
            entered.enter_context(_folder_lock(self._folder, me))
            if self._database is not None and self._database.startswith("postgres"):
                entered.enter_context(_server_lock(self._database, self._campaign, me))
            self._exit = entered.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exit.close()


def holder(folder: Path) -> Holder | None:
    """Who drives the run folder now; None when nobody does, or when that cannot be told."""
    if not (folder / LOCK_FILE).exists():
        return None
    probe = FileLock(folder / LOCK_FILE)
    with suppress(Timeout, OSError), probe.acquire(blocking=False):
        return None
    return _read_note(folder)


@contextmanager
def _folder_lock(folder: Path, me: Holder) -> Iterator[None]:
    lock = FileLock(folder / LOCK_FILE)
    try:
        lock.acquire(timeout=PATIENCE)
    except Timeout:
        raise LockHeldError(_refusal(str(folder), str(_read_note(folder) or "another process"))) from None
    except OSError as error:
        raise CampaignError(f"{folder / LOCK_FILE}: cannot be locked ({error}); check its rights") from error
    note = folder / NOTE_FILE
    try:
        note.write_text(json.dumps(asdict(me)), encoding="utf-8")
        yield
        note.unlink(missing_ok=True)
    finally:
        lock.release()


def _refusal(place: str, who: str) -> str:
    return f"{place} is already driven by {who}; wait until it is done, or stop it"


def _read_note(folder: Path) -> Holder | None:
    try:
        return Holder(**json.loads((folder / NOTE_FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


@contextmanager
def _server_lock(database: str, campaign: str, me: Holder) -> Iterator[None]:
    """Holds a connection whose end, however it comes, is the end of the lock."""
    from sqlalchemy import NullPool, create_engine, text

    from loop.database.connection import database_url, told
    from loop.database.errors import told_plainly

    url = database_url(database)
    name = f"matloop {me.pid} {me.since} {me.host}"[:63]
    engine = create_engine(
        url,
        poolclass=NullPool,
        isolation_level="AUTOCOMMIT",
        connect_args={"application_name": name, "keepalives_idle": 60, "keepalives_interval": 10},
    )
    key = int.from_bytes(sha256(f"matloop driver of {campaign}".encode()).digest()[:8], signed=True)
    with ExitStack() as held:
        with told_plainly(told(url)):
            connection = held.enter_context(engine.connect())
            connection.execute(text("SET tcp_keepalives_idle = 60"))
            connection.execute(text("SET tcp_keepalives_interval = 10"))
            if not connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": key}):
                raise LockHeldError(_refusal(f"{told(url)}: {campaign}", _server_holder(connection, key)))
        yield


def _server_holder(connection: Connection, key: int) -> str:
    from sqlalchemy import text

    query = text(
        "SELECT a.application_name FROM pg_locks l JOIN pg_stat_activity a USING (pid) "
        "WHERE l.locktype = 'advisory' AND l.granted "
        "AND (l.classid::bigint << 32 | l.objid::bigint) = :key AND l.objsubid = 1"
    )
    found = connection.scalar(query, {"key": key})
    program, pid, since, host = (*str(found).split(" ", 3), "", "", "", "")[:4]
    return str(Holder(host, int(pid), since)) if program == "matloop" and pid.isdigit() else "another process"
