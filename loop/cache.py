"""The optional cache of evaluations, shared by campaigns that run at the same time."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

from materials.base import Outcome, Status, canonical_json

PATIENCE = 60.0
"""Seconds to wait for another campaign's write."""
KEPT = (Status.DONE, Status.REJECTED)


class EvaluationCache:
    """Outcomes by request key, in one SQLite file. Equal keys are equal questions, whoever asks them.

    A hit reports the seconds the evaluation took when it was made.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        with closing(self._connect()) as connection, connection:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute(
                "CREATE TABLE IF NOT EXISTS outcomes (key TEXT PRIMARY KEY, outcome TEXT NOT NULL)"
            )

    def get(self, key: str) -> Outcome | None:
        """What was answered before, or None."""
        with closing(self._connect()) as connection:
            row = connection.execute("SELECT outcome FROM outcomes WHERE key = ?", (key,)).fetchone()
        return None if row is None else Outcome.from_dict(json.loads(row[0]))

    def put(self, outcome: Outcome) -> None:
        """Keeps an answer that will not change (done or rejected); the first one under a key stays."""
        if outcome.status not in KEPT:
            return
        entry = (outcome.key, canonical_json(outcome.to_dict()))
        with closing(self._connect()) as connection, connection:
            connection.execute("INSERT OR IGNORE INTO outcomes VALUES (?, ?)", entry)

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self._path, timeout=PATIENCE)
