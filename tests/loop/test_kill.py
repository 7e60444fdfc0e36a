"""The driver's death, honestly: SIGKILL at random moments, the same command again, the same archive at the end."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from campaigns import run, start, write_campaign

from loop.database.store import Store

KILLS = 20


def digest(run_folder: Path) -> str:
    with Store.view(run_folder / "campaign.db") as store:
        return store.content_digest()


def kill_until_done(file: Path, run_folder: Path, longest: float, rng: random.Random) -> int:
    """Runs the campaign to its end through SIGKILLs at random moments; returns how many there were."""
    kills = 0
    while True:
        process = start(file, run_folder)
        try:
            output, _ = process.communicate(timeout=rng.uniform(0.05, 1.0) * longest)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.communicate()
            kills += 1
            longest *= 1.15  # so that a slow machine, too, sometimes gets beyond the start
            continue
        assert process.returncode == 0, output
        return kills


def survives(tmp_path: Path, file: Path, seed: int) -> None:
    began = time.monotonic()
    code, output = run(file, tmp_path / "undisturbed")
    assert code == 0, output
    seconds = time.monotonic() - began
    expected = digest(tmp_path / "undisturbed")
    rng = random.Random(seed)
    kills = 0
    while kills < KILLS:
        shutil.rmtree(tmp_path / "killed", ignore_errors=True)
        kills += kill_until_done(file, tmp_path / "killed", seconds, rng)
        assert digest(tmp_path / "killed") == expected


@pytest.mark.slow
def test_a_killed_campaign_ends_with_the_archive_of_one_never_killed(tmp_path: Path) -> None:
    survives(tmp_path, write_campaign(tmp_path), seed=1)


@pytest.mark.slow
def test_so_does_one_that_learns(tmp_path: Path) -> None:
    survives(tmp_path, write_campaign(tmp_path, acquisition={"kind": "noisy_expected_improvement"}), seed=2)


def test_nothing_answered_is_asked_again_by_workers(tmp_path: Path) -> None:
    """With workers the order of answers is free, so this counts attempts instead of comparing archives."""
    file = write_campaign(tmp_path, executor={"kind": "local", "workers": 2})
    kills = kill_until_done(file, tmp_path / "run", 6.0, random.Random(3))
    with Store.view(tmp_path / "run" / "campaign.db") as store:
        rows = store.evaluations()
        assert len({row.key for row in rows}) == len(rows)
        assert all(row.attempts <= 1 + kills for row in rows)
        assert [row.closed_at is not None for row in store.rounds()] == [True] * 3
