"""The hops of a mobile ion between neighbouring sites of a crystal, sorted by symmetry."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pymatgen.core as pmg

from oracles.conduction.percolation import Image

SYMMETRY_PRECISION = 0.05  # angstrom; a relaxation leaves atoms that far from their ideal places at most
BLOCKED = 0.01  # relative; an ion on the sphere whose poles are a hop's ends counts as within

RATTLE = 0.1  # angstrom, standard deviation; about how far a lithium ion vibrates at room temperature

Edge = tuple[int, int, Image]


@dataclass(frozen=True)
class Hop:
    """A symmetry-distinct hop: from site `first` of the home cell to site `second` of the cell `image`.

    first, second: numbers of sites in the structure. length in angstrom. equivalents: every hop that symmetry makes
    of it, itself first, each written in one of its two directions.
    """

    first: int
    second: int
    image: Image
    length: float
    equivalents: tuple[Edge, ...]


def primitive_cell(structure: pmg.Structure) -> pmg.Structure:
    """The idealised primitive cell (spglib), bare of oxidation states and other decorations."""
    from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

    bare = pmg.Structure(structure.lattice, [site.specie.symbol for site in structure], structure.frac_coords)
    return SpacegroupAnalyzer(bare, symprec=SYMMETRY_PRECISION).find_primitive() or bare


def rattled(structure: pmg.Structure) -> pmg.Structure:
    """The structure with every atom pushed a little, always the same way, so that no symmetry holds it on a saddle.

    Source: Mosquera-Lois, Kavanagh, Walsh, Scanlon, npj Comput. Mater. 9, 25 (2023), doi:10.1038/s41524-023-00973-1.
    """
    push = np.random.default_rng(0).normal(scale=RATTLE, size=(len(structure), 3))
    places = structure.cart_coords + push
    return pmg.Structure(structure.lattice, structure.species, places, coords_are_cartesian=True)


def distinct_sites(structure: pmg.Structure, ion: str) -> dict[int, int]:
    """The sites of the ion: number of the site -> number of the first site that symmetry makes it equal to."""
    equal = _symmetry(structure).equivalent_atoms
    first: dict[int, int] = {}
    for site, atom in enumerate(structure):
        if atom.specie.symbol == ion:
            first.setdefault(int(equal[site]), site)
    return {site: first[int(equal[site])] for site, atom in enumerate(structure) if atom.specie.symbol == ion}


def distinct_hops(structure: pmg.Structure, ion: str, longest: float) -> list[Hop]:
    """The symmetry-distinct hops of the ion up to `longest` angstrom, shortest first.

    A hop is between two sites of the ion with no third one within the sphere whose poles they are: through a third
    the way is two hops. These pairs (a Gabriel graph; Gabriel, Sokal, Syst. Zool. 18, 259 (1969),
    doi:10.2307/2412323) join all sites of a crystal into one network where `longest` does not cut it.
    """
    sites = [i for i, atom in enumerate(structure) if atom.specie.symbol == ion]
    lengths = dict(_elementary(structure, sites, longest))
    operations = _operations(structure, sites)
    hops: list[Hop] = []
    seen: set[Edge] = set()
    for edge in sorted(lengths, key=lambda e: (round(lengths[e], 3), e)):
        if edge in seen:
            continue
        images = dict.fromkeys(_undirected(_moved(edge, *operation)) for operation in operations)
        images.pop(edge, None)
        equivalents = (edge, *images)
        seen.update(equivalents)
        hops.append(Hop(*edge, lengths[edge], equivalents))
    return hops


def _elementary(
    structure: pmg.Structure, sites: Sequence[int], longest: float
) -> Iterator[tuple[Edge, float]]:
    ions = pmg.Structure.from_sites([structure[i] for i in sites])
    first, second, images, distances = ions.get_neighbor_list(longest)
    places = ions.frac_coords
    ends = (places[second] + images) @ ions.lattice.matrix
    for i in range(len(ions)):
        near = first == i
        start = places[i] @ ions.lattice.matrix
        for j, image, end, length in zip(
            second[near], images[near], ends[near], distances[near], strict=True
        ):
            away = np.linalg.norm(ends[near] - (start + end) / 2, axis=1)
            itself = np.linalg.norm(ends[near] - end, axis=1) < 1e-6
            if (away[~itself] > length / 2 * (1 + BLOCKED)).all():
                edge = (sites[i], sites[int(j)], _image(image))
                if edge == _undirected(edge):
                    yield edge, float(length)


def _undirected(edge: Edge) -> Edge:
    """Of the two ways to write a hop, the one that sorts first."""
    first, second, image = edge
    return min(edge, (second, first, (-image[0], -image[1], -image[2])))


def _symmetry(structure: pmg.Structure) -> Any:
    from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

    return SpacegroupAnalyzer(structure, symprec=SYMMETRY_PRECISION).get_symmetry_dataset()


Operation = tuple[npt.NDArray[np.int64], dict[int, int], dict[int, npt.NDArray[np.int64]]]


def _operations(structure: pmg.Structure, sites: Sequence[int]) -> list[Operation]:
    """Per symmetry operation its rotation, where it takes each site, and into which cell."""
    dataset = _symmetry(structure)
    places = structure.frac_coords[sites]
    operations: list[Operation] = []
    for rotation, translation in zip(dataset.rotations, dataset.translations, strict=True):
        goes, cells = {}, {}
        for site, moved in zip(sites, places @ rotation.T + translation, strict=True):
            apart = moved - places
            offset = np.linalg.norm((apart - np.rint(apart)) @ structure.lattice.matrix, axis=1)
            nearest = int(np.argmin(offset))
            goes[site], cells[site] = sites[nearest], np.rint(apart[nearest]).astype(np.int64)
        operations.append((rotation.astype(np.int64), goes, cells))
    return operations


def _moved(
    edge: Edge,
    rotation: npt.NDArray[np.int64],
    goes: dict[int, int],
    cells: dict[int, npt.NDArray[np.int64]],
) -> Edge:
    first, second, image = edge
    return goes[first], goes[second], _image(rotation @ np.array(image) + cells[second] - cells[first])


def _image(vector: npt.NDArray[Any]) -> Image:
    a, b, c = (round(float(x)) for x in vector)
    return a, b, c


def smallest_supercell(lattice: pmg.Lattice, distance: float) -> npt.NDArray[np.int64]:
    """The integer matrix [3, 3] of the smallest supercell whose images are all `distance` angstrom away or more.

    Of several equally small ones that with the farthest images. Every sublattice is tried once (Hermite normal forms;
    Hart, Forcade, Phys. Rev. B 77, 224115 (2008), doi:10.1103/PhysRevB.77.224115), from the least volume that a
    densest packing of such cells allows.
    """
    size = max(1, math.floor(distance**3 / math.sqrt(2) / lattice.volume))
    _, lengths, _, vectors = lattice.get_points_in_sphere(
        [[0, 0, 0]], [0, 0, 0], 1.5 * distance, zip_results=False
    )
    order = np.argsort(lengths)[1:]
    lengths, vectors = lengths[order], np.rint(vectors[order])
    while True:
        best, farthest = None, distance - 1e-6
        for form in _hermite_normal_forms(size):
            multiples = vectors @ np.linalg.inv(form)
            kept = (
                np.abs(multiples - np.rint(multiples)).max(axis=1) < 1e-6
            )  # vectors of the supercell's lattice
            nearest = float(lengths[np.argmax(kept)]) if kept.any() else 1.5 * distance
            if nearest > farthest + 1e-6:
                best, farthest = form, nearest
        if best is not None:
            reduced = pmg.Lattice(best @ lattice.matrix).get_lll_reduced_lattice()
            matrix: npt.NDArray[np.int64] = np.rint(reduced.matrix @ lattice.inv_matrix).astype(np.int64)
            return matrix
        size += 1


def _hermite_normal_forms(size: int) -> Iterator[npt.NDArray[np.int64]]:
    for a in (a for a in range(1, size + 1) if size % a == 0):
        for c in (c for c in range(1, size // a + 1) if (size // a) % c == 0):
            f = size // a // c
            for b in range(c):
                for d in range(f):
                    for e in range(f):
                        yield np.array([[a, 0, 0], [b, c, 0], [d, e, f]])
