"""Strained, rattled cells of the shared table mp20_like_36k: what the benchmark of relaxation begins with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pymatgen.core import Structure

from experiments.reference_selection import rows
from materials.reference_table import structure_from_text

TABLE = "mp20_like_36k"
LARGEST = 20  # atoms
STRAIN = 0.03  # of the lengths of the lattice vectors; the volume grows by 9.3 %
RATTLE = 0.05  # angstrom, the standard deviation along each axis


def relaxation_starts(data: Path, split: str, number: int, seed: int = 0) -> list[tuple[str, Structure]]:
    """(id, structure) of so many rows of a split, chosen and rattled by the seed."""
    chosen = [
        (row["material_id"], structure)
        for row in rows(data, TABLE)
        if row["split"] == split
        and len(structure := structure_from_text(row["cell"], row["sites"])) <= LARGEST
    ]
    rng = np.random.default_rng(seed)
    picked = rng.choice(len(chosen), size=number, replace=False)
    return [(chosen[place][0], _disturbed(chosen[place][1], rng)) for place in picked]


def _disturbed(structure: Structure, rng: np.random.Generator) -> Structure:
    cell = structure.lattice.matrix * (1 + STRAIN)
    places = structure.frac_coords @ cell + rng.normal(0.0, RATTLE, (len(structure), 3))
    return Structure(cell, structure.species, places, coords_are_cartesian=True)
