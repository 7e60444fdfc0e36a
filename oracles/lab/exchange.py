"""A folder between the campaign and a lab: what was asked, what came back, and the program's own memory of both.

    requests/   one file per order, until somebody takes it away
    results/    what the lab leaves here is read once it no longer grows
    accepted/   results that were believed
    refused/    results that were not, each with a .why.txt that says what to correct
    records/    orders and outcomes as the program keeps them; nothing for people

Every step is one atomic change of a name, so that a program killed between two of them goes on where it was.
"""

from __future__ import annotations

import json
import os
import re
from contextlib import suppress
from pathlib import Path

from materials.evaluation import Outcome
from oracles.lab.base import Order

FOLDERS = ("requests", "results", "accepted", "refused", "records")
KEY = re.compile(r"[0-9A-Za-z_-]{1,100}")


class Exchange:
    """The files of an exchange folder. The folder itself must exist, so that a share that is away is noticed."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def open(self) -> None:
        """Makes the folders within. Raises FileNotFoundError where the folder is not there (now)."""
        if not self._root.is_dir():
            raise FileNotFoundError(
                f"there is no folder {self._root}; make it, or connect the drive that it is on"
            )
        for name in FOLDERS:
            (self._root / name).mkdir(exist_ok=True)

    def folder(self, name: str) -> Path:
        """One of the folders within."""
        return self._root / name

    def give(self, order: Order, request: str, ending: str) -> None:
        """Hands out an order as a file with the text `request`. Once only, unless it was withdrawn since.

        The file is a draft first; as long as there is a draft, nobody has seen it.
        """
        self.open()
        record = self._record(order.key, "order.json")
        if not record.exists() or self._draft(order.key) is not None:
            write_whole(self._record(order.key, f"draft.{ending}"), request)
            write_whole(record, json.dumps(order.to_dict()))
        draft = self._draft(order.key)
        if draft is not None:
            draft.replace(self.folder("requests") / f"{order.key}{draft.suffix}")

    def withdraw(self, key: str) -> bool:
        """Takes a request back; False where somebody has taken it away before."""
        for file in self.folder("requests").glob(f"{key}.*"):
            try:
                file.replace(self._record(key, f"draft{file.suffix}"))
            except FileNotFoundError:
                continue
            return True
        return self._draft(key) is not None

    def order(self, key: str) -> Order | None:
        """What was asked under a key; None where nothing was."""
        if not KEY.fullmatch(key):
            return None
        file = self._record(key, "order.json")
        return Order.from_dict(json.loads(file.read_text(encoding="utf-8"))) if file.exists() else None

    def outcome(self, key: str) -> Outcome | None:
        """What came back under a key."""
        file = self._record(key, "outcome.json")
        return Outcome.from_dict(json.loads(file.read_text(encoding="utf-8"))) if file.exists() else None

    def keep(self, outcome: Outcome) -> None:
        """Remembers what came back, and takes the request away if it is still there."""
        write_whole(self._record(outcome.key, "outcome.json"), json.dumps(outcome.to_dict()))
        for file in self.folder("requests").glob(f"{outcome.key}.*"):
            with suppress(FileNotFoundError):
                file.replace(self._record(outcome.key, f"answered{file.suffix}"))

    def accept(self, file: Path) -> None:
        """Puts a results file away."""
        file.rename(_free(self.folder("accepted") / file.name))

    def refuse(self, file: Path, why: str) -> Path:
        """Puts a results file aside, with a text beside it, and says where it is now."""
        place = _free(self.folder("refused") / file.name)
        write_whole(_why(place), why)
        file.rename(place)
        return place

    def _record(self, key: str, ending: str) -> Path:
        return self.folder("records") / f"{key}.{ending}"

    def _draft(self, key: str) -> Path | None:
        return next(self.folder("records").glob(f"{key}.draft.*"), None)


def _why(file: Path) -> Path:
    return file.with_name(f"{file.name}.why.txt")


def _free(place: Path) -> Path:
    """The place, or one with a number where it is taken."""
    number, free = 1, place
    while free.exists() or _why(free).exists():
        number += 1
        free = place.with_name(f"{place.stem}-{number}{place.suffix}")
    return free


def write_whole(file: Path, text: str) -> None:
    """Writes a file so that nobody ever sees a part of it."""
    part = file.with_name(f".{file.name}.{os.getpid()}.part")
    with part.open("w", encoding="utf-8", newline="") as opened:
        opened.write(text)
        opened.flush()
        os.fsync(opened.fileno())
    part.replace(file)
