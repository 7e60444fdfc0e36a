"""The cell a simulation of diffusion starts from, and what is asked of its ions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pymatgen.core as pmg
from numpy.typing import NDArray

from materials.chemistry import element_amounts, oxidation_states
from materials.evaluation import FailureKind
from oracles.conduction.framework import likely_charges
from oracles.one_by_one import RejectedError


@dataclass(frozen=True)
class SimulationCell:
    """An ordered supercell. charge: of the mobile ion, in elementary charges."""

    structure: pmg.Structure
    repeats: tuple[int, int, int]
    mobile_ion: str
    charge: float

    @property
    def symbols(self) -> list[str]:
        """The element of each atom."""
        return [site.specie.symbol for site in self.structure]

    @property
    def mobile(self) -> NDArray[np.int64]:
        """The mobile ions' places in the structure."""
        return np.flatnonzero([symbol == self.mobile_ion for symbol in self.symbols])

    def site_distance(self) -> float:
        """Mean distance of a mobile ion to the nearest other, angstrom: the length of a hop, or more."""
        return float(np.mean(_nearest(self.structure, self.mobile)))

    def bond_length(self) -> float:
        """Mean distance of an atom to the nearest other, angstrom."""
        return float(np.mean(_nearest(self.structure, np.arange(len(self.structure)))))


def simulation_cell(
    structure: pmg.Structure, mobile_ion: str, smallest_width: float, most_atoms: int
) -> SimulationCell:
    """The structure repeated until opposite faces are `smallest_width` (angstrom) apart.

    Raises RejectedError (unsupported_material) for partial occupancies, where nothing moves or nothing else is there,
    for an ion of unknown charge, and where the cell would hold more than `most_atoms`.
    """
    formula = structure.composition.reduced_formula
    amounts = element_amounts(structure.composition)
    if not structure.is_ordered:
        raise _unsupported(f"{formula}: partial occupancies have no trajectory; order the structure first")
    if mobile_ion not in amounts:
        raise _unsupported(f"{formula}: it holds no {mobile_ion}, so nothing moves")
    if len(amounts) == 1:
        raise _unsupported(f"{formula}: it holds nothing but the mobile ion")
    charge = _charge_of(mobile_ion, amounts)
    if charge is None:
        raise _unsupported(f"{formula}: no usual oxidation states of its elements balance the charge")
    repeats = _repeats(structure.lattice, smallest_width)
    atoms = len(structure) * math.prod(repeats)
    if atoms > most_atoms:
        raise _unsupported(
            f"{formula}: a cell {smallest_width:g} angstrom wide holds {atoms} atoms, more than most_atoms "
            f"({most_atoms}); raise most_atoms or lower supercell"
        )
    ordered = structure.copy()
    ordered.remove_oxidation_states()
    return SimulationCell(ordered.make_supercell(repeats, in_place=False), repeats, mobile_ion, charge)


def _repeats(lattice: pmg.Lattice, smallest_width: float) -> tuple[int, int, int]:
    first, second, third = (math.ceil(smallest_width / width - 1e-6) for width in _widths(lattice))
    return first, second, third


def _widths(lattice: pmg.Lattice) -> list[float]:
    """Distances between opposite faces, angstrom."""
    matrix = lattice.matrix
    areas = [np.linalg.norm(np.cross(matrix[i - 2], matrix[i - 1])) for i in range(3)]
    return [float(lattice.volume / area) for area in areas]


def _charge_of(ion: str, amounts: Mapping[str, float]) -> float | None:
    usual = oxidation_states(ion)
    if len(usual) == 1:
        return float(usual[0])
    charges = likely_charges(amounts)
    return None if charges is None else charges[ion]


def _nearest(structure: pmg.Structure, indices: NDArray[np.int64]) -> NDArray[np.float64]:
    """Distance of each of these atoms to the nearest other of them, an image of its own counted too."""
    distances = structure.distance_matrix[np.ix_(indices, indices)]
    own = min(structure.lattice.get_lll_reduced_lattice().abc)
    np.fill_diagonal(distances, own)
    return np.asarray(distances.min(axis=1), dtype=float)


def _unsupported(message: str) -> RejectedError:
    return RejectedError(FailureKind.UNSUPPORTED_MATERIAL, message)
