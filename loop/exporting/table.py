"""A CSV that another campaign reads under `data:`, values and provenance alike."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from loop.exporting.measured import Measured
from materials.base import Crystal, Measurement
from materials.files import whole
from materials.properties import CONDITIONS, property_named
from materials.writing import cif_text

ABOUT = ("campaign", "candidate", "generator", "round", "duplicate_of", "stopped_by", "doubt", "known_before")


def write_table(path: Path, measured: Sequence[Measured]) -> int:
    """A row for each material, more where a property was measured more than once; returns the number of materials."""
    names = dict.fromkeys(m.property for one in measured for m in one.record.measurements)
    conditions = {
        name: [
            c
            for c in CONDITIONS
            if any(
                c in m.conditions for one in measured for m in one.record.measurements if m.property == name
            )
        ]
        for name in names
    }
    header = ["id", "formula", *ABOUT]
    for name in names:
        unit = property_named(name).unit
        header += [f"{name} ({unit})", *(f"{name}_{d}" for d in ("std", "bound", "fidelity", "oracle"))]
        header += [f"{name}_{c} ({CONDITIONS[c]})" for c in conditions[name]]
    with whole(path) as part, part.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow([*header, "cif"])
        for one in measured:
            material, about = one.record.material, one.about()
            cif = cif_text(material) if isinstance(material, Crystal) else ""
            for layer in one.layers():
                row = [one.name, material.formula, *(about.get(name, "") for name in ABOUT)]
                for name in names:
                    row += _cells(layer.get(name), conditions[name])
                writer.writerow([*row, cif])
    return len(measured)


def _cells(measurement: Measurement | None, conditions: Sequence[str]) -> list[str]:
    if measurement is None:
        return [""] * (5 + len(conditions))
    std = "" if measurement.std is None else repr(measurement.std)
    told = [repr(measurement.value), std, str(measurement.bound), measurement.fidelity, measurement.oracle]
    given = (measurement.conditions.get(c) for c in conditions)
    return [*told, *("" if value is None else repr(value) for value in given)]
