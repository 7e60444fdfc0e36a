"""Builds the index of known materials that ships, from a table of structures whose symmetry is known.

    python -m experiments.build_known_materials TABLE.csv.xz

The table is in the mp_20 layout, plain or xz-compressed. Symmetries are found anew, as those of a question are.
"""

from __future__ import annotations

import sys
from multiprocessing import Pool
from pathlib import Path
from typing import Annotated

import typer

from experiments.training_tables import named_errors
from generators.latent.reading import Row, read_rows
from materials.known import FILE, KnownMaterials, Symmetry
from materials.symmetry import NoSymmetryError

TOLERANCE = 0.1
"""angstrom; what the Materials Project takes."""


def phase(row: Row) -> tuple[str, str, Symmetry] | None:
    """Material id, reduced formula and prototype; None where no symmetry is found."""
    try:
        return row.material_id, row.formula, Symmetry.of(row.structure(), TOLERANCE)
    except NoSymmetryError:
        return None


def main(
    table: Annotated[Path, typer.Argument(help="The table.", exists=True, dir_okay=False)],
    out: Annotated[Path, typer.Option(help="The index.")] = FILE,
) -> None:
    """Writes the index; of materials with equal symmetry the one with the lowest number, the oldest, gives its id."""
    with named_errors():
        rows = list(read_rows(table))
    with Pool(2) as pool:
        phases = pool.map(phase, rows, chunksize=256)
    found = sorted((one for one in phases if one is not None), key=_age)
    known = KnownMaterials.of(found)
    known.save(out)
    typer.echo(
        f"{len(found)} of {len(rows)} materials, {len(known)} of them different; {out.stat().st_size:,} bytes"
    )


def _age(phase: tuple[str, str, Symmetry]) -> tuple[int, str]:
    digits = phase[0].rpartition("-")[2]
    return (int(digits) if digits.isdigit() else sys.maxsize, phase[0])


if __name__ == "__main__":
    typer.run(main)
