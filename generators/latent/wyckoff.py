"""Crystals as space group, lattice and occupied Wyckoff positions, and back.

Settings are the standard ones of the International Tables A: unique axis b, hexagonal axes, origin choice 2. The table
of positions is pyxtal's (Fredericks, Parrish, Sayre, Zhu, Comput. Phys. Commun. 261, 107810 (2021)), the search for
symmetry moyopy's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import moyopy
import numpy as np
import numpy.typing as npt
import pymatgen.core as pmg

from materials.symmetry import NoSymmetryError, find_dataset

Array = npt.NDArray[np.float64]

SYMPREC = 0.1
"""angstrom; what the Materials Project takes."""
FITS = 0.02
"""How far, in fractional coordinates, an atom may lie from its position."""
PRIMITIVE: dict[str, list[list[float]]] = {
    "P": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "I": [[-0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.5, 0.5, -0.5]],
    "F": [[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]],
    "A": [[1, 0, 0], [0, 0.5, -0.5], [0, 0.5, 0.5]],
    "C": [[0.5, -0.5, 0], [0.5, 0.5, 0], [0, 0, 1]],
    "R": [[2 / 3, 1 / 3, 1 / 3], [-1 / 3, 1 / 3, 1 / 3], [-1 / 3, -2 / 3, 1 / 3]],
}
"""Rows: primitive vectors in those of the conventional cell, by the letter of the centring."""


@dataclass(frozen=True)
class Position:
    """A Wyckoff position: its letter, atoms in the conventional cell, and the maps (multiplicity, 3, 4) onto them."""

    letter: str
    multiplicity: int
    maps: Array

    @cached_property
    def free(self) -> tuple[int, ...]:
        """Which of x, y, z may be chosen."""
        return tuple(int(k) for k in np.flatnonzero(np.abs(self.maps[:, :, :3]).sum(axis=(0, 1)) > 0))

    def atoms(self, parameters: Array) -> Array:
        """All atoms' fractional coordinates (multiplicity, 3), from x, y, z of which only the free ones count."""
        moved: Array = self.maps[:, :, :3] @ parameters + self.maps[:, :, 3]
        return moved % 1.0

    def parameters(self, atom: Array) -> Array | None:
        """x, y, z in [0, 1) that put the first atom there; None where none do."""
        linear, shift = self.maps[0, :, :3], self.maps[0, :, 3]
        found = np.zeros(3)
        for k in self.free:
            alone = [
                i for i in range(3) if abs(abs(linear[i, k]) - 1) < 1e-6 and np.abs(linear[i]).sum() < 1.5
            ]
            if not alone:
                return None
            row = alone[0]
            found[k] = ((atom[row] - shift[row]) / linear[row, k]) % 1.0
        rest = linear @ found + shift - atom
        return found if np.abs(rest - np.round(rest)).max() < FITS else None


@dataclass(frozen=True)
class SpaceGroup:
    """Its number, the letter of its centring, and its positions, the most special first (a, b, c, ...)."""

    number: int
    centring: str
    positions: tuple[Position, ...]

    @cached_property
    def letters(self) -> dict[str, int]:
        """Where each letter stands."""
        return {position.letter: k for k, position in enumerate(self.positions)}

    @property
    def cells(self) -> int:
        """Primitive cells in the conventional one."""
        return {"P": 1, "F": 4, "R": 3}.get(self.centring, 2)


@cache
def space_group(number: int) -> SpaceGroup:
    """The space group with this number, 1 to 230."""
    from pyxtal.symmetry import Group

    group = Group(number)
    positions = (
        Position(w.letter, w.multiplicity, np.array([op.affine_matrix[:3] for op in w.ops]))
        for w in reversed(group.Wyckoff_positions)
    )
    return SpaceGroup(number, str(group.symbol)[0], tuple(positions))


@dataclass(frozen=True)
class Site:
    """An element on a Wyckoff position, with x, y, z (those that the position fixes are 0)."""

    symbol: str
    letter: str
    parameters: tuple[float, float, float]


@dataclass(frozen=True)
class WyckoffCrystal:
    """A crystal by its symmetry: group, conventional lattice (angstrom, degrees), occupied positions."""

    group: int
    lengths: tuple[float, float, float]
    angles: tuple[float, float, float]
    sites: tuple[Site, ...]

    @property
    def number_of_atoms(self) -> int:
        """In the primitive cell."""
        group = space_group(self.group)
        atoms: int = sum(group.positions[group.letters[site.letter]].multiplicity for site in self.sites)
        return atoms // group.cells

    def structure(self) -> pmg.Structure:
        """The primitive cell. Atoms that coincide are kept: what is impossible is for others to judge."""
        group = space_group(self.group)
        lattice = pmg.Lattice.from_parameters(*self.lengths, *self.angles)
        to_primitive = np.array(PRIMITIVE[group.centring])
        back = np.linalg.inv(to_primitive)
        symbols: list[str] = []
        coordinates: list[Array] = []
        for site in self.sites:
            position = group.positions[group.letters[site.letter]]
            kept = _distinct(
                position.atoms(np.array(site.parameters)) @ back, position.multiplicity // group.cells
            )
            symbols += [site.symbol] * len(kept)
            coordinates.append(kept)
        return pmg.Structure(to_primitive @ lattice.matrix, symbols, np.concatenate(coordinates))


def _distinct(coordinates: Array, number: int) -> Array:
    """The first `number` rows that differ by no lattice vector."""
    kept: list[Array] = []
    for row in coordinates:
        if len(kept) == number:
            break
        if not kept or np.abs((d := np.array(kept) - row) - np.round(d)).max(axis=1).min() > 1e-6:
            kept.append(row % 1.0)
    return np.array(kept)


def find_symmetry(structure: pmg.Structure, symprec: float = SYMPREC) -> WyckoffCrystal:
    """The crystal's group and positions in the standard setting.

    Raises NoSymmetryError where none is found within `symprec` (angstrom).
    """
    found = find_dataset(structure, symprec, moyopy.Setting.standard())
    group = space_group(found.number)
    standard = found.std_cell
    lattice = pmg.Lattice(standard.basis)
    # moyopy tells letters of the atoms of the input only, so those of the standard cell are found by fitting.
    sites = _sites(group, np.array(standard.positions), list(standard.numbers))
    return WyckoffCrystal(group.number, lattice.lengths, lattice.angles, tuple(sites))


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
    for atom in same:
        parameters = position.parameters(coordinates[atom])
        if parameters is None:
            continue
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
