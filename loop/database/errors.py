"""What goes wrong with stored state, said so that a person can act on it."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from loop.errors import CampaignError

KEPT = "this step was not written and everything before it is kept"
FULL = f"the disk is full; {KEPT}. Free some space and run the same command again"
REMEDIES = {
    "database or disk is full": FULL,
    "no space left on device": FULL,
    "disk i/o error": f"the disk refused to write (full, over quota or faulty); {KEPT}. "
    "Mend the disk and run the same command again",
    "database is locked": "another program has been writing to it for too long; close that program",
    "readonly database": "it may not be written; check the rights of the file and of its folder. "
    "After a crash on a network file system, running the campaign again puts it right",
    "unable to open database file": "it cannot be opened; check that the folder exists, and its rights",
    "file is not a database": "it is not an SQLite database; name another file",
    "malformed": "it is damaged; restore a copy, or recover what is left with `sqlite3 FILE .recover`",
}
"""Signs in the errors of databases and operating systems (lower case), and what they mean for a person."""


class StateError(CampaignError):
    """The database cannot be opened, read or written; the message names it and says what to do."""


@contextmanager
def told_plainly(place: str) -> Iterator[None]:
    """Turns errors of the database and the disk into a StateError that names `place`."""
    try:
        yield
    except (SQLAlchemyError, sqlite3.Error, OSError) as error:
        raise StateError(f"{place}: {_remedy(error)}") from error


def _remedy(error: Exception) -> str:
    text = str(error.orig if isinstance(error, DBAPIError) else error).strip()
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        text = "no space left on device"
    return next((remedy for sign, remedy in REMEDIES.items() if sign in text.lower()), text)
