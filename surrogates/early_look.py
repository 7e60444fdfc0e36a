"""A first look at a relaxation: the energies of its first steps, from which its end can be foretold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from materials.base import Crystal, Material
from surrogates.descriptors import Descriptor, Floats32, SevenNetDescriptor

STEPS = 10
COLUMNS = STEPS + 2
"""The energies at the start and after each step, eV/atom, and the number of atoms."""
FMAX = 0.03  # eV/angstrom; a relaxation that ends sooner keeps its last energy


class EarlyLook(Descriptor):
    """Runs STEPS steps of the relaxation of atoms and cell; a row of NaN where it falls apart within them."""

    def __init__(self, potential: str = "7net-0", sha256: str | None = None) -> None:
        from materials.potential import load_potential

        self._potential = load_potential(potential, sha256)
        self._describable = SevenNetDescriptor(potential, sha256)

    def why_not(self, material: Material) -> str | None:
        return self._describable.why_not(material)

    def describe(self, materials: Sequence[Material]) -> Floats32:
        rows = np.full((len(materials), COLUMNS), np.nan, np.float32)
        for row, material in zip(rows, materials, strict=True):
            if isinstance(material, Crystal) and self.why_not(material) is None:
                row[:] = self._look(material)
        return rows

    def _look(self, crystal: Crystal) -> list[float]:
        from materials.relaxation import RelaxationError, relax

        energies: list[float] = []

        def keep(step: int, atoms: Any) -> None:
            del energies[step:]  # a second optimiser begins anew
            energies.append(float(atoms.get_potential_energy()) / len(atoms))

        try:
            relax(crystal.structure, self._potential, fmax=FMAX, steps=STEPS, observe=keep)
        except RelaxationError:
            return [np.nan] * COLUMNS
        return look_row(energies, len(crystal.structure))


def look_row(energies: Sequence[float], atoms: int) -> list[float]:
    """The row of a relaxation with these energies so far; one that ended sooner keeps its last energy."""
    first = list(energies[: STEPS + 1])
    return [*first, *[first[-1]] * (STEPS + 1 - len(first)), float(atoms)]
