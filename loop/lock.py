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
    from sqlalchemy import URL, Connection

LOCK_FILE = "driver.lock"
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
    believed only while the lock is held. Where the campaign's state is in another `database` (a URL), a lock
    there keeps drivers with other run folders away: a file beside an SQLite database, an advisory lock in
    PostgreSQL.
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
            entered.enter_context(_file_lock(self._folder / LOCK_FILE, str(self._folder), me))
            if self._database is not None:
                entered.enter_context(_database_lock(self._database, self._campaign, me))
            self._exit = entered.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exit.close()


def holder(folder: Path) -> Holder | None:
    """Who drives the run folder now; None when nobody does, or when that cannot be told."""
    lock = folder / LOCK_FILE
    if not lock.exists():
        return None
    with suppress(Timeout, OSError), FileLock(lock).acquire(blocking=False):
        return None
    return _read_note(lock)


@contextmanager
def _file_lock(path: Path, place: str, me: Holder) -> Iterator[None]:
    lock = FileLock(path)
    try:
        lock.acquire(timeout=PATIENCE)
    except Timeout:
        raise LockHeldError(_refusal(place, str(_read_note(path) or "another process"))) from None
    except OSError as error:
        raise CampaignError(f"{path}: cannot be locked ({error}); check the rights of its folder") from error
    note = path.with_suffix(".json")
    try:
        note.write_text(json.dumps(asdict(me)), encoding="utf-8")
        yield
        note.unlink(missing_ok=True)
    finally:
        lock.release()


def _refusal(place: str, who: str) -> str:
    return f"{place} is already driven by {who}; wait until it is done, or stop it"


def _read_note(lock: Path) -> Holder | None:
    try:
        return Holder(**json.loads(lock.with_suffix(".json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


@contextmanager
def _database_lock(database: str, campaign: str, me: Holder) -> Iterator[None]:
    from loop.database.connection import database_url, told

    url = database_url(database)
    key = sha256(f"matloop driver of {campaign}".encode()).digest()[:8]
    place = f"{told(url)}: campaign {campaign!r}"
    if url.get_backend_name() == "sqlite":
        file = Path(str(url.database))
        file.parent.mkdir(parents=True, exist_ok=True)
        lock = _file_lock(file.with_name(f"{file.name}.{key.hex()}.lock"), place, me)
    else:
        lock = _server_lock(url, int.from_bytes(key, signed=True), place, me)
    with lock:
        yield


@contextmanager
def _server_lock(url: URL, key: int, place: str, me: Holder) -> Iterator[None]:
    """Holds a connection whose end, however it comes, is the end of the lock."""
    from sqlalchemy import NullPool, text

    from loop.database.connection import server_engine, told
    from loop.database.errors import told_plainly

    name = f"matloop {me.pid} {me.since} {me.host}"[:63]
    with ExitStack() as held:
        with told_plainly(told(url)):
            engine = server_engine(
                url,
                poolclass=NullPool,
                isolation_level="AUTOCOMMIT",
                connect_args={"application_name": name, "keepalives_idle": 60, "keepalives_interval": 10},
            )
            connection = held.enter_context(engine.connect())
            # The server, too, has to notice when the driver's machine is gone.
            connection.execute(text("SET tcp_keepalives_idle = 60"))
            connection.execute(text("SET tcp_keepalives_interval = 10"))
            if not connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": key}):
                raise LockHeldError(_refusal(place, _server_holder(connection, key)))
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
