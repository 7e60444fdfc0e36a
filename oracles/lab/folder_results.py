"""Reads the files that people and instruments leave as results: JSON or CSV, checked as a whole."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence

from pydantic import TypeAdapter, ValidationError

from oracles.lab.results import BadResultError, Entry, MeasuredValue, told

READ = ("property", "value", "unit", "std", "bound", "notes", "failure")
IGNORED = ("formula", "precursors")
COLUMNS = ("key", *READ, *IGNORED)
"""Of a CSV table of results; `key`, `property`, `value` and `unit` are needed, unless all rows are failures."""
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
DECIMAL_COMMA = re.compile(r"[+-]?\d+(,\d+)+([eE][+-]?\d+)?")
MOST_PROBLEMS = 20


def read_entries(name: str, data: bytes) -> list[Entry]:
    """The entries of a file, each key once. Raises BadResultError with a sentence for everything that is wrong.

    Whether what is said was asked for and is possible is checked later, against the orders.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadResultError([f"it is no UTF-8 text ({error.reason}); save it as UTF-8"]) from error
    stem, _, ending = name.rpartition(".")
    if ending.lower() == "json":
        entries = _of_json(text)
    elif ending.lower() == "csv":
        entries = _of_csv(text, stem)
    else:
        raise BadResultError([f"{name} is neither .json nor .csv; save it as one of them"])
    named = [entry.model_copy(update={"key": entry.key or stem}) for entry in entries]
    problems = [p for entry in named for p in _contradictions(entry)]
    keys = [str(entry.key) for entry in named]
    problems += [f"key {key} is given twice" for key in sorted(set(keys)) if keys.count(key) > 1]
    if not named:
        problems.append("there is nothing in it")
    if problems:
        raise BadResultError(problems[:MOST_PROBLEMS])
    return named


def _contradictions(entry: Entry) -> Iterator[str]:
    if entry.failure and entry.measurements:
        yield f"key {entry.key} has both values and a failure; give one of them"
    if not entry.failure and not entry.measurements:
        yield f"key {entry.key} has neither a value nor a failure"


def _of_json(text: str) -> list[Entry]:
    try:
        if text.lstrip().startswith("["):
            return TypeAdapter(list[Entry]).validate_json(text)
        return [Entry.model_validate_json(text)]
    except ValidationError as error:
        raise BadResultError(told(error)[:MOST_PROBLEMS]) from error


def _of_csv(text: str, stem: str) -> list[Entry]:
    head = text.lstrip("\r\n").split("\n", 1)[0]
    delimiter = ";" if head.count(";") > head.count(",") else ","
    try:
        table = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise BadResultError([f"it is no CSV table: {error}"]) from error
    rows = [(number, row) for number, row in enumerate(table, start=1) if any(cell.strip() for cell in row)]
    if not rows:
        return []
    header = [cell.strip().lower() for cell in rows[0][1]]
    problems = [
        f"the column {name!r} is unknown; known: {', '.join(COLUMNS)}"
        for name in header
        if name not in COLUMNS
    ]
    problems += [f"the column {name!r} is there twice" for name in set(header) if header.count(name) > 1]
    if problems:
        raise BadResultError(problems)
    return _grouped([(number, _cells(number, header, row)) for number, row in rows[1:]], stem)


def _cells(number: int, header: Sequence[str], row: Sequence[str]) -> dict[str, str]:
    if len(row) > len(header) and any(cell.strip() for cell in row[len(header) :]):
        raise BadResultError(
            [f"row {number} has more cells than the header; is there a decimal comma? write 3.4, not 3,4"]
        )
    return {name: cell.strip() for name, cell in zip(header, row, strict=False)}


def _grouped(rows: Sequence[tuple[int, dict[str, str]]], stem: str) -> list[Entry]:
    """One entry per key from one row per property, or one row with a failure."""
    problems: list[str] = []
    found: dict[str, list[dict[str, str]]] = {}
    values: dict[str, list[MeasuredValue]] = {}
    for number, cells in rows:
        key = cells.get("key") or stem
        found.setdefault(key, []).append(cells)
        if cells.get("failure") and not cells.get("value"):
            continue
        try:
            values.setdefault(key, []).append(_value(cells))
        except BadResultError as error:
            problems += [f"row {number}: {problem}" for problem in error.problems]
    if problems:
        raise BadResultError(problems[:MOST_PROBLEMS])
    return [
        Entry(
            key=key,
            measurements=tuple(values.get(key, ())),
            failure=_joined(of_key, "failure"),
            notes=_joined(of_key, "notes"),
        )
        for key, of_key in found.items()
    ]


def _joined(rows: Sequence[dict[str, str]], column: str) -> str:
    told_once = dict.fromkeys(row[column] for row in rows if row.get(column))
    return "; ".join(told_once)[:2000]


def _value(cells: dict[str, str]) -> MeasuredValue:
    value = _number("value", cells.get("value", ""))
    if value is None:
        raise BadResultError(["value is empty; fill it in, give a failure, or take the row out"])
    said: dict[str, object] = {"property": cells.get("property", ""), "value": value}
    said |= {"unit": cells.get("unit", ""), "std": _number("std", cells.get("std", ""))}
    if cells.get("bound"):
        said["bound"] = cells["bound"]
    try:
        return MeasuredValue.model_validate(said)
    except ValidationError as error:
        raise BadResultError(told(error)) from error


def _number(column: str, text: str) -> float | None:
    if not text:
        return None
    if DECIMAL_COMMA.fullmatch(text):
        raise BadResultError([f"{column} {text} has a decimal comma; write {text.replace(',', '.', 1)}"])
    if not NUMBER.fullmatch(text):
        raise BadResultError([f"{column} {text!r} is no number"])
    return float(text)
