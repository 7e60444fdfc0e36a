"""Builds the index of known materials that ships, from a table of structures whose symmetry is known.

    python -m experiments.build_known_materials TABLE.csv.xz

The table has the columns material_id, formula, spacegroup and nsites_primitive, plain or xz-compressed.
"""

from __future__ import annotations

import csv
import lzma
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import pymatgen.core as pmg
import typer

from experiments.training_tables import TableError, named_errors
from materials.known import FILE, KnownMaterials, Symmetry

COLUMNS = ("material_id", "formula", "spacegroup", "nsites_primitive")

csv.field_size_limit(sys.maxsize)


def phases(table: Path) -> Iterator[tuple[str, str, Symmetry]]:
    """(material id, reduced formula, symmetry) of every row. Raises TableError for a row that has none."""
    with (lzma.open if table.suffix == ".xz" else open)(table, "rt", newline="", encoding="utf-8") as handle:
        rows = csv.DictReader(handle)
        missing = [name for name in COLUMNS if name not in (rows.fieldnames or ())]
        if missing:
            raise TableError(f"{table}: no column {', '.join(missing)}; it needs {', '.join(COLUMNS)}")
        for row in rows:
            try:
                formula = str(pmg.Composition(row["formula"], strict=True).reduced_formula)
                symmetry = Symmetry.of(int(row["spacegroup"]), int(row["nsites_primitive"]))
            except ValueError as error:
                place = f"{table}, row {rows.line_num} ({row['material_id']})"
                raise TableError(f"{place}: {error}; correct it or drop the row") from error
            yield row["material_id"], formula, symmetry


def main(
    table: Annotated[Path, typer.Argument(help="The table.", exists=True, dir_okay=False)],
    out: Annotated[Path, typer.Option(help="The index.")] = FILE,
) -> None:
    """Writes the index; of materials with equal symmetry the one with the lowest number, the oldest, gives its id."""
    with named_errors():
        found = sorted(phases(table), key=_age)
    known = KnownMaterials.of(found)
    known.save(out)
    typer.echo(f"{len(found)} materials, {len(known)} of them different; {out.stat().st_size:,} bytes")


def _age(phase: tuple[str, str, Symmetry]) -> tuple[int, str]:
    digits = phase[0].rpartition("-")[2]
    return (int(digits) if digits.isdigit() else sys.maxsize, phase[0])


if __name__ == "__main__":
    typer.run(main)
