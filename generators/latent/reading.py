"""Tables of crystals for training: read once, symmetry found once, kept as tensors."""

from __future__ import annotations

import csv
import lzma
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import Pool
from pathlib import Path

import pymatgen.core as pmg

from generators.latent.tokens import MOST_SITES
from generators.latent.wyckoff import NoSymmetryError, WyckoffCrystal, find_symmetry
from materials.reference_table import structure_from_text


@dataclass(frozen=True)
class Row:
    """A row of a table in the mp_20 layout: its id, split, structure as written, and its other columns."""

    material_id: str
    split: str
    cell: str
    sites: str
    columns: dict[str, str]

    def structure(self) -> pmg.Structure:
        """The crystal."""
        return structure_from_text(self.cell, self.sites)


def read_rows(file: Path) -> Iterator[Row]:
    """The rows of a table, plain or compressed with xz."""
    with lzma.open(file, "rt", newline="") if file.suffix == ".xz" else file.open(newline="") as handle:
        for cells in csv.DictReader(handle):
            yield Row(
                cells["material_id"], cells.get("split", ""), cells.pop("cell"), cells.pop("sites"), cells
            )


def symmetric(row: Row) -> WyckoffCrystal | None:
    """The row's crystal by its symmetry; None where it is not found or has too many positions."""
    try:
        crystal = find_symmetry(row.structure())
    except NoSymmetryError:
        return None
    return crystal if len(crystal.sites) <= MOST_SITES else None


def symmetric_crystals(rows: Sequence[Row], processes: int = 2) -> list[WyckoffCrystal | None]:
    """The crystals of many rows."""
    with Pool(processes) as pool:
        return pool.map(symmetric, rows, chunksize=64)
