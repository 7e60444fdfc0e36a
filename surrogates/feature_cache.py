"""Descriptors kept on disk by content, so that a material is described once per campaign."""

from __future__ import annotations

import sqlite3
import warnings
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import numpy.typing as npt

Floats32 = npt.NDArray[np.float32]
IDS_PER_QUERY = 500


class FeatureCache:
    """Rows of float32 by material id (`content_hash(material.to_dict())`) and descriptor version.

    One SQLite file. It holds nothing that cannot be computed again: deleting it is safe, and a damaged one is
    replaced with a warning. A row of NaN records that the material cannot be described.
    """

    def __init__(self, path: Path, version: str) -> None:
        self._path = path
        self._version = version
        self._path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._open().close()
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise
            warnings.warn(f"{path}: not a readable feature cache ({error}); starting a new one", stacklevel=2)
            path.unlink()

    def get(self, ids: Sequence[str]) -> tuple[dict[str, Floats32], list[str]]:
        """The known rows by id, and the ids not known yet, each once and in the order given."""
        wanted = list(dict.fromkeys(ids))
        found: dict[str, Floats32] = {}
        with closing(self._open()) as connection:
            for start in range(0, len(wanted), IDS_PER_QUERY):
                part = wanted[start : start + IDS_PER_QUERY]
                marks = ",".join("?" * len(part))
                query = f"SELECT id, row FROM features WHERE version = ? AND id IN ({marks})"
                for key, row in connection.execute(query, (self._version, *part)):
                    found[key] = np.frombuffer(row, dtype="<f4").astype(np.float32)
        return found, [i for i in wanted if i not in found]

    def put(self, ids: Sequence[str], matrix: npt.NDArray[np.floating]) -> None:
        """Keeps one row of `matrix` [n, d] per id, all of them or, when interrupted, none."""
        if len(ids) != len(matrix):
            raise ValueError(f"{len(ids)} ids for {len(matrix)} rows of features")
        rows = [
            (i, self._version, np.asarray(row, dtype="<f4").tobytes())
            for i, row in zip(ids, matrix, strict=True)
        ]
        with closing(self._open()) as connection, connection:
            connection.executemany("INSERT OR REPLACE INTO features VALUES (?, ?, ?)", rows)

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=60)
        # Every time, so that a file deleted under a running campaign is simply begun anew.
        columns = "id TEXT, version TEXT, row BLOB NOT NULL, PRIMARY KEY (version, id)"
        connection.execute(f"CREATE TABLE IF NOT EXISTS features ({columns})")
        return connection
