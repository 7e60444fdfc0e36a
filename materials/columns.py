"""Columns of a table that hold measurements, and what a cell of them says."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from materials.base import Bound, Measurement
from materials.properties import CONDITIONS, PROPERTIES, Property, property_named

# Computed columns of the public mp_20, perov_5 and mpts_52 sets: the Materials Project's PBE values.
PUBLIC_COLUMNS = {"formation_energy_per_atom": "formation_energy", "e_above_hull": "energy_above_hull"}
DETAILS = ("std", "bound", "fidelity", "oracle", "unit")
LIKENESS = 0.9
"""From this similarity of names (difflib's ratio) a column is taken for a misspelt property."""


@dataclass(frozen=True)
class _Column:
    """One property's columns: header of the value, and of the details and conditions that the table has."""

    property: Property
    header: str
    details: Mapping[str, str]
    conditions: Mapping[str, str]
    fidelity: str


class MeasuredColumns:
    """Turns rows of a table into measurements.

    A column is named after a registered property, with or without its unit: `band_gap` or `band_gap (eV)`.
    `band_gap_std`, `band_gap_bound` (exact, upper or lower), `band_gap_fidelity` and `band_gap_oracle` (who measured
    it) say more about it, and columns such as `diffusivity_temperature (K)` under which conditions (those of
    `CONDITIONS`) it was measured. A column `band_gap_unit` is compared with the property's unit.
    Without a fidelity column a value counts as `experiment`; in a table with computed columns of the public
    mp_20 sets, as `PBE`.
    """

    def __init__(self, header: Sequence[str]) -> None:
        names = {_bare_name(column): column for column in header}
        public = any(name in names for name in PUBLIC_COLUMNS)
        self._columns = []
        for name, column in names.items():
            owner = PUBLIC_COLUMNS.get(name, name)
            if owner in PROPERTIES:
                _check_unit(column, owner, property_named(owner).unit)
                details = {d: names[f"{name}_{d}"] for d in DETAILS if f"{name}_{d}" in names}
                conditions = {c: names[f"{name}_{c}"] for c in CONDITIONS if f"{name}_{c}" in names}
                for condition, of_condition in conditions.items():
                    _check_unit(of_condition, f"{name}_{condition}", CONDITIONS[condition])
                fidelity = "PBE" if public else "experiment"
                self._columns.append(_Column(property_named(owner), column, details, conditions, fidelity))
            else:
                _check_other(name, column, names)

    def __bool__(self) -> bool:
        return bool(self._columns)

    def measurements(self, row: Mapping[str, str]) -> tuple[Measurement, ...]:
        """What the row holds; an empty cell is no measurement. Raises ValueError naming a bad cell."""
        return tuple(
            _measurement(column, row) for column in self._columns if (row.get(column.header) or "").strip()
        )


def _bare_name(column: str) -> str:
    return re.sub(r"\s*\(.*\)\s*$", "", column).strip()


def _check_unit(column: str, name: str, unit: str) -> None:
    told = re.search(r"\((.*)\)\s*$", column)
    if told and told.group(1).strip() != unit:
        raise ValueError(
            f"column {column!r}: {name} is read in {unit}; convert the values and rename the column to {name!r}"
        )


def _check_other(name: str, column: str, names: Mapping[str, str]) -> None:
    """Raises ValueError for a column that was probably meant to be measured, and for an orphaned detail."""
    detail = next((d for d in (*DETAILS, *CONDITIONS) if name.endswith(f"_{d}")), "")
    base = name.removesuffix(f"_{detail}")
    if detail and (base in PROPERTIES or base in PUBLIC_COLUMNS):
        if base not in names:
            raise ValueError(f"column {column!r} has no column {base!r} beside it; add it or drop this one")
        return
    plain = name.lower().replace(" ", "_")
    near = difflib.get_close_matches(plain, [*PROPERTIES, *PUBLIC_COLUMNS], n=1, cutoff=LIKENESS)
    if near:
        raise ValueError(
            f"column {column!r} looks like the property {near[0]!r}; rename it to that if it is meant, "
            "or give it a name of its own"
        )


def _measurement(column: _Column, row: Mapping[str, str]) -> Measurement:
    cells = {detail: (row.get(header) or "").strip() for detail, header in column.details.items()}
    owner = column.property
    fidelity = cells.get("fidelity") or column.fidelity
    if fidelity not in owner.fidelities:
        raise ValueError(
            f"column {column.details['fidelity']!r}: {fidelity!r} is no fidelity of {owner.name}; "
            f"use one of {', '.join(owner.fidelities)}"
        )
    if cells.get("unit") not in (None, "", owner.unit):
        raise ValueError(
            f"column {column.details['unit']!r}: {owner.name} is read in {owner.unit}, not in {cells['unit']}; "
            "convert the values"
        )
    std = _number(cells["std"], column.details["std"]) if cells.get("std") else None
    if std is not None and std < 0:
        raise ValueError(
            f"column {column.details['std']!r}: a standard deviation cannot be negative ({std:g})"
        )
    return Measurement(
        property=owner.name,
        value=_value(column, row),
        unit=owner.unit,
        fidelity=fidelity,
        oracle=cells.get("oracle") or "data",
        std=std,
        bound=_bound(cells.get("bound", ""), column),
        conditions={
            condition: _number(row[header], header)
            for condition, header in column.conditions.items()
            if (row.get(header) or "").strip()
        },
    )


def _value(column: _Column, row: Mapping[str, str]) -> float:
    value = _number(row[column.header], column.header)
    low, high = column.property.possible
    if not low <= value <= high:
        raise ValueError(
            f"column {column.header!r}: {value:g} {column.property.unit} is impossible (from {low:g} to {high:g}); "
            "correct it, or leave the cell empty"
        )
    return value


def _bound(text: str, column: _Column) -> Bound:
    if text and text not in list(Bound):
        raise ValueError(f"column {column.details['bound']!r}: {text!r} is none of {', '.join(Bound)}")
    return Bound(text) if text else Bound.EXACT


def _number(text: str, header: str) -> float:
    try:
        number = float(text)
    except ValueError:
        raise ValueError(
            f"column {header!r}: {text!r} is not a number; leave unmeasured cells empty"
        ) from None
    if not math.isfinite(number):
        raise ValueError(
            f"column {header!r}: {text.strip()} is not a finite number; leave unmeasured cells empty"
        )
    return number
