"""Signs that a potential was led where it is wrong, so that its energy means nothing.

A search rewards low energies, and finds the places where a potential gives them for no good reason. The limits are
generous. Of the 6,875 relaxed phases of the reference hull one has atoms nearer than the shortest contact (plutonium,
mp-613989, 0.49; the next are uranium at 0.65). Of 3,412 known phases relaxed with SevenNet-0 they refuse 20: 14 that
the potential blew up to 190 cubic angstrom per atom and more, and 6 whose layers lie over 6 angstrom apart already in
the database.
"""

from __future__ import annotations

from collections import deque

import numpy as np
import numpy.typing as npt
import pymatgen.core as pmg

from materials.chemistry import covalent_radius

SHORTEST_CONTACT = 0.64  # of the sum of two covalent radii; uranium has 0.65
VOLUME_PER_ATOM = (3.0, 150.0)  # cubic angstrom
WIDEST_GAP = (
    5.0  # angstrom between atoms across which a crystal still holds together; layers are 3 to 4 apart
)
GROUND_STATE_NOISE = 0.005  # eV/atom; relaxations of one phase from two starts end within it


def why_repacked(structure: pmg.Structure, energy_above_hull: float, rediscovered: str | None) -> str | None:
    """Why an element below its known ground state is an error of the potential; None where it is not below.

    energy_above_hull: eV/atom. The ground states of the elements are known, so a packing that a potential likes better
    is none. A rediscovered phase may lie below by the noise of relaxations; not by more, because phases are matched
    whatever their volume.
    """
    if len(structure.composition.elements) > 1 or energy_above_hull >= 0:
        return None
    if rediscovered is not None and energy_above_hull >= -GROUND_STATE_NOISE:
        return None
    return (
        f"{-energy_above_hull:.3f} eV/atom below the known ground state of the element at "
        f"{structure.volume / len(structure):.1f} cubic angstrom per atom; such a repacking is an error of the "
        "potential and no discovery"
    )


def why_unphysical(structure: pmg.Structure) -> str | None:
    """The first reason to distrust an ordered, relaxed structure; None where there is none."""
    reason = why_wrong_volume(structure)
    if reason is not None:
        return reason
    first, second, images, distances = structure.get_neighbor_list(WIDEST_GAP)
    return _short_contact(structure, first, second, distances) or _falls_apart(
        structure, first, second, images
    )


def why_wrong_volume(structure: pmg.Structure) -> str | None:
    """Says so where no solid has this volume per atom."""
    volume = float(structure.volume) / len(structure)
    low, high = VOLUME_PER_ATOM
    if low <= volume <= high:
        return None
    return f"{volume:.3g} cubic angstrom per atom (known phases lie within {low:g} and {high:g})"


def _short_contact(
    structure: pmg.Structure,
    first: npt.NDArray[np.int64],
    second: npt.NDArray[np.int64],
    distances: npt.NDArray[np.float64],
) -> str | None:
    if not len(distances):
        return None
    radii = np.array([covalent_radius(site.specie.symbol) for site in structure])
    ratios = distances / (radii[first] + radii[second])
    worst = int(np.argmin(ratios))
    if ratios[worst] >= SHORTEST_CONTACT:
        return None
    pair = f"{structure[int(first[worst])].specie.symbol} and {structure[int(second[worst])].specie.symbol}"
    return (
        f"{pair} are {distances[worst]:.2f} angstrom apart, {ratios[worst]:.3f} of the sum of their covalent "
        f"radii (limit {SHORTEST_CONTACT:g})"
    )


def _falls_apart(
    structure: pmg.Structure,
    first: npt.NDArray[np.int64],
    second: npt.NDArray[np.int64],
    images: npt.NDArray[np.int64],
) -> str | None:
    """Atoms within the widest gap are linked; the network must be one piece, infinite in 3 dimensions."""
    neighbours: list[list[tuple[int, npt.NDArray[np.int64]]]] = [[] for _ in structure]
    for i, j, image in zip(first, second, images, strict=True):
        neighbours[int(i)].append((int(j), image.astype(int)))
    cell_of = {0: np.zeros(3, dtype=int)}
    cycles: list[npt.NDArray[np.int64]] = []
    queue = deque([0])
    while queue:
        atom = queue.popleft()
        for other, image in neighbours[atom]:
            cell = cell_of[atom] + image
            if other not in cell_of:
                cell_of[other] = cell
                queue.append(other)
            elif (cell != cell_of[other]).any():
                cycles.append(cell - cell_of[other])
    if len(cell_of) < len(structure) or not cycles or np.linalg.matrix_rank(np.array(cycles)) < 3:
        return f"it fell into pieces more than {WIDEST_GAP:g} angstrom apart"
    return None
