"""One description for every crystal: of all that differ by origin, order of axes or hand, the first.

The changes that turn a space group into itself are its Euclidean normalizer, for orthorhombic groups the affine one
(International Tables A, chapter 3.5). Without this, a crystal would have several points in the latent space.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import permutations, product

import numpy as np
import numpy.typing as npt
import pymatgen.core as pmg

from generators.latent.wyckoff import Position, Site, SpaceGroup, WyckoffCrystal, space_group
from materials.chemistry import electronegativity

Array = npt.NDArray[np.float64]
Key = tuple[tuple[float, ...], ...]

EXACT = 1e-4
GENERIC = np.array([0.1372, 0.2718, 0.4143])
"""A point on no symmetry element."""
HEXAGONAL = (np.array([[1, -1, 0], [1, 0, 0], [0, 0, 1]]), np.array([[0, 1, 0], [1, 0, 0], [0, 0, 1]]))
"""A sixfold turn and a mirror, in hexagonal axes."""


@dataclass(frozen=True)
class Change:
    """Another description of the same crystal: x becomes rotation x + shift; letters[k] is what letter k becomes."""

    rotation: Array
    shift: Array
    letters: tuple[int, ...]


@dataclass(frozen=True)
class Changes:
    """All changes of a space group that differ, and the axes along which its origin is free."""

    changes: tuple[Change, ...]
    polar: tuple[int, ...]


def standardised(crystal: WyckoffCrystal) -> WyckoffCrystal:
    """The first of all descriptions of the crystal: by letters and elements, then coordinates."""
    group, possible = space_group(crystal.group), changes_of(crystal.group)
    ranks = [group.letters[site.letter] for site in crystal.sites]
    kinds = [_kind(site.symbol) for site in crystal.sites]
    named = [
        sorted((change.letters[r], *k) for r, k in zip(ranks, kinds, strict=True))
        for change in possible.changes
    ]
    first = min(named)
    orbits = [
        group.positions[r].atoms(np.array(s.parameters)) for r, s in zip(ranks, crystal.sites, strict=True)
    ]
    found = [
        sites
        for change, names in zip(possible.changes, named, strict=True)
        if names == first
        for sites in _moved(crystal, group, change, orbits, possible.polar)
    ]
    best, change = min(found, key=lambda one: _order(group, one[0]))
    axes = np.abs(change.rotation).argmax(axis=1) if 16 <= crystal.group < 75 else np.arange(3)
    lengths = tuple(crystal.lengths[int(k)] for k in axes)
    return WyckoffCrystal(crystal.group, lengths, crystal.angles, best)  # type: ignore[arg-type]


def _kind(symbol: str) -> tuple[float, float]:
    return electronegativity(symbol), pmg.Element(symbol).Z


def _order(group: SpaceGroup, sites: tuple[Site, ...]) -> Key:
    return tuple(
        (group.letters[s.letter], *_kind(s.symbol), *(np.round(s.parameters, 2) % 1.0)) for s in sites
    )


def _moved(
    crystal: WyckoffCrystal, group: SpaceGroup, change: Change, orbits: list[Array], polar: tuple[int, ...]
) -> Iterator[tuple[tuple[Site, ...], Change]]:
    """The sites after a change, in order; one for each origin that an atom of the first kind of site gives."""
    places = [change.letters[group.letters[site.letter]] for site in crystal.sites]
    turned = [orbit @ change.rotation.T + change.shift for orbit in orbits]
    origins = np.zeros((1, 3))
    if polar:
        kinds = [(place, *_kind(site.symbol)) for place, site in zip(places, crystal.sites, strict=True)]
        atoms = np.concatenate([t for t, kind in zip(turned, kinds, strict=True) if kind == min(kinds)])
        origins = np.zeros_like(atoms)
        origins[:, list(polar)] = np.round(atoms[:, list(polar)] % 1.0, 5)
        origins = np.unique(origins, axis=0)
    for origin in origins:
        sites = [
            Site(
                site.symbol,
                group.positions[place].letter,
                first_parameters(group.positions[place], t - origin),
            )
            for site, place, t in zip(crystal.sites, places, turned, strict=True)
        ]
        yield tuple(sorted(sites, key=lambda s: _order(group, (s,)))), change


def first_parameters(position: Position, atoms: Array) -> tuple[float, float, float]:
    """The first x, y, z that give the orbit of `atoms` (n, 3)."""
    found, fits = position.parameters(atoms, EXACT)
    found = found[fits]
    rounded = np.round(found, 2) % 1.0
    x, y, z = (float(v) % 1.0 for v in found[np.lexsort(rounded.T[::-1])[0]])
    return x, y, z


@cache
def changes_of(number: int) -> Changes:
    """The changes of a space group."""
    group = space_group(number)
    operations = group.positions[-1].maps
    rotations, distinct = np.unique(operations[:, :, :3], axis=0, return_index=True)
    centring = np.flatnonzero((operations[:, :, :3] == np.eye(3)).all(axis=(1, 2)))
    tested = operations[np.union1d(distinct, centring)]
    polar = tuple(k for k in range(3) if np.allclose(rotations[:, :, k], np.eye(3)[k]))
    shifts = np.array(
        list(product(*([0.0] if k in polar else steps for k, steps in enumerate(_steps(number)))))
    )
    kept: dict[tuple[float, ...], Change] = {}
    for rotation in _rotations(number):
        for shift in shifts[_allowed(operations, tested, rotation, shifts)]:
            image = operations[:, :, :3] @ (rotation @ GENERIC + shift) + operations[:, :, 3]
            image[:, list(polar)] = 0.0  # the origin along these is chosen later, by an atom
            first = min(tuple(row) for row in (np.round(image * 1e4).astype(int) % 10_000).tolist())
            key = (*first, *rotation[list(polar)].ravel())
            if key not in kept:
                kept[key] = Change(rotation, shift, _letters(group, rotation, shift))
    return Changes(tuple(kept.values()), polar)


def _steps(number: int) -> tuple[tuple[float, ...], ...]:
    """Shifts to try along each axis."""
    quarters = (0.0, 0.25, 0.5, 0.75)
    thirds = (0.0, 1 / 3, 2 / 3)
    return (thirds, thirds, quarters) if 143 <= number < 195 else (quarters,) * 3


def _rotations(number: int) -> Iterator[Array]:
    """Turns of the axes that any lattice of the crystal system allows, for orthorhombic ones with other lengths."""
    signs = [np.diag(s) for s in product((1.0, -1.0), repeat=3)]
    if number < 3:
        yield from (np.eye(3), -np.eye(3))
    elif number < 16:
        yield from (np.diag(s) for s in ((1.0, 1, 1), (-1.0, -1, -1), (-1.0, 1, -1), (1.0, -1, 1)))
    elif 143 <= number < 195:
        turn, mirror = (one.astype(float) for one in HEXAGONAL)
        for n, m, k in product(range(6), range(2), range(2)):
            up = np.diag((1.0, 1.0, -1.0 if k else 1.0))
            yield np.linalg.matrix_power(turn, n) @ (mirror if m else np.eye(3)) @ up
    else:
        orders = [o for o in permutations(range(3)) if not 75 <= number < 143 or o[2] == 2]
        yield from (np.eye(3)[list(order)] @ sign for order in orders for sign in signs)


def _allowed(operations: Array, tested: Array, rotation: Array, shifts: Array) -> npt.NDArray[np.bool_]:
    """Which shifts (n, 3), with this rotation, turn the group into itself."""
    fine = np.ones(len(shifts), dtype=bool)
    back = np.linalg.inv(rotation)
    for operation in tested:
        turned = rotation @ operation[:, :3] @ back
        same = np.abs(operations[:, :, :3] - turned).max(axis=(1, 2)) < 1e-6
        if not same.any():
            return np.zeros(len(shifts), dtype=bool)
        away = shifts - shifts @ turned.T + rotation @ operation[:, 3]
        differences = away[:, None, :] - operations[same][None, :, :, 3]
        fine &= (np.abs(differences - np.round(differences)).max(axis=2) < 1e-4).any(axis=1)
    return fine


def _letters(group: SpaceGroup, rotation: Array, shift: Array) -> tuple[int, ...]:
    """What each letter becomes."""
    found = []
    for position in group.positions:
        atoms = position.atoms(GENERIC) @ rotation.T + shift
        found.append(
            next(
                k
                for k, other in enumerate(group.positions)
                if other.multiplicity == position.multiplicity and other.parameters(atoms, EXACT)[1].any()
            )
        )
    return tuple(found)
