"""The shared cache of evaluations."""

from __future__ import annotations

import multiprocessing
import sqlite3
from pathlib import Path

import pytest
from stored_campaign import candidate, done, failed

from loop.cache import EvaluationCache
from loop.database.errors import StateError
from materials.evaluation import Outcome, Status

A = candidate("LiCl")


def test_answers_come_back_whole_with_the_seconds_they_took(tmp_path: Path) -> None:
    given = done(A.id, 0, material=candidate("Li2Cl2").material, provenance={"version": "1"})
    cache = EvaluationCache(tmp_path / "deep" / "cache.db")
    assert cache.get(given.key) is None
    cache.put(given)
    found = EvaluationCache(tmp_path / "deep" / "cache.db").get(given.key)
    assert found == given
    assert found is not None
    assert found.seconds == 2.0


@pytest.mark.parametrize("status", Status)
def test_only_answers_that_stay_are_kept(tmp_path: Path, status: Status) -> None:
    cache = EvaluationCache(tmp_path / "cache.db")
    outcome = done(A.id, 0) if status is Status.DONE else failed(A.id, 0, status)
    cache.put(outcome)
    kept = status in (Status.DONE, Status.REJECTED)
    assert cache.get(outcome.key) == (outcome if kept else None)


def test_the_first_answer_stays(tmp_path: Path) -> None:
    cache = EvaluationCache(tmp_path / "cache.db")
    cache.put(done(A.id, 0, 1.0))
    cache.put(done(A.id, 0, 2.0))
    assert cache.get(done(A.id, 0).key) == done(A.id, 0, 1.0)


def _fill(path: Path, number: int) -> list[Outcome | None]:
    cache = EvaluationCache(path)
    ids = [candidate(f"Li{n}O{number}").id for n in range(1, 21)]
    for candidate_id in ids:
        cache.put(done(candidate_id, 0, 1.0 + number))
        cache.put(done(A.id, 0, 1.0 + number))
    return [cache.get(done(A.id, 0).key)]


def test_campaigns_use_it_at_the_same_time(tmp_path: Path) -> None:
    path = tmp_path / "cache.db"
    with multiprocessing.get_context("fork").Pool(4) as pool:
        seen = pool.starmap(_fill, [(path, number) for number in range(1, 5)])
    assert all(found == seen[0] for found in seen)
    assert sqlite3.connect(path).execute("SELECT count(*) FROM outcomes").fetchone() == (81,)


def test_a_file_that_is_no_cache_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "cache.db"
    path.write_text("something else\n" * 100)
    with pytest.raises(StateError, match=r"cache\.db: it is not an SQLite database"):
        EvaluationCache(path)
