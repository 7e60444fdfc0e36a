"""The search for a crystal's space group and occupied Wyckoff positions; the group is moyopy's answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import moyopy
import numpy as np
import pymatgen.core as pmg

from generators.latent.standard import standardised
from generators.latent.wyckoff import Array, Position, Site, SpaceGroup, WyckoffCrystal, space_group
from materials.symmetry import NoSymmetryError, find_dataset

SYMPREC = 0.1
"""angstrom; what the Materials Project takes."""
FITS = 0.02
"""How far, in fractional coordinates, an atom may lie from its position."""


def find_symmetry(structure: pmg.Structure, symprec: float = SYMPREC) -> WyckoffCrystal:
    """The crystal's group and positions, in the one description that all crystals like it have.

    Raises NoSymmetryError where none is found within `symprec` (angstrom).
    """
    found = find_dataset(structure, symprec, moyopy.Setting.standard())
    group = space_group(found.number)
    standard = found.std_cell
    lattice = pmg.Lattice(standard.basis)
    # moyopy tells letters of the atoms of the input only, so those of the standard cell are found by fitting.
    sites = _sites(group, np.array(standard.positions), list(standard.numbers))
    return standardised(WyckoffCrystal(group.number, lattice.lengths, lattice.angles, tuple(sites)))


def _sites(group: SpaceGroup, coordinates: Array, numbers: Sequence[int]) -> Iterator[Site]:
    """Atoms gathered into orbits, each on the most special position that fits."""
    left = dict(enumerate(numbers))
    while left:
        first = next(iter(left))
        for position in group.positions:
            found = _orbit(position, coordinates, left, first)
            if found is not None:
                break
        else:
            raise NoSymmetryError(f"an atom fits no position of space group {group.number}")
        parameters, members = found
        x, y, z = (float(v) for v in parameters)
        yield Site(pmg.Element.from_Z(left[first]).symbol, position.letter, (x, y, z))
        for member in members:
            del left[member]


def _orbit(
    position: Position, coordinates: Array, left: dict[int, int], first: int
) -> tuple[Array, list[int]] | None:
    """Parameters and atoms of the orbit of the atom `first` on this position; None where it is not on it."""
    same = [k for k, number in left.items() if number == left[first]]
    if len(same) < position.multiplicity:
        return None
    best: tuple[Array, list[int]] | None = None
    possible, fits = position.parameters(coordinates[same], FITS)
    for parameters in possible[fits]:
        members = _members(position.atoms(parameters), coordinates, same)
        if members is None or first not in members:
            continue
        if best is None or tuple(np.round(parameters, 3) % 1) < tuple(np.round(best[0], 3) % 1):
            best = parameters, members
    return best


def _members(orbit: Array, coordinates: Array, same: list[int]) -> list[int] | None:
    """The atoms of `same` on the orbit, each once; None unless every place is taken."""
    differences = orbit[:, None, :] - coordinates[same][None, :, :]
    away = np.abs(differences - np.round(differences)).max(axis=2)
    nearest = away.argmin(axis=1)
    if away.min(axis=1).max() > 2 * FITS or len(set(nearest.tolist())) != len(orbit):
        return None
    return [same[k] for k in nearest]
