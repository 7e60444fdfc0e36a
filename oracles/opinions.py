"""What several potentials say of one structure, and how far they are apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pymatgen.core as pmg

from materials.calculators import CalculatorSource
from materials.hull import ReferenceHull
from materials.potential import to_atoms

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

    energy: eV/atom, total, or relative to the elements where the committee compares it so. forces: [n, 3],
    eV/angstrom. stress: [6] in Voigt order, eV/cubic angstrom; None where the potential has none.
    """

    energy: float
    forces: Floats
    stress: Floats | None


class Member:
    """A potential that is asked for its opinion; keeps its energies of the elements."""

    def __init__(self, potential: CalculatorSource) -> None:
        self.potential = potential
        self._calculator: Calculator = potential.calculator()
        self._energies: dict[str, float] = {}

    def opinion(self, structure: pmg.Structure) -> Opinion:
        """Of an ordered structure, with the total energy.

        Raises UnsupportedElementError, NonFiniteOpinionError, and CalculatorFaultError.
        """
        from ase.calculators.calculator import PropertyNotImplementedError

        self.potential.check_elements(structure)
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
        return Opinion(energy, forces, stress)

    def energy_of_elements(self, composition: pmg.Composition) -> float:
        """The potential's energy (eV/atom) of the elements apart, each as its lowest phase in the reference hull.

        Raises UnknownElementEnergyError.
        """
        return sum(
            float(composition.get_atomic_fraction(element)) * self._of_element(element.symbol)
            for element in composition.elements
        )

    def _of_element(self, symbol: str) -> float:
        if symbol not in self._energies:
            self._energies[symbol] = self.opinion(_element(symbol)).energy
        return self._energies[symbol]


@cache
def _element(symbol: str) -> pmg.Structure:
    phases = _reference().known_phases(symbol)
    if not phases:
        raise UnknownElementEnergyError(
            f"the reference hull has no phase of {symbol}, relative to which energies would be compared"
        )
    return phases[0].structure()


@cache
def _reference() -> ReferenceHull:
    return ReferenceHull.shipped()


@dataclass(frozen=True)
class Spread:
    """Sample standard deviations over a committee: a lower bound of its error.

    energy: eV/atom. forces: [n], eV/angstrom. stress: the largest of the six components, GPa; None where a potential
    has no stress.
    """

    energy: float
    forces: Floats
    stress: float | None

    @classmethod
    def of(cls, opinions: Sequence[Opinion]) -> Spread:
        """Of at least two opinions on one structure. An atom's value is the norm of the deviations of its force."""
        forces = np.std([opinion.forces for opinion in opinions], axis=0, ddof=1)
        stresses = [opinion.stress for opinion in opinions if opinion.stress is not None]
        whole = len(stresses) == len(opinions)
        return cls(
            float(np.std([opinion.energy for opinion in opinions], ddof=1)),
            np.linalg.norm(forces, axis=1),
            float(np.std(stresses, axis=0, ddof=1).max()) * GPA if whole else None,
        )

    @property
    def largest_force(self) -> float:
        """The largest of `forces`, eV/angstrom."""
        return float(self.forces.max())


class Committee:
    """Potentials that are asked together.

    relative_to_elements: compare energies so, each by the potential's own energies of the elements, because total
    energies have different zeros.
    """

    def __init__(self, potentials: Sequence[CalculatorSource], relative_to_elements: bool) -> None:
        self.members = tuple(map(Member, potentials))
        self.relative_to_elements = relative_to_elements

    def opinions(self, structure: pmg.Structure) -> tuple[Opinion, ...]:
        """Of an ordered structure, one by each member. Raises what the members raise."""
        found = [member.opinion(structure) for member in self.members]
        if not self.relative_to_elements:
            return tuple(found)
        elements = [member.energy_of_elements(structure.composition) for member in self.members]
        return tuple(
            Opinion(opinion.energy - zero, opinion.forces, opinion.stress)
            for opinion, zero in zip(found, elements, strict=True)
        )
