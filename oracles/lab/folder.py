"""`kind: folder`: a lab behind a folder. Requests are files in it, and so are results, by hand or by a program."""

from __future__ import annotations

import csv
import io
import json
import logging
import stat
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from materials.evaluation import FailureKind, Outcome, Ticket
from oracles.base import TicketOracle
from oracles.lab.asking import LabOracleSettings, LabTicketOracle, Place
from oracles.lab.base import Order
from oracles.lab.exchange import Exchange
from oracles.lab.folder_results import MOST_PROBLEMS, read_entries
from oracles.lab.results import BadResultError, Entry, done, failed, measurements_of, same_answer

log = logging.getLogger(__name__)

TABLE = ("key", "formula", "property", "unit", "value", "std", "notes", "precursors", "failure")
"""Columns of a request in CSV; filled in and saved in results/ it is a result."""
MOST_BYTES = 5_000_000
"""A results file larger than this is refused unread."""


class FolderSettings(LabOracleSettings):
    """A lab that is reached through a folder, such as a shared drive: files out, files in (docs/lab-elsewhere.md)."""

    kind: Literal["folder"] = "folder"
    without_meaning: ClassVar[tuple[str, ...]] = (
        *LabOracleSettings.without_meaning,
        *("folder", "format", "settle_seconds"),
    )

    folder: Place
    """The folder, which must exist when the first order is given; relative paths start at the campaign file."""
    format: Literal["json", "csv"] = "json"
    """Of requests: `csv` opens in a spreadsheet. Results may be either, whatever this says."""
    settle_seconds: float = Field(default=2.0, ge=0)
    """A results file is read when it has not changed for so long."""

    def build(self) -> TicketOracle:
        return FolderOracle(self)


class FolderOracle(LabTicketOracle):
    """Hands out requests and reads results; two programs on one folder do each other no harm."""

    def __init__(self, settings: FolderSettings) -> None:
        super().__init__(settings)
        self._format = settings.format
        self._exchange = Exchange(Path(settings.folder))
        self._inbox = Inbox(self._exchange, settings.settle_seconds)

    def _give(self, order: Order) -> dict[str, Any]:
        written = request_table(order) if self._format == "csv" else json.dumps(order.to_dict(), indent=2)
        self._exchange.give(order, written, self._format)
        return {}

    def _answer(self, ticket: Ticket) -> Outcome | None:
        self._exchange.open()
        found = self._exchange.outcome(ticket.key)
        if found is None:
            self._inbox.look()
            found = self._exchange.outcome(ticket.key)
        return found or self._given_up(ticket.key)

    def _given_up(self, key: str) -> Outcome | None:
        """What it comes to when nobody has taken the order until its deadline."""
        order = self._exchange.order(key)
        if order is None:
            raise FileNotFoundError(f"the order {key} is no longer in {self._exchange.folder('records')}")
        late = order.deadline is not None and datetime.fromisoformat(order.deadline) < datetime.now(UTC)
        if late and not self._inbox.files() and self._exchange.withdraw(key):
            return failed(order, FailureKind.TIMEOUT, f"nobody took it until its deadline, {order.deadline}")
        return None

    def _stop(self, ticket: Ticket) -> bool:
        self._exchange.open()
        return self._exchange.withdraw(ticket.key)


def request_table(order: Order) -> str:
    """An order as a table to fill in, a row for each property; with the mark by which spreadsheets know UTF-8."""
    told = "; ".join(f"{p.formula} {p.grams:g} g" for p in order.precursors)
    text = io.StringIO(newline="")
    rows = csv.DictWriter(text, TABLE, restval="")
    rows.writeheader()
    for target in order.targets:
        named = {"key": order.key, "formula": order.formula, "property": target.property}
        rows.writerow({**named, "unit": target.unit, "precursors": told})
    return "\ufeff" + text.getvalue()


class Inbox:
    """The folder results/: takes files that have come to rest, whole or not at all."""

    def __init__(self, exchange: Exchange, settle_seconds: float) -> None:
        self._exchange = exchange
        self._settle_seconds = settle_seconds
        self._seen: dict[Path, tuple[tuple[int, int], float]] = {}

    def look(self) -> None:
        """Accepts or refuses every file that no longer changes."""
        files = self.files()
        self._seen = {file: seen for file, seen in self._seen.items() if file in files}
        for file in files:
            if self._rests(file):
                self._take(file)

    def files(self) -> list[Path]:
        """What lies in the folder under a name of a finished file."""
        return [f for f in sorted(self._exchange.folder("results").iterdir()) if not _unfinished(f.name)]

    def _rests(self, file: Path) -> bool:
        """Whether it is the same as some time ago, by this program's own clock: that of a share may be wrong."""
        about = file.lstat()
        if not stat.S_ISREG(about.st_mode):
            return False
        mark, now = (about.st_size, about.st_mtime_ns), time.monotonic()
        if file not in self._seen or self._seen[file][0] != mark:
            self._seen[file] = (mark, now)
        return now - self._seen[file][1] >= self._settle_seconds

    def _take(self, file: Path) -> None:
        try:
            outcomes = self._read(file)
        except BadResultError as error:
            place = self._exchange.refuse(file, _explained(file.name, error))
            log.warning("the results file %s was refused: %s", place, error)
            return
        if not self._rests(file):
            return  # it was written to while it was read; it is read again when it rests
        for outcome in outcomes:
            self._exchange.keep(outcome)
        self._exchange.accept(file)

    def _read(self, file: Path) -> list[Outcome]:
        """The outcomes that a file comes to. Raises BadResultError with all that is wrong in it."""
        if file.stat().st_size > MOST_BYTES:
            raise BadResultError([f"it is larger than {MOST_BYTES} bytes; split it"])
        outcomes, problems = [], []
        for entry in read_entries(file.name, file.read_bytes()):
            try:
                outcomes.append(self._judged(entry, file.name))
            except BadResultError as error:
                problems += [f"key {entry.key}: {problem}" for problem in error.problems]
        if problems:
            raise BadResultError(problems[:MOST_PROBLEMS])
        return outcomes

    def _judged(self, entry: Entry, name: str) -> Outcome:
        key = str(entry.key)
        order = self._exchange.order(key)
        if order is None:
            raise BadResultError(
                [
                    "nobody asked for it; copy the key from the request (a spreadsheet may have made a number "
                    "of it: format that cell as text)"
                ]
            )
        if entry.failure:
            outcome = failed(order, FailureKind.ERROR, entry.failure, entry.seconds)
        else:
            about: dict[str, object] = {"file": name, "notes": entry.notes}
            outcome = done(order, measurements_of(order, entry.measurements), entry.seconds, about)
        before = self._exchange.outcome(key)
        if before is not None and not same_answer(before, outcome):
            raise BadResultError(["it is answered already, with other values; an answer is not changed"])
        return before or outcome


def _unfinished(name: str) -> bool:
    """Whether the name says that a file is still being written, or is none of the lab's."""
    return name.startswith((".", "~")) or name.endswith(("~", ".part", ".tmp", ".crdownload"))


def _explained(name: str, error: BadResultError) -> str:
    problems = "\n".join(f"* {problem}" for problem in error.problems)
    return (
        f"{name} was refused, all of it; nothing in it has been used.\n\n{problems}\n\n"
        "Correct it and save it in the folder results again.\n"
    )
