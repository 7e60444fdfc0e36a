"""The final structures of measured rows, with their measurements, in forms that a campaign's `data:` reads."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from loop.errors import CampaignError
from loop.measuring.course import Course
from loop.measuring.results import number
from loop.measuring.rows import Row
from materials.base import Bound, Crystal, Measurement
from materials.files import whole
from materials.writing import cif_text

Measured = tuple[Row, Course, Crystal]


def check_form(path: Path) -> None:
    """Raises CampaignError for a suffix that structures cannot be written under."""
    if path.suffix.lower() not in (".extxyz", ".xyz", ".csv", ""):
        raise CampaignError(
            f"--structures {path}: unknown format {path.suffix!r}; use .extxyz, .csv, or a name without a suffix for a "
            "folder of CIF files"
        )


def write_structures(path: Path, rows: Sequence[Row], courses: Mapping[str, Course]) -> list[Row]:
    """Writes every crystal of which something was measured, as its last stage left it.

    The rows left out because the format cannot hold partial occupancies are given back. Raises OSError.
    """
    measured: list[Measured] = []
    for row in rows:
        course = None if row.candidate is None else courses[row.candidate.id]
        if course is not None and course.walk.measurements and isinstance(course.walk.material, Crystal):
            measured.append((row, course, course.walk.material))
    if path.suffix.lower() == ".csv":
        _write_csv(path, measured)
    elif path.suffix:
        ordered = [one for one in measured if one[2].is_ordered]
        _write_extxyz(path, ordered)
        return [row for row, _, crystal in measured if not crystal.is_ordered]
    else:
        _write_folder(path, measured)
    return []


def _write_extxyz(path: Path, measured: Sequence[Measured]) -> None:
    from ase.io import write
    from pymatgen.io.ase import AseAtomsAdaptor

    frames = []
    for row, course, crystal in measured:
        atoms = AseAtomsAdaptor.get_atoms(crystal.structure, msonable=False)
        atoms.info = {"id": row.name, "row": row.number, "status": str(course.ending), **_values(course)}
        atoms.calc = None
        frames.append(atoms)
    with whole(path) as partial:
        write(partial, frames, format="extxyz")


def _write_csv(path: Path, measured: Sequence[Measured]) -> None:
    rows = [
        {
            "id": row.name,
            "row": row.number,
            "formula": crystal.formula,
            "status": str(course.ending),
            **_values(course),
            "cif": cif_text(crystal),
        }
        for row, course, crystal in measured
    ]
    header = list(dict.fromkeys(key for row in rows for key in row)) or ["id", "cif"]
    with whole(path) as partial, partial.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, header, restval="")
        writer.writeheader()
        writer.writerows(rows)


def _write_folder(path: Path, measured: Sequence[Measured]) -> None:
    path.mkdir(parents=True, exist_ok=True)
    for row, _, crystal in measured:
        with whole(path / f"{row.number:05d}_{crystal.formula}.cif") as partial:
            partial.write_text(cif_text(crystal), encoding="utf-8")


def _values(course: Course) -> dict[str, Any]:
    """Columns as materials.columns reads them, and the doubt for which materials.reading leaves them out."""
    values: dict[str, Any] = {"doubt": course.walk.doubt} if course.walk.doubt else {}
    for measurement in course.best:
        values |= _columns(measurement)
    return values


def _columns(measurement: Measurement) -> dict[str, Any]:
    name = measurement.property
    found: dict[str, Any] = {name: float(number(measurement.value))}
    if measurement.std is not None:
        found[f"{name}_std"] = float(number(measurement.std))
    if measurement.bound is not Bound.EXACT:
        found[f"{name}_bound"] = str(measurement.bound)
    found |= {f"{name}_{condition}": float(number(at)) for condition, at in measurement.conditions.items()}
    return found | {f"{name}_fidelity": measurement.fidelity}
