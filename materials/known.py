"""Known or new, offline: the structures of the Materials Project by formula, space group and occupied positions.

The index holds all 155,345 ordered structures of Materials Project v2023.11.1 (CC-BY 4.0; Jain et al., APL Mater. 1,
011002 (2013)), those that trained models leave out for benchmarks too: it tells what is known, and nothing is learned
from it. experiments/build_known_materials.py makes it.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt
import pymatgen.core as pmg

from materials.base import Crystal
from materials.identity import IdentityIndex
from materials.symmetry import NoSymmetryError, find_dataset

if TYPE_CHECKING:
    from materials.reading import Problem

FILE = Path(__file__).parent / "data" / "known_materials.npz"
TOLERANCES = (0.1, 0.3, 0.5, 0.01)
"""angstrom; the symmetries that a structure is asked for under: any may be known. Most of the table's are at 0.1."""
MIRRORED = {
    78: 76,
    95: 91,
    96: 92,
    145: 144,
    153: 151,
    154: 152,
    170: 169,
    172: 171,
    179: 178,
    181: 180,
    213: 212,
}
"""Space groups that are the mirror images of others: a crystal and its image count as one."""

Keys = npt.NDArray[np.uint64]


class Symmetry(NamedTuple):
    """Space group, mirror images counted as one, and what is on which positions: a label of the prototype.

    positions: for every orbit the element, its atoms in the primitive cell and its site symmetry, sorted. Letters would
    depend on the choice of the origin and of the axes.
    """

    group: int
    positions: str

    @classmethod
    def of(cls, structure: pmg.Structure, tolerance: float) -> Symmetry:
        """Of an ordered structure, within a tolerance in angstrom. Raises NoSymmetryError."""
        found = find_dataset(structure, tolerance)
        cells = len(structure) / len(found.prim_std_cell.numbers)
        sizes = Counter(found.orbits)
        orbits = sorted(
            f"{structure[first].specie.symbol}{size / cells:g}:{_directionless(found.site_symmetry_symbols[first])}"
            for first, size in sizes.items()
        )
        return cls(MIRRORED.get(found.number, found.number), " ".join(orbits))


def _directionless(site_symmetry: str) -> str:
    """A site symmetry without the directions of its elements: 'm..' and '.m.' are one in another setting."""
    return "".join(sorted(site_symmetry.replace(".", "")))


class KnownMaterials:
    """Which formulas are known, and on which positions of which space groups.

    keys: sorted [n]; the upper half of each is a hash of the reduced formula, the lower one of formula and prototype.
    ids: [n], material ids such as mp-149, as ASCII.
    """

    def __init__(self, keys: Keys, ids: npt.NDArray[np.bytes_]) -> None:
        self._keys = keys
        self._ids = ids

    @classmethod
    @cache
    def load(cls) -> KnownMaterials:
        """The index that ships."""
        with np.load(FILE, allow_pickle=False) as held:
            return cls(held["keys"], held["ids"])

    @classmethod
    def of(cls, phases: Iterable[tuple[str, str, Symmetry]]) -> KnownMaterials:
        """An index of (material id, reduced formula, symmetry); of equal ones the first gives the id."""
        first: dict[int, str] = {}
        for material_id, formula, symmetry in phases:
            first.setdefault(_key(formula, symmetry), material_id)
        keys = np.array(sorted(first), dtype=np.uint64)
        return cls(keys, np.array([first[int(key)] for key in keys], dtype=np.bytes_))

    def save(self, file: Path) -> None:
        """Writes the index; equal indices give equal files but for the time in them."""
        np.savez_compressed(file, keys=self._keys, ids=self._ids)

    def __len__(self) -> int:
        return len(self._keys)

    def formula_known(self, composition: pmg.Composition) -> bool:
        """Whether any structure of this reduced formula is known. Wrong for 3 in 100,000 unknown formulas."""
        start = _hash(_formula(composition)) << 32
        place = int(np.searchsorted(self._keys, np.uint64(start)))
        return place < len(self._keys) and int(self._keys[place]) >> 32 == start >> 32

    def find(self, structure: pmg.Structure) -> str | None:
        """The id of a known structure with the formula, space group and occupied positions of an ordered one.

        None where there is none, and for partial occupancies, which the index does not hold. The first of TOLERANCES
        that finds one decides. A polymorph of equal symmetry is taken for the known one: `known_exactly` tells.
        """
        if not structure.is_ordered or not self.formula_known(structure.composition):
            return None
        formula = _formula(structure.composition)
        for symmetry in symmetries(structure, TOLERANCES):
            key = np.uint64(_key(formula, symmetry))
            place = int(np.searchsorted(self._keys, key))
            if place < len(self._keys) and self._keys[place] == key:
                return str(self._ids[place].decode())
        return None


def symmetries(structure: pmg.Structure, tolerances: Iterable[float]) -> Iterator[Symmetry]:
    """An ordered structure's symmetry under each tolerance (angstrom) at which one is found.

    It does not depend on the cell, the origin, the order of axes or the naming of equivalent positions.
    """
    for tolerance in tolerances:
        with suppress(NoSymmetryError):
            yield Symmetry.of(structure, tolerance)


def known_exactly(
    crystals: Mapping[str, Crystal], path: Path, problems: list[Problem] | None = None
) -> dict[str, str]:
    """Which crystals are among the user's own structures: name of a crystal -> name of the first same structure.

    path: a file or folder as `materials.reading.stream_materials` reads it; `problems` as there. Only structures of the
    same formulas are compared, with pymatgen's StructureMatcher (ltol 0.2, stol 0.3, angle_tol 5).
    """
    from materials.reading import stream_materials

    formulas = {crystal.formula for crystal in crystals.values()}
    index = IdentityIndex()
    for entry in stream_materials(path, problems):
        if isinstance(entry.material, Crystal) and entry.material.formula in formulas:
            index.add(entry.name, entry.material)
    found = {name: index.find(crystal) for name, crystal in crystals.items()}
    return {name: known for name, known in found.items() if known is not None}


def _formula(composition: pmg.Composition) -> str:
    return str(composition.element_composition.reduced_formula)


def _hash(text: str) -> int:
    """32 bits."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


def _key(formula: str, symmetry: Symmetry) -> int:
    return _hash(formula) << 32 | _hash(f"{formula} {symmetry.group} {symmetry.positions}")
