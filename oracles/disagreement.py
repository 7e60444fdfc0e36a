"""How far several potentials are apart on one structure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pymatgen.core as pmg

from materials.hull import ReferenceHull
from materials.potential import Potential, to_atoms

if TYPE_CHECKING:
    from ase.calculators.calculator import Calculator

Floats = npt.NDArray[np.float64]
GPA = 160.21766208  # per eV/cubic angstrom


class NonFiniteOpinionError(ValueError):
    """A potential gave an energy or a force that is not a number."""


class UnknownElementEnergyError(ValueError):
    """The reference hull has no phase of an element, so energies cannot be taken relative to it."""


@dataclass(frozen=True)
class Opinion:
    """What one potential says of a structure of n atoms.

    energy_per_atom: uncorrected total energy, eV/atom. formation_energy: the same less the potential's own energies of
    the elements, eV/atom. forces: [n, 3], eV/angstrom. stress: [6] in Voigt order, eV/cubic angstrom; None where the
    potential has none.
    """

    energy_per_atom: float
    formation_energy: float
    forces: Floats
    stress: Floats | None


class Member:
    """A potential that is asked for its opinion; keeps its energies of the elements."""

    def __init__(self, potential: Potential) -> None:
        self.potential = potential
        self._calculator: Calculator = potential.calculator()
        self._energies: dict[str, float] = {}

    def opinion(self, structure: pmg.Structure) -> Opinion:
        """Of an ordered structure.

        Raises UnsupportedElementError, NonFiniteOpinionError and UnknownElementEnergyError.
        """
        self.potential.check_elements(structure)
        energy, forces, stress = self._computed(structure)
        elements = sum(
            float(structure.composition.get_atomic_fraction(symbol)) * self._of_element(symbol)
            for symbol in map(str, structure.composition.elements)
        )
        return Opinion(energy, energy - elements, forces, stress)

    def _of_element(self, symbol: str) -> float:
        if symbol not in self._energies:
            self._energies[symbol] = self._computed(_element(symbol))[0]
        return self._energies[symbol]

    def _computed(self, structure: pmg.Structure) -> tuple[float, Floats, Floats | None]:
        from ase.calculators.calculator import PropertyNotImplementedError

        atoms = to_atoms(structure)
        atoms.calc = self._calculator
        energy = float(atoms.get_potential_energy()) / len(atoms)
        forces = np.asarray(atoms.get_forces(), dtype=float)
        try:
            stress = np.asarray(atoms.get_stress(), dtype=float)
        except PropertyNotImplementedError:
            stress = None
        if not (np.isfinite(energy) and np.isfinite(forces).all()):
            raise NonFiniteOpinionError(
                f"{structure.composition.reduced_formula}: {self.potential.name} gives an energy or a force that is "
                "not a number"
            )
        return energy, forces, stress


@cache
def _element(symbol: str) -> pmg.Structure:
    """The lowest phase of an element in the reference hull that ships."""
    phases = _reference().known_phases(symbol)
    if not phases:
        raise UnknownElementEnergyError(
            f"the reference hull has no phase of {symbol}, which energies would be compared relative to"
        )
    return phases[0].structure()


@cache
def _reference() -> ReferenceHull:
    return ReferenceHull.shipped()


@dataclass(frozen=True)
class Disagreement:
    """Sample standard deviations over a committee: a lower bound of its error.

    energy: of the formation energies, eV/atom. forces: [n], eV/angstrom. stress: the largest of the six components,
    GPa; None where a potential has no stress.
    """

    energy: float
    forces: Floats
    stress: float | None

    @classmethod
    def of(cls, opinions: Sequence[Opinion]) -> Disagreement:
        """Of at least two opinions on one structure. An atom's value is the norm of the deviations of its force."""
        energy = np.std([opinion.formation_energy for opinion in opinions], ddof=1)
        forces = np.std([opinion.forces for opinion in opinions], axis=0, ddof=1)
        stresses = [opinion.stress for opinion in opinions if opinion.stress is not None]
        whole = len(stresses) == len(opinions)
        stress = float(np.std(stresses, axis=0, ddof=1).max()) * GPA if whole else None
        return cls(float(energy), np.linalg.norm(forces, axis=1), stress)

    @property
    def largest_force(self) -> float:
        """The largest of `forces`, eV/angstrom."""
        return float(self.forces.max())
