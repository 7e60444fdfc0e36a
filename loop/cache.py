"""The optional cache of evaluations, shared by campaigns that run at the same time."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from loop.database.errors import told_plainly
from loop.database.file_system import journal_mode
from materials.base import canonical_json
from materials.evaluation import Outcome, Status

PATIENCE = 60.0
"""Seconds to wait for another campaign's write."""
KEPT = (Status.DONE, Status.REJECTED)


class EvaluationCache:
    """Outcomes by request key, in one SQLite file. Equal keys are equal questions, whoever asks them.

    A hit reports the seconds the evaluation took when it was made. Raises StateError, naming the file, where
    it cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with told_plainly(str(path)):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._journal = journal_mode(path)
        with self._transaction() as connection:
            connection.execute(
                "CREATE TABLE IF NOT EXISTS outcomes (key TEXT PRIMARY KEY, outcome TEXT NOT NULL)"
            )

    def get(self, key: str) -> Outcome | None:
        """What was answered before, or None."""
        with self._transaction() as connection:
            row = connection.execute("SELECT outcome FROM outcomes WHERE key = ?", (key,)).fetchone()
        return None if row is None else Outcome.from_dict(json.loads(row[0]))

    def put(self, outcome: Outcome) -> None:
        """Keeps an answer that will not change (done or rejected); the first one under a key stays."""
        if outcome.status not in KEPT:
            return
        entry = (outcome.key, canonical_json(outcome.to_dict()))
        with self._transaction() as connection:
            connection.execute("INSERT OR IGNORE INTO outcomes VALUES (?, ?)", entry)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with (
            told_plainly(str(self._path)),
            closing(sqlite3.connect(self._path, timeout=PATIENCE)) as connection,
            connection,
        ):
            connection.execute(f"PRAGMA journal_mode={self._journal}")
            yield connection
