"""Answers looked up in a CSV: for campaigns over a pool whose answers are known, and for tests."""

from __future__ import annotations

import csv
import hashlib
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import AfterValidator, ConfigDict, Field, model_validator

from materials.base import Composition, Measurement
from materials.evaluation import FailureKind, Request
from materials.properties import property_named
from materials.reading import ID_COLUMNS
from materials.settings import InputPath
from oracles.base import OracleSettings
from oracles.one_by_one import Answer, OneByOneOracle, RejectedError


def _registered(name: str) -> str:
    return property_named(name).name


class TableSettings(OracleSettings):
    """Answers looked up in a CSV with a column of ids, of formulas or both, and one per measured property.

    The id is a candidate's, or its name in the file it was read from; rows without a match by id are looked
    up by reduced formula. A property's column is named as the property, with or without its unit: `band_gap`
    or `band_gap (eV)`. Noise and failures are drawn from the seed and the request's key, so the same question
    always has the same answer.
    """

    # The base declares `measures` and `fidelity` as properties, so the fields need names of their own.
    model_config = ConfigDict(serialize_by_alias=True)
    material_kinds: ClassVar[tuple[str, ...]] = ("crystal", "composition")
    typical_seconds: ClassVar[float] = 0.01

    kind: Literal["table"] = "table"
    file: InputPath
    """CSV with a column `id` (or `material_id`), `formula` or both, and one column for each property."""
    properties: tuple[Annotated[str, AfterValidator(_registered)], ...] = Field(
        alias="measures", min_length=1
    )
    """The properties to look up."""
    level: str = Field(default="experiment", alias="fidelity")
    """The fidelity of the answers."""
    delay: float = Field(default=0.0, ge=0)
    """Seconds each answer takes."""
    noise: float = Field(default=0.0, ge=0)
    """Standard deviation of noise added to each answer, in the property's unit."""
    failure_rate: float = Field(default=0.0, ge=0, le=1)
    """Share of questions that fail."""
    seed: int = 0
    """Decides noise and failures."""

    @model_validator(mode="after")
    def _known_fidelity(self) -> TableSettings:
        for name in self.properties:
            ladder = property_named(name).fidelities
            if self.level not in ladder:
                raise ValueError(f"{name} has no fidelity {self.level!r}; it has {', '.join(ladder)}")
        return self

    @property
    def measures(self) -> tuple[str, ...]:
        return self.properties

    @property
    def fidelity(self) -> str:
        return self.level

    def misfit(self, earlier: Sequence[OracleSettings]) -> str | None:
        """What is wrong with the table, if anything."""
        try:
            AnswerTable(self.file, self.properties)
        except (OSError, ValueError) as error:
            return str(error)
        return None

    def build(self) -> TableOracle:
        return TableOracle(self)


class TableOracle(OneByOneOracle):
    """Reads the table once and answers from it. Raises ValueError for a table that cannot be used."""

    def __init__(self, settings: TableSettings) -> None:
        self._settings = settings
        self._table = AnswerTable(settings.file, settings.properties)

    def measure(self, request: Request) -> Answer:
        settings = self._settings
        time.sleep(settings.delay)
        digest = hashlib.sha256(f"{settings.seed}/{request.key}".encode()).digest()
        rng = np.random.default_rng(list(digest))
        if rng.random() < settings.failure_rate:
            message = (
                f"{request.candidate.formula}: simulated failure (failure_rate {settings.failure_rate:g})"
            )
            raise RejectedError(FailureKind.NOT_CONVERGED, message)
        key, values = self._table.find(request)
        measurements = tuple(
            Measurement(
                property=name,
                value=_possible(name, values[name] + settings.noise * float(rng.standard_normal())),
                unit=property_named(name).unit,
                fidelity=settings.fidelity,
                oracle=request.oracle,
                std=settings.noise or None,
                conditions=request.conditions,
            )
            for name in settings.properties
        )
        return Answer(measurements, provenance={"file": settings.file.name, "row": key})


def _possible(name: str, value: float) -> float:
    """A value with noise, kept within what the property can be: nobody measures a gap below 0."""
    low, high = property_named(name).possible
    return min(max(value, low), high)


class AnswerTable:
    """The rows of a CSV, found by id or by reduced formula."""

    def __init__(self, file: Path, properties: tuple[str, ...]) -> None:
        self._file = file
        self._properties = properties
        self._by_id: dict[str, dict[str, float]] = {}
        self._by_formula: dict[str, list[dict[str, float]]] = {}
        with file.open(newline="", encoding="utf-8-sig") as handle:
            reader = csv.DictReader(handle)
            self._read(reader, list(reader.fieldnames or ()))

    def _read(self, reader: csv.DictReader[str], header: list[str]) -> None:
        columns = {name: self._column(name, header) for name in self._properties}
        id_column = next((column for column in ID_COLUMNS if column in header), None)
        if id_column is None and "formula" not in header:
            wanted = " or ".join((*ID_COLUMNS, "formula"))
            raise ValueError(f"{self._file}: no column {wanted} to look answers up by; it has {header}")
        for row in reader:
            values = {}
            for name, column in columns.items():
                if (row[column] or "").strip():
                    values[name] = self._number(row[column], column, reader.line_num)
                    self._check_possible(name, values[name], column, reader.line_num)
            if id_column is not None and row[id_column]:
                self._by_id[row[id_column]] = values
            if row.get("formula"):
                formula = Composition(row["formula"]).formula
                self._by_formula.setdefault(formula, []).append(values)

    def _column(self, name: str, header: list[str]) -> str:
        wanted = (name, f"{name} ({property_named(name).unit})")
        for column in wanted:
            if column in header:
                return column
        raise ValueError(f"{self._file}: no column {wanted[0]!r} or {wanted[1]!r}; it has {header}")

    def _number(self, text: str, column: str, line: int) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise ValueError(
                f"{self._file}, line {line}, column {column}: {text!r} is not a finite number; "
                "leave the cell empty where nothing is known"
            )
        return value

    def _check_possible(self, name: str, value: float, column: str, line: int) -> None:
        low, high = property_named(name).possible
        if not low <= value <= high:
            raise ValueError(
                f"{self._file}, line {line}, column {column}: {value:g} is impossible (from {low:g} to {high:g} "
                f"{property_named(name).unit}); correct it, or leave the cell empty"
            )

    def find(self, request: Request) -> tuple[str, dict[str, float]]:
        """The key that matched and all values asked for. Raises RejectedError where one is missing."""
        candidate = request.candidate
        note = candidate.origin.note
        names = (candidate.id, note, note.rpartition(" of ")[0])
        key = next((name for name in names if name in self._by_id), candidate.formula)
        rows = [self._by_id[key]] if key in self._by_id else self._by_formula.get(key, [])
        if len(rows) > 1:
            raise RejectedError(
                FailureKind.MISSING_ANSWER,
                f"{key}: {self._file.name} has {len(rows)} rows of this formula and none with the id "
                f"{candidate.id}; tell them apart with a column 'id'",
            )
        missing = [name for name in self._properties if not rows or name not in rows[0]]
        if missing:
            raise RejectedError(
                FailureKind.MISSING_ANSWER,
                f"{key}: {self._file.name} holds no {', '.join(missing)} for it (id {candidate.id})",
            )
        return key, rows[0]
