"""Files that came with answers: their bytes in the run folder, named by their hash, their names in the database."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from secrets import token_hex

from sqlalchemy.orm import Session

from loop.database.errors import told_plainly
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
        with (
            self._read() as session
        ):  # before the bytes are kept: what belongs to nothing would fill the disk
            self._there(session, key, name, digest)
        self._keep(digest, content)
        with self._write() as session:
            if not self._there(session, key, name, digest):
                place = {"campaign_id": self._campaign_id, "key": key, "name": name}
                session.add(LabFile(**place, sha256=digest, size=len(content), who=who, at=now()))
        return digest

    def _there(self, session: Session, key: str, name: str, digest: str) -> bool:
        """Whether the order has this file. Raises LabError where it cannot have it."""
        if session.get(LabOrder, (self._campaign_id, key)) is None:
            raise LabError("missing", f"there is no order {key}")
        there = session.get(LabFile, (self._campaign_id, key, name))
        if there is not None and there.sha256 != digest:
            raise LabError("conflict", f"order {key} has another file {name} already; choose another name")
        return there is not None

    def _keep(self, digest: str, content: bytes) -> None:
        """Puts the bytes on the disk, whole or not at all. Raises StateError where the disk refuses."""
        partial = self._folder / f"{digest}.{token_hex(4)}.part"
        with told_plainly(str(self._folder)):
            self._folder.mkdir(parents=True, exist_ok=True)
            try:
                partial.write_bytes(content)
                partial.replace(self._folder / digest)
            except OSError:
                partial.unlink(missing_ok=True)
                raise

    def get(self, key: str, name: str) -> Path:
        """Where the bytes lie. Raises LabError where there is no such file."""
        with self._read() as session:
            row = session.get(LabFile, (self._campaign_id, key, name))
            if row is None:
                raise LabError("missing", f"order {key} has no file {name}")
            path = self._folder / row.sha256
        if not path.is_file():
            raise LabError("missing", f"the bytes of {name} are no longer in the run folder")
        return path
