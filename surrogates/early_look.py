"""A first look at a relaxation: its first steps, from whose energies the end can be foretold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from materials.base import Crystal
from materials.relaxation import Frame, RelaxationError, relax

if TYPE_CHECKING:
    from ase import Atoms

    from materials.potential import Potential

STEPS = 10
COLUMNS = STEPS + 2
"""The energies at the start and after each step, eV/atom, and the number of atoms."""
FMAX = 0.03  # eV/angstrom; a relaxation that ends sooner keeps its last energy
VERSION = f"look-1-{STEPS}-{FMAX}"
"""Changes whenever the numbers would."""


@dataclass(frozen=True)
class Look:
    """What the first STEPS steps of a relaxation of atoms and cell came to.

    row: [COLUMNS]. correction: what the Materials Project's corrections (2020) add to the energy of the crystal they
    led to, eV/atom. Where it fell apart both are NaN. frames: the evaluations, which a relaxation need not repeat.
    seconds: what it cost, loading aside.
    """

    row: npt.NDArray[np.float64]
    correction: float
    frames: tuple[Frame, ...]
    seconds: float


def look_at(crystal: Crystal, potential: Potential) -> Look:
    """Looks at one crystal; raises ValueError for one that is not ordered or of unknown elements."""
    from materials.corrections import correction_per_atom

    energies: list[float] = []
    frames: list[Frame] = []

    def keep(step: int, atoms: Atoms) -> None:
        del energies[step:]  # a second optimiser begins anew
        energies.append(float(atoms.get_potential_energy()) / len(atoms))
        frames.append(Frame.of(atoms))

    potential.check_elements(crystal.structure)
    began = perf_counter()
    try:
        found = relax(crystal.structure, potential, fmax=FMAX, steps=STEPS, observe=keep)
    except RelaxationError:
        return Look(np.full(COLUMNS, np.nan), np.nan, tuple(frames), perf_counter() - began)
    row = np.array(look_row(energies, len(crystal.structure)))
    return Look(row, correction_per_atom(found.structure), tuple(frames), perf_counter() - began)


def look_row(energies: Sequence[float], atoms: int) -> list[float]:
    """The row of a relaxation with these energies so far; one that ended sooner keeps its last energy."""
    first = list(energies[: STEPS + 1])
    return [*first, *[first[-1]] * (STEPS + 1 - len(first)), float(atoms)]
