"""Opens the database: SQLite beside the run by default, PostgreSQL where people or machines share it."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from sqlalchemy import Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from loop.database.errors import StateError, told_plainly
from loop.database.file_system import journal_mode, on_network
from loop.migrations import FOLDER, VERSION_TABLE, revisions

if TYPE_CHECKING:
    from alembic.config import Config

PATIENCE = 30.0
"""Seconds to wait for another program's write to end."""
MIGRATION_LOCK = 0x6D61746C6F6F70
"""Key of the PostgreSQL advisory lock under which tables are made: the letters of matloop."""

log = logging.getLogger(__name__)


def database_url(place: str | Path) -> URL:
    """The URL of a path or a URL. Raises StateError for a database other than SQLite and PostgreSQL."""
    if isinstance(place, Path) or "://" not in place:
        return URL.create("sqlite", database=str(Path(place).expanduser().absolute()))
    try:
        url = make_url(place)
    except ArgumentError as error:
        raise StateError(f"database: {place!r} is not an SQLAlchemy URL ({error})") from None
    if url.drivername in ("postgresql", "postgres"):
        url = url.set(drivername="postgresql+psycopg")
    if url.get_backend_name() not in ("sqlite", "postgresql"):
        raise StateError(
            f"database: {url.drivername} is not supported; use a path, sqlite:///FILE or postgresql://..."
        )
    if url.get_backend_name() == "sqlite" and url.database in (None, "", ":memory:"):
        raise StateError(
            f"database: {place!r} would be lost at the end; name a file, such as sqlite:///campaign.db"
        )
    return url


def told(url: URL) -> str:
    """How messages name a database: the file, or the URL without its password."""
    return (
        str(url.database) if url.get_backend_name() == "sqlite" else url.render_as_string(hide_password=True)
    )


def open_database(url: URL, *, create: bool) -> Engine:
    """An engine on a database whose tables are this version's; made or upgraded where necessary.

    Raises StateError where there is none and `create` is false, or where a newer version made it.
    """
    with told_plainly(told(url)):
        if url.get_backend_name() == "sqlite":
            engine = _open_sqlite(Path(str(url.database)), create)
        else:
            engine = server_engine(url)
        try:
            _upgrade(engine, told(url))
        except BaseException:
            engine.dispose()
            raise
    return engine


def open_for_viewing(url: URL) -> Engine:
    """An engine that only reads. SQLite is opened read-only; PostgreSQL transactions are READ ONLY."""
    with told_plainly(told(url)):
        engine = (_view_sqlite if url.get_backend_name() == "sqlite" else _view_server)(url)
        with engine.connect() as connection:
            current, newest = _check_revision(connection, told(url)), revisions()[-1]
    if current is None:
        raise StateError(
            f"{told(url)}: this database holds no campaign; name the campaign.db of a run folder, or "
            "run `python -m loop.campaign` on it once to begin one there"
        )
    if current != newest:
        raise StateError(
            f"{told(url)}: its tables are of revision {current}, this version reads {newest}; "
            "run `python -m loop.campaign` on it once to bring it up to date"
        )
    return engine


def server_engine(url: URL, **options: Any) -> Engine:
    """An engine on a PostgreSQL server. Raises StateError where the driver is not installed."""
    try:
        return create_engine(url, **options)
    except ModuleNotFoundError as error:
        raise StateError(
            f"{told(url)}: PostgreSQL needs {error.name}; install it with: pip install 'psycopg[binary]'"
        ) from None


def alembic_config(connection: Connection) -> Config:
    """What alembic's commands need to work on an open connection, inside its transaction."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def _open_sqlite(path: Path, create: bool) -> Engine:
    if not path.exists() and not create:
        raise StateError(f"{path}: no campaign database is there")
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind := on_network(path):
        log.warning(
            "%s lies on a network file system (%s): it is kept with journal_mode=DELETE, which is slower; "
            "a local folder or PostgreSQL is safer",
            path,
            kind,
        )
    engine = create_engine(URL.create("sqlite", database=str(path)), connect_args={"timeout": PATIENCE})
    _prepare_sqlite(engine, journal_mode(path))
    return engine


def _view_sqlite(url: URL) -> Engine:
    path = Path(str(url.database))
    if not path.exists():
        raise StateError(f"{path}: no campaign database is there")
    query = {"mode": "ro", "uri": "true"}
    if not os.access(path.parent, os.W_OK) and not path.with_name(path.name + "-wal").exists():
        # A reader of a WAL database makes its index file; where it may not, nobody else is writing either.
        query["immutable"] = "1"
    read_only = URL.create("sqlite", database=f"file:{quote(str(path))}", query=query)
    engine = create_engine(read_only, connect_args={"timeout": PATIENCE})
    _prepare_sqlite(engine, None)
    return engine


def _view_server(url: URL) -> Engine:
    engine = server_engine(url)

    @event.listens_for(engine, "connect")
    def connected(connection: Any, _record: object) -> None:
        connection.read_only = True

    return engine


def _prepare_sqlite(engine: Engine, journal: str | None) -> None:
    """Real transactions, as SQLAlchemy's chapter on pysqlite describes them, and the pragmas.

    synchronous=FULL: what was committed survives a power cut, as an order to a robot must.
    """

    @event.listens_for(engine, "connect")
    def connected(connection: Any, _record: object) -> None:
        connection.isolation_level = None
        connection.execute("PRAGMA foreign_keys=ON")
        if journal is not None:
            connection.execute(f"PRAGMA journal_mode={journal}")
            connection.execute("PRAGMA synchronous=FULL")

    @event.listens_for(engine, "begin")
    def begun(connection: Connection) -> None:
        writes = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _check_revision(connection: Connection, place: str) -> str | None:
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    current = connection.scalar(text(f"SELECT version_num FROM {VERSION_TABLE}"))
    if current is not None and current not in revisions():
        raise StateError(
            f"{place}: its tables are of revision {current}, newer than this version of matloop knows "
            f"({revisions()[-1]}); upgrade matloop (pip install --upgrade matloop)"
        )
    return None if current is None else str(current)


def _upgrade(engine: Engine, place: str) -> None:
    with engine.connect() as connection:
        if _check_revision(connection, place) == revisions()[-1]:
            return
    from alembic import command

    with engine.execution_options(writes=True).begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
        if _check_revision(connection, place) != revisions()[-1]:
            command.upgrade(alembic_config(connection), "head")
