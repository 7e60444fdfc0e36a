"""Files that came with answers: their bytes in the run folder, named by their hash, their names in the database."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from secrets import token_hex

from loop.database.lab_rows import LabError
from loop.database.lab_tables import LabFile, LabOrder
from loop.database.lab_view import Sessions
from loop.database.writing import now


class FileShelf:
    """Files of one campaign's orders, kept in `folder`."""

    def __init__(self, read: Sessions, write: Sessions, campaign_id: int, folder: Path) -> None:
        self._read, self._write, self._campaign_id, self._folder = read, write, campaign_id, folder

    def put(self, key: str, name: str, content: bytes, who: str) -> str:
        """Keeps a file; returns its sha256. Another file of that name is never written over (LabError)."""
        digest = sha256(content).hexdigest()
        self._folder.mkdir(parents=True, exist_ok=True)
        partial = self._folder / f"{digest}.{token_hex(4)}.part"
        partial.write_bytes(content)
        partial.replace(self._folder / digest)
        with self._write() as session:
            if session.get(LabOrder, (self._campaign_id, key)) is None:
                raise LabError("missing", f"there is no order {key}")
            there = session.get(LabFile, (self._campaign_id, key, name))
            if there is not None and there.sha256 != digest:
                raise LabError(
                    "conflict", f"order {key} has another file {name} already; choose another name"
                )
            if there is None:
                place = {"campaign_id": self._campaign_id, "key": key, "name": name}
                session.add(LabFile(**place, sha256=digest, size=len(content), who=who, at=now()))
        return digest

    def get(self, key: str, name: str) -> Path:
        """Where the bytes lie. Raises LabError where there is no such file."""
        with self._read() as session:
            row = session.get(LabFile, (self._campaign_id, key, name))
            if row is None:
                raise LabError("missing", f"order {key} has no file {name}")
            return self._folder / row.sha256
