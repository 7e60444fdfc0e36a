"""What the conductivity head sees of a lithium conductor: its elements, its charge balance, and the room in its cell.

Few columns, each with a meaning: on the four hundred measured conductors there are, trees on the hundred statistics of
`surrogates.element_statistics` are worse than on these.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt
import pymatgen.core as pmg

from materials.base import Crystal, Material
from surrogates.descriptors import Descriptor, Floats32
from surrogates.element_statistics import LAST_ELEMENT, unknown_symbols

if TYPE_CHECKING:
    from pymatgen.symmetry.groups import SpaceGroup

VERSION = "1"
"""Raised whenever a column changes its meaning."""

MOBILE = "Li"
CHARGES: Mapping[str, int] = {
    "N": -3,
    "O": -2,
    "S": -2,
    "Se": -2,
    "Te": -2,
    "F": -1,
    "Cl": -1,
    "Br": -1,
    "I": -1,
}
"""Of the anions."""
CHEMISTRY = (
    "anions per atom",
    "framework cations per atom",
    "Li per anion",
    "Li per cation",
    "mean radius of the anions (A)",
    "mean electronegativity of the anions",
    "electronegativity of anions less that of framework cations",
    "mixing entropy of the anions",
    "mixing entropy of the framework cations",
    "charge of a framework cation",
)
CELL = (
    "volume per atom (A^3)",
    "Li per volume (1/A^3)",
    "share of the volume in framework ions",
    "space group number",
    "volume of the asymmetric unit (A^3)",
)
NUMBER_OF_COLUMNS = LAST_ELEMENT + len(CHEMISTRY)
"""On the formula alone; a cell adds CELL."""
Known = Literal["structure", "composition"]
SYMMETRY_PRECISIONS = (0.1, 0.01, 0.001)
"""Angstrom, tried in turn: relaxed candidates are not exactly symmetric, and partly occupied sites lie close."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Cell:
    """What a table of lattice parameters knows of a crystal: volumes in cubic angstrom, space group number 1 to 230."""

    volume_per_atom: float
    asymmetric_volume: float
    space_group: int

    @classmethod
    def of(cls, structure: pmg.Structure) -> Cell:
        """Of sites, ordered or not; a partly occupied site counts as one species of its own."""
        number, conventional = _symmetry(structure)
        atoms = structure.composition.num_atoms
        volume = structure.volume * conventional / len(structure)
        return cls(structure.volume / atoms, volume / operations_of(number), number)

    @classmethod
    def of_lattice(cls, lattice: pmg.Lattice, atoms: float, space_group: int) -> Cell:
        """Of a conventional cell that holds so many atoms."""
        return cls(lattice.volume / atoms, lattice.volume / operations_of(space_group), space_group)


class ConductionDescriptor(Descriptor):
    """The columns of crystals, ordered or not, with their cells (`structure`), or of formulas alone (`composition`)."""

    def __init__(self, known: Known) -> None:
        self._known = known
        self.version = f"conduction-{VERSION}-{known}"

    def why_not(self, material: Material) -> str | None:
        if self._known == "structure" and not isinstance(material, Crystal):
            return f"{material.formula} is a {material.kind} without a structure"
        return why_not(material)

    def describe(self, materials: Sequence[Material]) -> Floats32:
        number = NUMBER_OF_COLUMNS + (len(CELL) if self._known == "structure" else 0)
        rows = np.full((len(materials), number), np.nan, np.float32)
        for i, material in enumerate(materials):
            if self.why_not(material) is None:
                rows[i] = describe_material(material)[:number]
        return rows


def why_not(material: Material) -> str | None:
    """Why a material has no columns, in a sentence; None where it has."""
    unknown = unknown_symbols(material)
    if unknown:
        return f"{material.formula}: {', '.join(unknown)} is no element"
    if not _fractions(material).get(MOBILE):
        return f"{material.formula} holds no {MOBILE}; the conductivity head learned from lithium conductors only"
    return None


def describe_material(material: Material) -> Floats:
    """[NUMBER_OF_COLUMNS], and for a crystal the columns of CELL after them."""
    cell = Cell.of(material.structure) if isinstance(material, Crystal) else None
    return columns(_fractions(material), cell)


def columns(fractions: Mapping[str, float], cell: Cell | None) -> Floats:
    """Atomic fractions by atomic number, CHEMISTRY, and with a cell CELL."""
    row = np.zeros(LAST_ELEMENT)
    for symbol, fraction in fractions.items():
        row[pmg.Element(symbol).Z - 1] += fraction
    return np.concatenate([row, _chemistry(fractions), [] if cell is None else _cell(fractions, cell)])


@cache
def operations_of(space_group: int) -> int:
    """Symmetry operations of the conventional cell, centring translations included."""
    from pymatgen.symmetry.groups import SpaceGroup

    group: SpaceGroup = SpaceGroup.from_int_number(space_group)
    return len(group.symmetry_ops)


def atomic_fractions(amounts: Mapping[str, float]) -> dict[str, float]:
    """Amounts divided by their sum; heavy hydrogen is hydrogen."""
    total = sum(amounts.values())
    found: dict[str, float] = {}
    for symbol, amount in amounts.items():
        if amount > 0:
            name = "H" if symbol in ("D", "T") else symbol
            found[name] = found.get(name, 0.0) + amount / total
    return found


def _symmetry(structure: pmg.Structure) -> tuple[int, int]:
    """Space group number and sites of a conventional cell; this cell without symmetry where nothing can be told."""
    from pymatgen.symmetry.analyzer import SpacegroupAnalyzer, SymmetryUndeterminedError

    for precision in SYMMETRY_PRECISIONS:
        try:
            found = SpacegroupAnalyzer(structure, symprec=precision).get_symmetry_dataset()
        except SymmetryUndeterminedError:
            continue
        return int(found.number), len(found.std_types)
    return 1, len(structure)


def _fractions(material: Material) -> dict[str, float]:
    whole = (
        material.structure.composition
        if isinstance(material, Crystal)
        else pmg.Composition(material.formula, strict=False)
    )
    return atomic_fractions(whole.get_el_amt_dict())


def _chemistry(fractions: Mapping[str, float]) -> list[float]:
    anions = {s: f for s, f in fractions.items() if s in CHARGES}
    framework = {s: f for s, f in fractions.items() if s not in CHARGES and s != MOBILE}
    mobile, negative, positive = fractions.get(MOBILE, 0.0), sum(anions.values()), sum(framework.values())
    electronegative = _mean(anions, _electronegativity)
    # What is left for the framework once each lithium gave one electron.
    owed = -sum(f * CHARGES[s] for s, f in anions.items()) - mobile
    return [
        negative,
        positive,
        mobile / negative if negative else 0.0,
        mobile / (mobile + positive) if mobile + positive else 0.0,
        _mean(anions, _radius),
        electronegative,
        electronegative - _mean(framework, _electronegativity) if anions and framework else 0.0,
        _entropy(anions),
        _entropy(framework),
        owed / positive if positive else 0.0,
    ]


def _cell(fractions: Mapping[str, float], cell: Cell) -> list[float]:
    ions = sum(f * 4 / 3 * math.pi * _radius(s) ** 3 for s, f in fractions.items() if s != MOBILE)
    mobile = fractions.get(MOBILE, 0.0) / cell.volume_per_atom
    return [
        cell.volume_per_atom,
        mobile,
        ions / cell.volume_per_atom,
        float(cell.space_group),
        cell.asymmetric_volume,
    ]


def _mean(parts: Mapping[str, float], of: object) -> float:
    assert callable(of)
    return sum(f * of(s) for s, f in parts.items()) / sum(parts.values()) if parts else 0.0


def _entropy(parts: Mapping[str, float]) -> float:
    """Of mixing, in units of Boltzmann's constant per ion."""
    total = sum(parts.values())
    return -sum(f / total * math.log(f / total) for f in parts.values())


@cache
def _electronegativity(symbol: str) -> float:
    """Pauling's; noble gases, which have none, count as 0."""
    value = float(pmg.Element(symbol).X)
    return value if math.isfinite(value) else 0.0


@cache
def _radius(symbol: str) -> float:
    """The ionic radius in angstrom, of anions at their usual charge; the atomic one where none is known."""
    element = pmg.Element(symbol)
    known = element.ionic_radii
    radius = known.get(CHARGES.get(symbol, 0)) or element.average_ionic_radius or element.atomic_radius
    return float(radius or 1.0)
