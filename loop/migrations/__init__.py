"""The history of the tables, written with alembic and shipped with the package.

Files in `versions/` are numbered `0001_...`, each following the one before, so which revision is the newest
is known without importing alembic.
"""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent
VERSION_TABLE = "matloop_version"
"""Not alembic's default name, so that a database can be shared with MLflow, which uses that one."""


def revisions() -> list[str]:
    """All revisions this version of matloop knows, oldest first."""
    return sorted(path.name[:4] for path in (FOLDER / "versions").glob("[0-9][0-9][0-9][0-9]_*.py"))
