"""Tables of crystals for training: read once, symmetry found once, kept as tensors."""

from __future__ import annotations

import csv
import lzma
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from multiprocessing import Pool
from pathlib import Path

import pymatgen.core as pmg

from generators.latent.symmetry import find_symmetry
from generators.latent.tokens import MOST_SITES
from generators.latent.wyckoff import WyckoffCrystal
from materials.reading import crystal_from_cif
from materials.reference_table import structure_from_text, structure_text
from materials.symmetry import NoSymmetryError

DECIMALS = 8
"""Of the lengths and coordinates that a CIF is turned into."""
PROCESSES = 2


class TableError(ValueError):
    """A table that cannot be learned from: the file, what is wrong, and what to do."""


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

    @cached_property
    def _amounts(self) -> dict[str, int]:
        """Atoms of each element in the cell as written; counted in the text, which is cheap for big tables."""
        words = [group.split() for group in self.sites.split(";")]
        if not all(len(word) > 1 and len(word) % 3 == 1 for word in words):
            raise TableError(f"{self.material_id}: no sites can be read in {self.sites[:40]!r}; mend the row")
        return {element: len(numbers) // 3 for element, *numbers in words}

    @property
    def number_of_atoms(self) -> int:
        """In the cell as written."""
        return sum(self._amounts.values())

    @property
    def formula(self) -> str:
        """The reduced formula."""
        return str(pmg.Composition(self._amounts).reduced_formula)


def read_rows(path: Path) -> Iterator[Row]:
    """The rows of a table, plain or compressed with xz, or of a folder's tables, one for each split.

    A table has a column `material_id`, and `cif` (as the public mp_20 has) or `cell` and `sites`. In a folder, the
    name of a file (train, val, test) is the split where no column `split` says it. Raises TableError.
    """
    files = (
        sorted(f for f in path.iterdir() if f.name.endswith((".csv", ".csv.xz"))) if path.is_dir() else [path]
    )
    if not files:
        raise TableError(f"{path}: no .csv and no .csv.xz in it; name a table, or a folder of them")
    for file in files:
        yield from _rows_of(file, file.name.split(".")[0] if path.is_dir() else "")


def _rows_of(file: Path, split: str) -> Iterator[Row]:
    csv.field_size_limit(sys.maxsize)
    with lzma.open(file, "rt", newline="") if file.suffix == ".xz" else file.open(newline="") as handle:
        table = csv.DictReader(handle)
        header = table.fieldnames or ()
        missing = [] if "cif" in header else [name for name in ("cell", "sites") if name not in header]
        missing += [name for name in ("material_id",) if name not in header]
        if missing:
            raise TableError(
                f"{file}: no column {', '.join(missing)}; a table has material_id and either cif or cell and sites, "
                f"this one has {', '.join(header) or 'no columns'}"
            )
        given = table if {"cell", "sites"} <= set(header) else _without_cif(table, file)
        for cells in given:
            yield Row(
                cells["material_id"], cells.get("split", split), cells.pop("cell"), cells.pop("sites"), cells
            )


def _without_cif(rows: Iterable[dict[str, str]], file: Path) -> Iterator[dict[str, str]]:
    """The rows with `cell` and `sites` in place of `cif`; some milliseconds each."""
    with Pool(PROCESSES) as pool:
        for number, (cells, found) in enumerate(pool.imap(_with_text, rows, chunksize=64), start=2):
            if isinstance(found, str):
                raise TableError(f"{file}, row {number} ({cells['material_id']}): {found}")
            yield cells | dict(zip(("cell", "sites"), found, strict=True))


def _with_text(cells: dict[str, str]) -> tuple[dict[str, str], tuple[str, str] | str]:
    """A row without its CIF, and the crystal as (cell, sites); a sentence where there is none."""
    try:
        crystal = crystal_from_cif(cells.pop("cif"))
    except ValueError as error:
        return cells, str(error)
    if not crystal.is_ordered:
        return cells, "partial occupancies; order it or drop the row"
    return cells, structure_text(crystal.structure, DECIMALS)


def symmetric(row: Row) -> WyckoffCrystal | None:
    """The row's crystal by its symmetry; None where it is not found or has too many positions. Raises TableError."""
    try:
        structure = row.structure()
    except (ValueError, IndexError) as error:
        raise TableError(
            f"{row.material_id}: cell and sites cannot be read ({error}); mend the row"
        ) from error
    try:
        crystal = find_symmetry(structure)
    except NoSymmetryError:
        return None
    return crystal if len(crystal.sites) <= MOST_SITES else None


def symmetric_crystals(rows: Sequence[Row], processes: int = PROCESSES) -> list[WyckoffCrystal | None]:
    """The crystals of many rows."""
    with Pool(processes) as pool:
        return pool.map(symmetric, rows, chunksize=64)
