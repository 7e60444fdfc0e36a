"""Where a database may be, and how it is opened."""

from __future__ import annotations

import logging
import sqlite3
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from stored_campaign import (
    run_campaign,
)

from loop.database import connection
from loop.database.errors import StateError
from loop.database.store import Store


def test_a_database_that_is_not_there_is_not_made_by_looking(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="no campaign database is there"):
        Store.view(tmp_path / "campaign.db")
    with pytest.raises(StateError, match="no campaign database is there"):
        Store.open(tmp_path / "campaign.db", "test", create=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("place", "complaint"),
    [
        ("mysql://somewhere/db", "not supported"),
        ("sqlite://", "would be lost"),
        ("http://", "not an SQLAlchemy URL|not supported"),
        ("postgresql://nobody:secret@127.0.0.1:9/nothing?connect_timeout=2", "127.0.0.1:9"),
    ],
)
def test_a_wrong_database_is_refused_without_telling_passwords(place: str, complaint: str) -> None:
    with pytest.raises(StateError, match=complaint) as caught:
        Store.open(place, "test", create=True)
    assert "secret" not in str(caught.value)


def test_a_file_that_is_no_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "campaign.db"
    path.write_text("measured by hand\n" * 100)
    with pytest.raises(StateError, match="not an SQLite database"):
        Store.open(path, "test", create=True)
    assert path.read_text().startswith("measured by hand")


def test_a_locked_database_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "PATIENCE", 0.1)
    path = tmp_path / "campaign.db"
    store = Store.open(path, "test", create=True)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StateError, match=r"campaign.db: another program"):
        store.begin({}, "f")
    other.execute("ROLLBACK")
    store.begin({}, "f")


def test_a_network_file_system_gets_a_rollback_journal_and_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    mounted = SimpleNamespace(mountpoint=str(tmp_path), fstype="nfs4")
    monkeypatch.setattr(psutil, "disk_partitions", lambda all: [mounted])
    with caplog.at_level(logging.WARNING):
        store = Store.open(tmp_path / "campaign.db", "test", create=True)
    assert "nfs4" in caplog.text
    run_campaign(store, 1)
    reader = sqlite3.connect(tmp_path / "campaign.db")
    assert reader.execute("PRAGMA journal_mode").fetchone() == ("delete",)


def test_a_local_file_system_gets_a_write_ahead_log(tmp_path: Path) -> None:
    Store.open(tmp_path / "campaign.db", "test", create=True)
    reader = sqlite3.connect(tmp_path / "campaign.db")
    assert reader.execute("PRAGMA journal_mode").fetchone() == ("wal",)
