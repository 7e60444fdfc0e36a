"""Which Materials Project phases make the reference hull, and which cell each starts from.

Near-hull phases are chosen from the shared tables (see docs/reference-hull.md); energies in those tables
serve only to choose, never as energies of the hull.
"""

from __future__ import annotations

import csv
import lzma
from collections import defaultdict
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pymatgen.core import Composition, Lattice, Structure

from materials.reference_table import structure_from_text

NEAR_HULL = 0.02  # eV/atom above the Materials Project hull
METASTABLE = 0.1  # eV/atom
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
    the shared layout `Element x y z x y z ...;Element ...` in fractional coordinates. atoms: in the primitive
    cell. experimental: in the ICSD.
    """

    id: str
    formula: str
    label: float | None
    pbe_cell: bool
    spacegroup: int
    cell: str
    sites: str
    atoms: int
    experimental: bool = False

    @property
    def near_hull(self) -> bool:
        """Whether its label, or without one its formula, says that it lies on or near the hull."""
        return self.label is None or self.label <= NEAR_HULL

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
    """The phases of the reference that consist of the given elements.

    Near-hull phases, at most two of a formula, the lowest labels; further phases found in experiment (ICSD)
    up to METASTABLE, because a known phase must never be called new; and all phases of pure elements.
    """
    labels, experimental, pbe = _labels(data), _experimental(data), pbe_cells(data)
    on_hull = {
        row["reduced_formula"]
        for row in rows(data, "mp_groundstate_Ef_Ed_85014")
        if row["Ed_eV_atom"] and float(row["Ed_eV_atom"]) <= 0
    }
    by_formula: dict[str, list[Phase]] = defaultdict(list)
    for row in rows(data, "mp2023_11_structures_155345"):
        phase = _phase(row, labels, experimental, pbe)
        known = phase.id not in GLITCHES and phase.elements <= known_elements
        if known and (phase.label is not None or phase.formula in on_hull or len(phase.elements) == 1):
            by_formula[phase.formula].append(phase)
    return [phase for phases in by_formula.values() for phase in _kept(phases)]


def _kept(phases: list[Phase]) -> list[Phase]:
    """Which phases of one formula the reference keeps."""
    # Every formation energy rests on the elements, and their ground states (N2, Br2, P) often have no label.
    if len(phases[0].elements) == 1:
        return phases
    near = sorted((phase for phase in phases if phase.near_hull), key=_rank)
    unlabelled = all(phase.label is None for phase in near)
    kept = near[: POLYMORPHS_WITHOUT_LABEL if unlabelled else POLYMORPHS_PER_FORMULA]
    chosen = {phase.id for phase in kept}
    return kept + [
        phase
        for phase in sorted(phases, key=_rank)
        if phase.id not in chosen
        and phase.experimental
        and phase.label is not None
        and phase.label <= METASTABLE
    ]


def _rank(phase: Phase) -> tuple[float, bool, int, str]:
    """Lowest label first; without one, an experimentally known, then a small cell is the likelier ground state."""
    label = NEAR_HULL if phase.label is None else phase.label
    return label, not phase.experimental, phase.atoms, phase.id


def _experimental(data: Path) -> set[str]:
    """Ids with an entry in the ICSD."""
    return {row["material_id"] for row in rows(data, "mp_icsd_flag_41598")}


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
    row: Mapping[str, str],
    labels: Mapping[str, float],
    experimental: Container[str],
    pbe: Mapping[str, tuple[str, str]],
) -> Phase:
    """A row of the 2023 table, with the PBE cell in place of its own where there is one."""
    identifier = row["material_id"]
    cell, sites = pbe.get(identifier, (row["cell"], row["sites"]))
    return Phase(
        identifier,
        Composition(row["formula"]).reduced_formula,
        labels.get(identifier),
        identifier in pbe,
        int(row["spacegroup"]),
        cell,
        sites,
        int(row["nsites_primitive"] or row["nsites"]),
        row["icsd"] == "1" or identifier in experimental,
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
