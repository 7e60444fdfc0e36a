"""How finely a DFT calculation is done, by name, and what follows from a structure: k-points and magnetic moments."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from ase import Atoms

ProtocolName = Literal["fast", "standard", "tight"]
PATH_REFINEMENT = 2.0  # a line of points is cheap, and edges like to lie on it
ROUNDING = 1e-3  # of a point: equal axes get equal numbers in spite of rounded cells
OTHER_MOMENT = 0.6  # Bohr magnetons; of MPRelaxSet for what its table does not name
CLOSED_SHELLS = ("La", "Lu", "Sc", "Y", "Zr", "Hf")  # in their compounds the d and f shells are empty or full
SYMMETRY_PRECISION = 1e-3  # angstrom; databases round coordinates


@dataclass(frozen=True)
class Protocol:
    """One level of convergence.

    cutoff: of the plane waves, eV. spacing: largest distance of k-points along a reciprocal vector, 1/angstrom, the
    vectors with their 2 pi. band_spacing: the same for the band gap's grid and its path through the special points.
    smearing: Fermi-Dirac width, eV. energy_tolerance: of self-consistency, eV per valence electron.
    """

    cutoff: float
    spacing: float
    band_spacing: float
    smearing: float
    energy_tolerance: float


# docs/dft.md has the convergence table behind these numbers.
PROTOCOLS: dict[str, Protocol] = {
    "fast": Protocol(cutoff=500.0, spacing=0.35, band_spacing=0.30, smearing=0.05, energy_tolerance=5e-4),
    "standard": Protocol(cutoff=500.0, spacing=0.25, band_spacing=0.20, smearing=0.05, energy_tolerance=1e-4),
    "tight": Protocol(cutoff=700.0, spacing=0.15, band_spacing=0.12, smearing=0.02, energy_tolerance=1e-5),
}


def grid_size(atoms: Atoms, spacing: float) -> tuple[int, int, int]:
    """The Gamma-centred grid whose points are at most `spacing` (1/angstrom) apart.

    Even numbers, unless one point is enough, so that the faces of the Brillouin zone are on it; centred on Gamma it
    keeps the symmetry of hexagonal cells too.
    """
    lengths = 2 * math.pi * np.linalg.norm(atoms.cell.reciprocal(), axis=1)
    counts = [max(1, math.ceil(length / spacing - ROUNDING)) for length in lengths]
    a, b, c = (count if count == 1 else count + count % 2 for count in counts)
    return a, b, c


def gap_kpoints(atoms: Atoms, spacing: float) -> NDArray[np.float64]:
    """K-points [k, 3] among which the band edges are looked for.

    The irreducible points of a Gamma-centred grid, and the path through all high-symmetry points of the Bravais lattice
    (Setyawan, Curtarolo, Comput. Mater. Sci. 49, 299 (2010)), at most `spacing` and half of it apart: edges lie on
    either (silicon's conduction band minimum is between Gamma and X).
    """
    import spglib

    cell = (atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers)
    size = grid_size(atoms, spacing)
    mapping, addresses = spglib.get_ir_reciprocal_mesh(
        size, cell, is_shift=(0, 0, 0), symprec=SYMMETRY_PRECISION
    )
    grid = addresses[np.unique(mapping)] / np.array(size)
    path = atoms.cell.bandpath(density=PATH_REFINEMENT / spacing).kpts
    points = np.concatenate([grid, path])
    _, first = np.unique(np.round(points, 6), axis=0, return_index=True)
    return np.asarray(points[np.sort(first)], dtype=float)


@dataclass(frozen=True)
class WeightedPoints:
    """K-points [k, 3] in units of the reciprocal vectors, their weights [k], of sum 1, and the size of their grid."""

    kpoints: NDArray[np.float64]
    weights: NDArray[np.float64]
    size: tuple[int, int, int]


def shifted_grid(atoms: Atoms, spacing: float) -> WeightedPoints:
    """The irreducible points of a grid moved by half a step along each axis.

    It avoids high-symmetry points, which stand for too little of the Brillouin zone: sums over transitions converge
    much earlier. Only rotations under which the moved grid is whole are used.
    """
    size = np.array(grid_size(atoms, spacing))
    points = (
        np.stack(np.meshgrid(*map(np.arange, size), indexing="ij"), axis=-1).reshape(-1, 3) + 0.5
    ) / size
    least = np.arange(len(points))
    for rotation in _rotations(atoms):
        for sign in (1, -1):  # time reversal
            places = (sign * points @ rotation) * size - 0.5
            if np.allclose(places, np.rint(places), atol=1e-6):
                images = np.ravel_multi_index(tuple((np.rint(places).astype(int) % size).T), tuple(size))
                least = np.minimum(least, images)
    kept, counts = np.unique(least, return_counts=True)
    return WeightedPoints(points[kept], counts / counts.sum(), (int(size[0]), int(size[1]), int(size[2])))


def cartesian_rotations(atoms: Atoms) -> NDArray[np.float64]:
    """The crystal's point group [g, 3, 3] in Cartesian coordinates."""
    cell = atoms.cell.array.T
    return np.array([cell @ rotation @ np.linalg.inv(cell) for rotation in _rotations(atoms)])


def _rotations(atoms: Atoms) -> NDArray[np.int_]:
    """The point group in units of the lattice vectors, acting on columns; row vectors of k-points from the right."""
    import spglib

    cell = (atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers)
    found = spglib.get_symmetry(cell, symprec=SYMMETRY_PRECISION)
    if found is None:
        return np.eye(3, dtype=int)[None]
    return np.unique(found["rotations"], axis=0)


def initial_moments(atoms: Atoms) -> NDArray[np.float64] | None:
    """Starting magnetic moments in Bohr magnetons, ferromagnetic; None where spins are paired.

    Spins are polarised where an element may have an open d or f shell (groups 3 to 11 but Sc, Y, Zr and Hf, whose d
    electrons bond or are gone, lanthanides and actinides) and where the number of electrons is odd. They start as those
    of the Materials Project do (pymatgen's MPRelaxSet): 3d metals from V to Ni, Mo, W and lanthanides by its table,
    every other atom with 0.6.
    """
    symbols = atoms.get_chemical_symbols()
    odd = int(atoms.numbers.sum()) % 2 == 1  # cores are closed shells, so valence electrons are odd with them
    if not (odd or any(_may_be_open(symbol) for symbol in symbols)):
        return None
    table = _moments_by_element()
    return np.array([table.get(symbol, OTHER_MOMENT) for symbol in symbols])


def _may_be_open(symbol: str) -> bool:
    from pymatgen.core import Element

    element = Element(symbol)
    if symbol in CLOSED_SHELLS:
        return False
    inner = element.is_lanthanoid or element.is_actinoid
    return bool(inner or (element.is_transition_metal and element.group < 12))


@lru_cache(maxsize=1)
def _moments_by_element() -> dict[str, float]:
    from pymatgen.core import Species
    from pymatgen.io.vasp.sets import MPRelaxSet

    moments: dict[str, float] = {}
    for name, moment in MPRelaxSet.CONFIG["INCAR"]["MAGMOM"].items():
        element = Species.from_str(name).symbol if name[-1] in "+-" else name
        if element not in CLOSED_SHELLS:
            moments[element] = max(moments.get(element, 0.0), float(moment))
    return moments
