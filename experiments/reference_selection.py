"""Which Materials Project phases make the reference hull, and which cell each starts from.

Near-hull phases are chosen from the shared tables (see docs/reference-hull.md); energies in those tables
serve only to choose, never as energies of the hull.
"""

from __future__ import annotations

import csv
import lzma
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pymatgen.core import Composition, Lattice, Structure

from materials.reference_table import structure_from_text

NEAR_HULL = 0.02  # eV/atom above the Materials Project hull
POLYMORPHS_PER_FORMULA = 2
POLYMORPHS_WITHOUT_LABEL = 6  # nothing tells which of them is the ground state
# fmt: off
BATTERY_ELEMENTS = frozenset({
    "Li", "Na", "Mg", "Al", "Ga", "In", "B", "Si", "Ge", "Sn", "P", "As", "Sb", "O", "S", "Se", "N",
    "F", "Cl", "Br", "I", "Y", "La", "Sc", "Zr", "Ti", "Hf", "Nb", "Ta", "Zn",
})
# fmt: on
REDOX_METALS = frozenset(["Co", "Ni", "Mn", "Fe"])
# Rows of the 2018 table whose energies are grossly wrong; with them the phase itself is in doubt.
GLITCHES = frozenset({"mp-693892", "mp-775201", "mp-866714", "mp-775340"})
# Below this a 2018 label is a version difference or an error, so it says nothing about the distance to the
# hull.
LOWEST_CREDIBLE_LABEL = -0.1
HULL_COLUMNS = ("ehull_mp20", "ehull_mpts52", "ehull_synthnn")
PBE_SOURCES = frozenset({"mp20", "mp2018_pbe"})


@dataclass(frozen=True)
class Phase:
    """One known phase: its cell as the database has it, and whether that cell is known to be PBE-relaxed.

    label: lowest energy above the Materials Project hull found for it, eV/atom; None where only its formula
    is known to lie on the ground-state hull. cell: a, b, c in angstrom and three angles in degrees. sites:
    the shared layout `Element x y z x y z ...;Element ...` in fractional coordinates.
    """

    id: str
    formula: str
    label: float | None
    pbe_cell: bool
    spacegroup: int
    cell: str
    sites: str
    atoms: int = field(default=0)

    @property
    def elements(self) -> frozenset[str]:
        return frozenset(element.symbol for element in Composition(self.formula).elements)

    def structure(self) -> Structure:
        """The phase as an ordered pymatgen structure, in the cell of the table."""
        return structure_from_text(self.cell, self.sites)


def rows(data: Path, table: str) -> Iterator[dict[str, str]]:
    """The rows of one shared table; missing values are empty strings, and `NaN` is sodium nitride."""
    path = data / f"{table}.csv.xz"
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: name the folder of the shared tables with --data")
    with lzma.open(path, "rt", newline="") as handle:
        yield from csv.DictReader(handle)


def select(data: Path, known_elements: frozenset[str]) -> list[Phase]:
    """Near-hull phases of the given elements, the two lowest labels of a formula; all phases of pure elements."""
    labels = _labels(data)
    ground_state = {
        row["reduced_formula"]: float(row["Ed_eV_atom"])
        for row in rows(data, "mp_groundstate_Ef_Ed_85014")
        if row["Ed_eV_atom"]
    }
    pbe = pbe_cells(data)
    by_formula: dict[str, list[tuple[tuple[float, int, int], Phase]]] = defaultdict(list)
    for row in rows(data, "mp2023_11_structures_155345"):
        composition = Composition(row["formula"])
        formula = composition.reduced_formula
        label = labels.get(row["material_id"])
        on_hull = ground_state.get(formula, np.inf) <= 0
        near = label <= NEAR_HULL if label is not None else on_hull
        # Every formation energy rests on the elements, whose ground states (N2, Br2, P) often have no label
        # here.
        elemental = len(composition.elements) == 1
        if row["material_id"] in GLITCHES or not (near or elemental):
            continue
        if {element.symbol for element in composition.elements} - known_elements:
            continue
        atoms = int(row["nsites_primitive"] or row["nsites"])
        # Without a label an experimentally known polymorph, then the smallest, is the likelier ground state.
        rank = (label if label is not None else NEAR_HULL, -int(row["icsd"] or 0), atoms)
        by_formula[formula].append((rank, _phase(row, formula, label, pbe.get(row["material_id"]), atoms)))
    chosen: list[Phase] = []
    for candidates in by_formula.values():
        candidates.sort(key=lambda ranked: (ranked[0], ranked[1].id))
        chosen.extend(_lowest([phase for _, phase in candidates]))
    return chosen


def _lowest(phases: Sequence[Phase]) -> Sequence[Phase]:
    """The phases of one formula to keep, of phases in order of rank."""
    if len(phases[0].elements) == 1:
        return phases
    unlabelled = all(phase.label is None for phase in phases)
    return phases[: POLYMORPHS_WITHOUT_LABEL if unlabelled else POLYMORPHS_PER_FORMULA]


def _labels(data: Path) -> dict[str, float]:
    """Lowest credible energy above the hull by id; the 2018 value only where no newer one exists."""
    newer: dict[str, float] = {}
    for row in rows(data, "mp_labels_by_id"):
        values = [float(row[column]) for column in HULL_COLUMNS if row[column] != ""]
        if values:
            newer[row["material_id"]] = min(values)
    older = {
        row["material_id"]: float(row["e_above_hull_calc"])
        for row in rows(data, "mp2018_ef_gap_36738")
        if row["e_above_hull_calc"] and float(row["e_above_hull_calc"]) >= LOWEST_CREDIBLE_LABEL
    }
    return older | newer


def pbe_cells(data: Path) -> dict[str, tuple[str, str]]:
    """Cell and sites by id, where a table holds the PBE-relaxed geometry."""
    cells = {
        row["material_id"]: (row["cell"], row["sites"])
        for row in rows(data, "mp20_like_36k")
        if row["structure_source"] in PBE_SOURCES
    }
    cells.update(
        (row["material_id"], (row["cell"], row["sites"])) for row in rows(data, "mp2018_ef_gap_36738")
    )
    return cells


def _phase(
    row: Mapping[str, str], formula: str, label: float | None, pbe: tuple[str, str] | None, atoms: int
) -> Phase:
    cell, sites = pbe or (row["cell"], row["sites"])
    return Phase(
        row["material_id"], formula, label, pbe is not None, int(row["spacegroup"]), cell, sites, atoms
    )


@dataclass(frozen=True)
class VolumeScaling:
    """PBE over r2SCAN volume: ln(V_PBE / V_r2SCAN) is the sum of atomic fraction times coefficient."""

    coefficients: Mapping[str, float]
    mean: float
    pairs: int

    def ratio(self, formula: str) -> float:
        """The factor by which an r2SCAN cell's volume is multiplied to guess the PBE cell's."""
        fractions = Composition(formula).fractional_composition
        return float(
            np.exp(
                sum(
                    fractions[element] * self.coefficients.get(element.symbol, self.mean)
                    for element in fractions
                )
            )
        )


def fit_volume_scaling(data: Path) -> VolumeScaling:
    """Ridge regression over the ids whose PBE cell is known and whose cell in the 2023 table differs from it.

    Pairs that agree within 0.3 % are the same PBE cell; pairs that differ by more than 20 % are another
    structure.
    """
    pbe = pbe_cells(data)
    formulas: list[str] = []
    logarithms: list[float] = []
    for row in rows(data, "mp2023_11_structures_155345"):
        if row["material_id"] not in pbe:
            continue
        cell, sites = pbe[row["material_id"]]
        logarithm = np.log(_volume_per_atom(cell, sites) / _volume_per_atom(row["cell"], row["sites"]))
        if 0.003 < abs(logarithm) < 0.2:
            formulas.append(row["formula"])
            logarithms.append(float(logarithm))
    return _ridge(formulas, np.array(logarithms))


def _volume_per_atom(cell: str, sites: str) -> float:
    atoms = sum((len(group.split()) - 1) // 3 for group in sites.split(";"))
    return float(Lattice.from_parameters(*(float(value) for value in cell.split())).volume) / atoms


def _ridge(formulas: Sequence[str], logarithms: NDArray[np.float64], penalty: float = 1.0) -> VolumeScaling:
    """Coefficients drawn towards the mean, so that a rare element takes the mean rather than noise."""
    fractions = [Composition(formula).fractional_composition for formula in formulas]
    elements = sorted({element.symbol for composition in fractions for element in composition})
    matrix = np.array([[composition[element] for element in elements] for composition in fractions])
    mean = float(np.median(logarithms))
    normal = matrix.T @ matrix + penalty * np.eye(len(elements))
    solution = np.linalg.solve(normal, matrix.T @ (logarithms - mean * matrix.sum(axis=1)))
    coefficients = {element: mean + float(value) for element, value in zip(elements, solution, strict=True)}
    return VolumeScaling(coefficients, mean, len(logarithms))
