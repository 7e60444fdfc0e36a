"""Whether a crystal is worth a measurement, before anything is computed: possible, not seen before, not known."""

from __future__ import annotations

from materials.base import Crystal
from materials.identity import IdentityIndex
from materials.known import KnownMaterials
from materials.space import Space

ANY_SIZE = (1, 10_000)
"""Atoms; no structure is refused for its size."""


def why_invalid(crystal: Crystal) -> str:
    """The first reason of a campaign's space against the structure, whatever its elements; empty where it is valid.

    Finite coordinates, no partial occupancies, 4 to 130 cubic angstrom per atom, no two atoms nearer than 0.6 of the
    sum of their covalent radii, no atom farther than twice that sum from all others.
    """
    symbols = tuple(element.symbol for element in crystal.structure.composition.elements)
    return Space(elements=symbols, number_of_atoms=ANY_SIZE).why_not(crystal) or ""


class Novelty:
    """Tells, one crystal after another, which are valid, repeat none before, and are in the index of no known one."""

    def __init__(self) -> None:
        self._seen, self._known = IdentityIndex(), KnownMaterials.load()

    def __call__(self, crystal: Crystal) -> bool:
        """Whether it is new; if so, it is seen from now on."""
        if why_invalid(crystal) or self._known.find(crystal.structure) is not None:
            return False
        if self._seen.find(crystal) is not None:
            return False
        self._seen.add(crystal.digest, crystal)
        return True
