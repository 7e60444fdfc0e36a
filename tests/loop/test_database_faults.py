"""A driver that is killed between any two statements, and a disk that is full, lose nothing."""

from __future__ import annotations

import os
import random
import resource
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from pymatgen.core import Lattice, Structure
from sqlalchemy import Engine, event
from stored_campaign import GOALS, LINE, candidate, decision, done, gap, run_campaign

from loop.database.errors import StateError
from loop.database.store import Store
from materials.base import Candidate, Crystal, Origin

ROUNDS = 2
KILLS = 24
MOMENTS = ("before_cursor_execute", "after_cursor_execute", "commit")


def in_child(act: Callable[[], None]) -> int:
    """Runs `act` in a child process; returns its wait status."""
    pid = os.fork()
    if pid == 0:
        try:
            act()
        finally:
            os._exit(1)
        os._exit(0)
    return os.waitpid(pid, 0)[1]


def run(path: Path) -> None:
    with Store.open(path, "test", create=True) as store:
        run_campaign(store, ROUNDS)


def run_until_statement(path: Path, number: int) -> None:
    """Runs the campaign and dies by SIGKILL before or after one of its statements, or before a commit."""
    seen = 0

    def count(*_: object) -> None:
        nonlocal seen
        seen += 1
        if seen == number:
            os.kill(os.getpid(), signal.SIGKILL)

    for name in MOMENTS:
        event.listen(Engine, name, count)
    run(path)
    os._exit(0)


def statements(path: Path) -> int:
    """How many places to die there are in an undisturbed campaign."""
    seen = 0

    def count(*_: object) -> None:
        nonlocal seen
        seen += 1

    for name in MOMENTS:
        event.listen(Engine, name, count)
    run(path)
    for name in MOMENTS:
        event.remove(Engine, name, count)
    return seen


def contents(path: Path) -> list[str]:
    with Store.open(path, "test", create=False) as store:
        return store.dump()


def test_a_driver_killed_anywhere_and_resumed_ends_with_the_same_archive(memory_folder: Path) -> None:
    last = statements(memory_folder / "undisturbed.db")
    undisturbed = contents(memory_folder / "undisturbed.db")
    for number in (2, 5, *random.Random(0).sample(range(6, last), KILLS - 2)):
        path = memory_folder / f"killed_{number}.db"
        status = in_child(partial(run_until_statement, path, number))
        assert os.WIFSIGNALED(status), f"not killed at {number}"
        assert os.WTERMSIG(status) == signal.SIGKILL
        run(path)
        assert contents(path) == undisturbed, f"killed at {number} of {last}"


def test_a_driver_killed_again_and_again_gets_there(memory_folder: Path) -> None:
    run(memory_folder / "undisturbed.db")
    path, draw, kills = memory_folder / "killed.db", random.Random(1), 0
    while os.WIFSIGNALED(in_child(partial(run_until_statement, path, draw.randint(250, 500)))):
        kills += 1
        with Store.view(path) as store:
            for row in store.evaluations():
                assert (store.outcome(row.key) is not None) is (row.status in ("done", "failed"))
    assert kills > 2
    assert contents(path) == contents(memory_folder / "undisturbed.db")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte; only root can make one."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("mounting a small file system needs more rights than this process has")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def large(number: int) -> Candidate:
    """A candidate of some 8 kB."""
    sites = 80
    coordinates = [[(i * number) / 997 % 1, i / sites, 0.5] for i in range(sites)]
    return Candidate(Crystal(Structure(Lattice.cubic(20), ["Li"] * sites, coordinates)), Origin("files"))


def test_a_full_disk_is_told_and_nothing_is_half_written(small_disk: Path) -> None:
    path = small_disk / "campaign.db"
    with Store.open(path, "test", create=True) as store:
        store.commit_decision(1, **decision([candidate("LiCl")], [candidate("LiCl")]))
        filler = small_disk / "filler"
        free = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize
        filler.write_bytes(bytes(free - 50_000))
        before = store.dump()
        pool = [large(number) for number in range(1, 40)]
        with pytest.raises(StateError, match=r"campaign\.db: the disk is full.*Free some space"):
            store.add_prior(pool, {})
        assert store.dump() == before
        filler.unlink()
        store.record_outcome(done(candidate("LiCl").id, 0), 1)
        store.add_prior(pool, {pool[0].id: [gap(1.0)]})
        assert len(store.archive(GOALS, (), LINE)) == 40


def test_a_disk_quota_is_told_and_nothing_is_half_written(tmp_path: Path) -> None:
    path = tmp_path / "campaign.db"
    pool = [large(number) for number in range(1, 200)]

    def meet_the_limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        with Store.open(path, "test", create=True) as store:
            store.add_prior([candidate("LiCl")], {})
            resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))
            with pytest.raises(StateError, match=r"campaign\.db: the disk"):
                store.add_prior(pool, {})
            os._exit(0)

    assert in_child(meet_the_limit) == 0
    with Store.open(path, "test", create=False) as store:
        assert [r.candidate for r in store.archive(GOALS, (), LINE).values()] == [candidate("LiCl")]


def test_a_folder_that_may_not_be_written_can_be_looked_at() -> None:
    folder = Path(tempfile.mkdtemp(prefix="matloop-"))
    path = folder / "campaign.db"
    run(path)
    before = contents(path)

    def look() -> None:
        if os.geteuid() == 0:
            os.setgid(65534)
            os.setuid(65534)
        with Store.view(path) as viewer:
            assert viewer.dump() == before
        with pytest.raises(StateError, match=r"campaign\.db: it (may not be written|cannot be opened)"):
            Store.open(path, "test", create=True)
        os._exit(0)

    path.chmod(0o444)
    folder.chmod(0o555)
    try:
        assert in_child(look) == 0
    finally:
        folder.chmod(0o755)
        shutil.rmtree(folder)
