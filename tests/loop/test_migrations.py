"""The history of the tables leads from nothing to what the code expects, and back."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, event, inspect, text
from stored_campaign import run_campaign

from loop.database.connection import alembic_config, database_url, open_database
from loop.database.errors import StateError
from loop.database.store import Store
from loop.database.tables import Table
from loop.migrations import VERSION_TABLE, revisions


@pytest.fixture
def empty(place: str) -> Iterator[Connection]:
    """An open transaction on a database without tables."""
    with create_engine(database_url(place)).connect() as connection, connection.begin():
        yield connection


def tables(connection: Connection) -> set[str]:
    return set(inspect(connection).get_table_names()) - {VERSION_TABLE}


def test_upgrading_from_nothing_makes_what_the_code_expects(empty: Connection) -> None:
    command.upgrade(alembic_config(empty), "head")
    context = MigrationContext.configure(empty, opts={"compare_type": True, "version_table": VERSION_TABLE})
    assert compare_metadata(context, Table.metadata) == []
    assert tables(empty) == set(Table.metadata.tables)


def test_every_step_can_be_undone_and_done_again(empty: Connection) -> None:
    config = alembic_config(empty)
    for revision in revisions():
        command.upgrade(config, revision)
        command.downgrade(config, "-1")
        command.upgrade(config, revision)
    command.downgrade(config, "base")
    assert tables(empty) == set()
    command.upgrade(config, "head")
    assert tables(empty) == set(Table.metadata.tables)


def test_file_names_tell_the_newest_revision(tmp_path: Path) -> None:
    with create_engine("sqlite://").connect() as connection:
        script = ScriptDirectory.from_config(alembic_config(connection))
    assert [r.revision for r in reversed(list(script.walk_revisions()))] == revisions()
    assert script.get_heads() == [revisions()[-1]]


def test_a_database_of_a_newer_version_is_refused_and_left_alone(place: str) -> None:
    Store.open(place, "test", create=True).close()
    engine = create_engine(database_url(place))
    with engine.begin() as connection:
        connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'"))
    for act in (lambda: Store.open(place, "test", create=True), lambda: Store.view(place, "test")):
        with pytest.raises(StateError, match=r"revision 9999, newer than this version.*upgrade matloop"):
            act()
    engine.dispose()


def test_a_viewer_does_not_bring_an_old_database_up_to_date(tmp_path: Path) -> None:
    sqlite3.connect(tmp_path / "campaign.db").execute("CREATE TABLE other (x INTEGER)").connection.close()
    with pytest.raises(StateError, match=r"loop\.campaign. on it once"):
        Store.view(tmp_path / "campaign.db")
    Store.open(tmp_path / "campaign.db", "test", create=True).close()
    assert Store.view(tmp_path / "campaign.db").name == "test"


def test_opening_an_up_to_date_database_changes_and_migrates_nothing(tmp_path: Path) -> None:
    path = tmp_path / "campaign.db"
    Store.open(path, "test", create=True).close()
    before, statements = path.read_bytes(), []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        statements.append(statement.split()[0])

    event.listen(Engine, "before_cursor_execute", note)
    Store.open(path, "test", create=True).close()
    event.remove(Engine, "before_cursor_execute", note)
    assert path.read_bytes() == before
    assert set(statements) <= {"SELECT", "PRAGMA", "BEGIN"}


def test_many_may_open_a_new_database_at_the_same_time(place: str) -> None:
    def begin(number: int) -> list[str]:
        with Store.open(place, f"campaign {number}", create=True) as store:
            run_campaign(store, 1)
            return store.dump()

    with ThreadPoolExecutor(4) as threads:
        first, *others = threads.map(begin, range(4))
    assert all(other == first for other in others)


def test_an_interrupted_migration_leaves_nothing_behind(place: str) -> None:
    url = database_url(place)

    def fail(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if "CREATE TABLE measurements" in statement:
            raise OSError(28, "No space left on device")

    event.listen(Engine, "before_cursor_execute", fail)
    with pytest.raises(StateError, match="the disk is full"):
        open_database(url, create=True)
    event.remove(Engine, "before_cursor_execute", fail)
    with create_engine(url).connect() as connection:
        assert inspect(connection).get_table_names() == []
    open_database(url, create=True).dispose()
