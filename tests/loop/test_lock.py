"""One driver at a time: across processes, after death, and through a shared database."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from loop.lock import DriverLock, LockHeldError, holder

spawning = multiprocessing.get_context("fork")


def _hold(lock: DriverLock, pipe: Connection) -> None:
    with lock:
        pipe.send("held")
        pipe.recv()


@contextmanager
def held_by_another(lock: DriverLock) -> Iterator[multiprocessing.process.BaseProcess]:
    """Another process holds `lock` until the block ends or somebody kills it."""
    here, there = spawning.Pipe()
    process = spawning.Process(target=_hold, args=(lock, there))
    process.start()
    assert here.recv() == "held"
    try:
        yield process
    finally:
        if process.is_alive():
            here.send("leave")
        process.join(30)


def test_a_second_driver_is_refused_and_told_who_holds_the_folder(tmp_path: Path) -> None:
    with held_by_another(DriverLock(tmp_path)) as process:
        told = rf"driven by process {process.pid} on {socket.gethostname()} since 20\d\d-"
        with pytest.raises(LockHeldError, match=told), DriverLock(tmp_path):
            pass
        who = holder(tmp_path)
        assert who is not None
        assert (who.pid, who.host) == (process.pid, socket.gethostname())
    assert holder(tmp_path) is None
    with DriverLock(tmp_path):
        pass


def test_a_driver_in_the_same_process_is_refused_too(tmp_path: Path) -> None:
    with DriverLock(tmp_path):
        with pytest.raises(LockHeldError, match=f"process {os.getpid()}"), DriverLock(tmp_path):
            pass
        assert holder(tmp_path) is not None
    assert holder(tmp_path) is None


def test_a_killed_driver_leaves_the_folder_free(tmp_path: Path) -> None:
    with held_by_another(DriverLock(tmp_path)) as process:
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join(30)
    assert (tmp_path / "driver.json").exists()
    assert holder(tmp_path) is None
    with DriverLock(tmp_path):
        note = json.loads((tmp_path / "driver.json").read_text())
        assert note["pid"] == os.getpid()


DRIVER_WITH_WORKERS = """
import multiprocessing, sys, time
from pathlib import Path
from loop.lock import DriverLock
with DriverLock(Path(sys.argv[1])):
    multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,)).start()
    child = multiprocessing.active_children()[0]
    print(child.pid, flush=True)
    time.sleep(60)
"""


def test_workers_that_outlive_their_driver_do_not_keep_the_folder(tmp_path: Path) -> None:
    command = [sys.executable, "-c", DRIVER_WITH_WORKERS, str(tmp_path)]
    driver = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert driver.stdout is not None
    worker = int(driver.stdout.readline())
    try:
        assert holder(tmp_path) is not None
        driver.kill()
        driver.wait()
        os.kill(worker, 0)
        with DriverLock(tmp_path):
            pass
    finally:
        os.kill(worker, signal.SIGKILL)
        driver.stdout.close()


@pytest.mark.parametrize("note", ["", "{", "[]", '{"pid": 1}', '"me"'])
def test_a_broken_note_is_harmless(tmp_path: Path, note: str) -> None:
    with DriverLock(tmp_path):
        (tmp_path / "driver.json").write_text(note)
        assert holder(tmp_path) is None
        with pytest.raises(LockHeldError, match="another process"), DriverLock(tmp_path):
            pass
    with DriverLock(tmp_path):
        pass


def test_looking_does_not_keep_a_driver_away(tmp_path: Path) -> None:
    assert holder(tmp_path / "nowhere") is None
    script = "import sys; from pathlib import Path; from loop.lock import holder\nwhile True: holder(Path(sys.argv[1]))"
    with DriverLock(tmp_path):
        pass
    lookers = [subprocess.Popen([sys.executable, "-c", script, str(tmp_path)]) for _ in range(2)]
    try:
        for _ in range(20):
            with DriverLock(tmp_path):
                pass
    finally:
        for looker in lookers:
            looker.kill()
            looker.wait()


def test_a_shared_database_has_one_driver_a_campaign(tmp_path: Path, postgres_url: str) -> None:
    folders = [tmp_path / name for name in ("here", "there", "elsewhere")]
    for folder in folders:
        folder.mkdir()
    with held_by_another(DriverLock(folders[0], postgres_url, "battery")) as process:
        told = f"campaign 'battery' is already driven by process {process.pid} on {socket.gethostname()} since 20"
        with pytest.raises(LockHeldError, match=told), DriverLock(folders[1], postgres_url, "battery"):
            pass
        with DriverLock(folders[2], postgres_url, "solar"):
            pass
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join(30)
        for _ in range(50):
            try:
                with DriverLock(folders[1], postgres_url, "battery"):
                    break
            except LockHeldError:
                continue
        else:
            pytest.fail("the server still keeps the lock of a killed driver")


def test_a_shared_file_has_one_driver_a_campaign(tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path}/shared.db"
    folders = [tmp_path / name for name in ("here", "there")]
    for folder in folders:
        folder.mkdir()
    with held_by_another(DriverLock(folders[0], database, "battery")) as process:
        told = rf"shared\.db: campaign 'battery' is already driven by process {process.pid} "
        with pytest.raises(LockHeldError, match=told), DriverLock(folders[1], database, "battery"):
            pass
        with DriverLock(folders[1], database, "solar"):
            pass
    with DriverLock(folders[1], database, "battery"):
        pass


def test_locks_need_no_database_library() -> None:
    code = "import sys, loop.lock; sys.exit(any(m in sys.modules for m in ('sqlalchemy', 'alembic', 'pymatgen')))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
