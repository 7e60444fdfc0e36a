"""The formulas that a benchmark keeps for itself: nothing that ships may learn from them."""

from __future__ import annotations

import csv
from pathlib import Path

import pymatgen.core as pmg

COLUMN = "reduced_formula"


class LeaveOutError(ValueError):
    """A list of formulas to leave out that cannot be read: the file, the row, what is wrong, and what to do."""


def left_out(path: Path) -> frozenset[str]:
    """The reduced formulas in the column `reduced_formula` of a CSV; `NaN` is sodium nitride.

    Raises LeaveOutError for a file without that column, and for a cell of it that is no formula.
    """
    found = set()
    with path.open(newline="", encoding="utf-8-sig") as handle:
        table = csv.DictReader(handle)
        try:
            if COLUMN not in (table.fieldnames or ()):
                raise LeaveOutError(f"{path}: no column {COLUMN}; name the CSV of the formulas to leave out")
            for row in table:
                found.add(_reduced(row[COLUMN], f"{path}, row {table.line_num}"))
        except (UnicodeDecodeError, csv.Error) as error:
            raise LeaveOutError(
                f"{path}: no CSV table ({error}); name the CSV of the formulas to leave out"
            ) from error
    return frozenset(found)


def _reduced(text: str | None, place: str) -> str:
    try:
        composition = pmg.Composition(text or "", strict=True)
        if not composition:
            raise ValueError("it is empty")
    except ValueError as error:
        raise LeaveOutError(
            f"{place}: {text!r} is no formula ({error}); correct it or drop the row"
        ) from error
    return str(composition.reduced_formula)
