"""Writes the table that the latent generator's shipped weights learn from, in the mp_20 layout.

    python -m experiments.latent_table STRUCTURES.csv.xz LABELS.csv.xz --out latent_table.csv.xz

STRUCTURES: material_id, formula, nsites_primitive, cell, sites (Materials Project v2023.11.1). LABELS: material_id and,
from several releases, energies above hull and PBE gaps. Kept are crystals within 0.1 eV/atom of the hull; one formula
of fifty is for validation, drawn by a hash of the formula.
"""

from __future__ import annotations

import csv
import lzma
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated

import typer

from materials.base import content_hash

HULLS = ("ehull_mp20", "ehull_mpts52", "ehull_synthnn")
"""Columns of energies above hull; where a material has several, the first counts, and so for gaps."""
GAPS = ("gap_mp20", "gap_2018", "gap_megnet_pbe", "gap_roost")
NEAR_HULL = 0.1
HELD_OUT = 50
COLUMNS = ("material_id", "formula", "split", "cell", "sites", "band_gap", "e_above_hull")


def main(
    structures: Annotated[Path, typer.Argument(help="Crystals.", exists=True)],
    labels: Annotated[Path, typer.Argument(help="Energies above hull and gaps by material_id.", exists=True)],
    out: Annotated[Path, typer.Option(help="The table, compressed with xz.")],
    most_atoms: Annotated[int, typer.Option(help="Larger primitive cells are left out.", min=1)] = 40,
) -> None:
    """Joins, filters and splits."""
    known = {row["material_id"]: row for row in _rows(labels)}
    partial = out.with_name(out.name + ".part")
    number = 0
    with lzma.open(partial, "wt", newline="") as handle:
        writer = csv.DictWriter(handle, COLUMNS)
        writer.writeheader()
        for row in _rows(structures):
            found = known.get(row["material_id"], {})
            energy = _first(found, HULLS)
            if not energy or float(energy) > NEAR_HULL or int(row["nsites_primitive"]) > most_atoms:
                continue
            held_out = int(content_hash([row["formula"]]), 16) % HELD_OUT == 0
            writer.writerow(
                {name: row[name] for name in ("material_id", "formula", "cell", "sites")}
                | {"split": "val" if held_out else "train"}
                | {"band_gap": _first(found, GAPS), "e_above_hull": energy}
            )
            number += 1
    partial.replace(out)
    typer.echo(f"{out}: {number} crystals")


def _rows(file: Path) -> Iterator[dict[str, str]]:
    with lzma.open(file, "rt", newline="") if file.suffix == ".xz" else file.open(newline="") as handle:
        yield from csv.DictReader(handle)


def _first(row: Mapping[str, str], names: tuple[str, ...]) -> str:
    """The first of the named cells that holds anything."""
    return next((row[name] for name in names if row.get(name)), "")


if __name__ == "__main__":
    typer.run(main)
