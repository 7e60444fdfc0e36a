"""Fixtures for the loop's tests: databases, among them a real PostgreSQL server where its binaries are."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text
from stored_campaign import A, B, C, decision

from loop.database.store import Store

SHARED_MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None


def _binaries() -> Path | None:
    found = shutil.which("initdb")
    folders = [Path(found).parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in folders if (folder / "initdb").exists()), None)


def _other_user() -> dict[str, Any]:
    """PostgreSQL refuses to run as root: then it runs as its own user, or as nobody."""
    if os.geteuid() != 0:
        return {}
    names = {entry.pw_name for entry in pwd.getpwall()}
    entry = pwd.getpwnam("postgres" if "postgres" in names else "nobody")
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def _wait_until_gone(path: Path) -> None:
    for _ in range(100):
        if not path.exists():
            return
        time.sleep(0.05)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The URL of the only database of a throw-away server that listens on a socket only."""
    binaries = _binaries()
    if binaries is None:
        pytest.skip("no PostgreSQL server binaries (initdb, pg_ctl) on this machine")
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    folder = Path(tempfile.mkdtemp(prefix="matloop-postgres-", dir=SHARED_MEMORY))
    identity = _other_user()
    if identity:
        os.chown(folder, identity["user"], identity["group"])

    def run(*command: str) -> None:
        subprocess.run(
            [str(binaries / command[0]), *command[1:]],
            check=True,
            cwd=folder,
            stdout=subprocess.DEVNULL,
            **identity,
        )

    data = str(folder / "data")
    small = ("--no-sync", "--locale=C", "--encoding=UTF8", "--wal-segsize=1")
    run("initdb", "-D", data, "-U", "matloop", "--auth=trust", *small)
    options = f"-k {folder} -c listen_addresses='' -c fsync=off"
    run("pg_ctl", "-D", data, "-w", "-l", str(folder / "log"), "-o", options, "start")
    try:
        yield f"postgresql://matloop@/postgres?host={folder}"
    finally:
        # pg_ctl itself would wait for a process that ended but that nobody in a container collects.
        run("pg_ctl", "-D", data, "-m", "fast", "-W", "stop")
        _wait_until_gone(Path(data, "postmaster.pid"))
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgres_url(postgres_server: str) -> str:
    """The URL of a new, empty schema in it: for the store the same as a database of its own."""
    name = f"t{uuid.uuid4().hex}"
    engine = create_engine(postgres_server.replace("postgresql:", "postgresql+psycopg:"))
    with engine.begin() as connection:
        connection.execute(text(f"CREATE SCHEMA {name}"))
    engine.dispose()
    return f"{postgres_server}&options=-csearch_path%3D{name}"


@pytest.fixture
def memory_folder() -> Iterator[Path]:
    """A folder in memory where there is one: what happens to a process does not depend on the disk."""
    with tempfile.TemporaryDirectory(dir=SHARED_MEMORY) as folder:
        yield Path(folder)


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, memory_folder: Path) -> str:
    """Where a new database goes, on each kind of database in turn."""
    if request.param == "sqlite":
        return str(memory_folder / "campaign.db")
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture
def store(place: str) -> Iterator[Store]:
    """A new campaign's store, on each kind of database in turn."""
    with Store.open(place, "test", create=True) as opened:
        yield opened


@pytest.fixture
def decided(store: Store) -> Store:
    """A store with one open round that picked A and B of A, B and C."""
    store.commit_decision(1, **decision([A, B, C], [A, B]))
    return store
