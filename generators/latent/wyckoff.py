"""Crystals as space group, lattice and occupied Wyckoff positions, and back.

Settings are the standard ones of the International Tables A: unique axis b, hexagonal axes, origin choice 2. The table
of positions is pyxtal's (Fredericks, Parrish, Sayre, Zhu, Comput. Phys. Commun. 261, 107810 (2021)).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
import numpy.typing as npt
import pymatgen.core as pmg

Array = npt.NDArray[np.float64]

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

    def parameters(self, atoms: Array, within: float) -> tuple[Array, npt.NDArray[np.bool_]]:
        """x, y, z in [0, 1) that put the first atom at each of `atoms` (n, 3), and which then lie `within` of it."""
        linear, shift = self.maps[0, :, :3], self.maps[0, :, 3]
        found = np.zeros_like(atoms)
        for k in self.free:
            alone = np.flatnonzero(
                (np.abs(np.abs(linear[:, k]) - 1) < 1e-6) & (np.abs(linear).sum(axis=1) < 1.5)
            )
            if not len(alone):
                return found, np.zeros(len(atoms), dtype=bool)
            row = alone[0]
            found[:, k] = ((atoms[:, row] - shift[row]) / linear[row, k]) % 1.0
        rest = found @ linear.T + shift - atoms
        return found, np.abs(rest - np.round(rest)).max(axis=1) < within


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
