"""A vacancy's hop in a supercell: its two relaxed ends, and the band of images over the saddle between them.

Climbing-image nudged elastic band: Henkelman, Uberuaga, Jonsson, J. Chem. Phys. 113, 9901 (2000),
doi:10.1063/1.1329672; improved tangents: Henkelman, Jonsson, ibid. 9978, doi:10.1063/1.1323224; first path by
image-dependent pair potentials: Smidstrup et al., ibid. 140, 214106 (2014), doi:10.1063/1.4878664. All through ASE.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pymatgen.core as pmg

from oracles.conduction.hops import Edge, rattled

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import Calculator

SAME_PLACE = 0.5  # angstrom: ends between which no atom moves farther are one and the same
BEND = 0.05  # angstrom, standard deviation of the push that frees a path from the symmetry of a straight line
BEFORE_THE_CLIMB = 4.0  # times fmax: so far the band relaxes before its highest image climbs
SPRING = 0.1  # eV/angstrom^2
IDPP_STEPS = 100

Positions = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Supercell:
    """A supercell of the crystal `unit`, and where in it each of the unit's sites is found again."""

    unit: pmg.Structure
    matrix: npt.NDArray[np.int64]
    structure: pmg.Structure

    @classmethod
    def of(cls, unit: pmg.Structure, matrix: npt.NDArray[np.int64]) -> Supercell:
        """The supercell whose lattice is matrix [3, 3] times that of the unit."""
        return cls(unit, matrix, unit.make_supercell(matrix, in_place=False))

    def number_of(self, site: int, image: tuple[int, int, int] = (0, 0, 0)) -> int:
        """The number in the supercell of the unit's site in the cell `image`."""
        place = (self.unit.frac_coords[site] + image) @ np.linalg.inv(self.matrix)
        apart = self.structure.frac_coords - place
        apart = (apart - np.rint(apart)) @ self.structure.lattice.matrix
        return int(np.argmin(np.linalg.norm(apart, axis=1)))

    def unit_site(self, number: int) -> int:
        """The unit's site that the supercell's site `number` is a copy of."""
        apart = self.structure.frac_coords[number] @ self.matrix - self.unit.frac_coords
        apart = (apart - np.rint(apart)) @ self.unit.lattice.matrix
        return int(np.argmin(np.linalg.norm(apart, axis=1)))

    def without(self, number: int) -> pmg.Structure:
        """The supercell with one site vacant, all others pushed off their places, for every vacancy the same way."""
        return pmg.Structure.from_sites([s for i, s in enumerate(rattled(self.structure)) if i != number])

    def is_filled(self, number: int, positions: Positions) -> bool:
        """Whether a neighbour fell into the vacant site; positions: of all sites, the vacant one's ignored."""
        places, lattice = self.structure.cart_coords, self.structure.lattice
        to_hole = (positions - places[number]) @ lattice.inv_matrix
        to_hole = (to_hole - np.rint(to_hole)) @ lattice.matrix
        own = np.linalg.norm(positions - places, axis=1)
        own[number] = 0.0
        return bool((np.linalg.norm(to_hole, axis=1) < own).any())

    def ends(self, edge: Edge, relaxed: Callable[[int], Positions]) -> tuple[Atoms, Atoms]:
        """Both ends of a hop: the vacancy on its first and on its second site, the hopping ion last.

        relaxed(number): the positions of the supercell's sites after relaxation with that site vacant, in order,
        with any numbers in the place of the vacant one.
        """
        from materials.potential import to_atoms

        first, second, image = edge
        vacant, mover = self.number_of(first), self.number_of(second, image)
        rest = [i for i in range(len(self.structure)) if i not in (vacant, mover)]
        before, after = relaxed(vacant), relaxed(mover)
        begin = to_atoms(pmg.Structure.from_sites([self.structure[i] for i in [*rest, mover]]))
        end = begin.copy()
        begin.positions = before[[*rest, mover]]
        end.positions = after[[*rest, vacant]]
        # The ion goes to the image of the vacant site that this hop means, not to the nearest one.
        target = self.structure.cart_coords[mover] + self._vector(second, image, first)
        whole = np.rint((target - self.structure.cart_coords[vacant]) @ self.structure.lattice.inv_matrix)
        end.positions[-1] += whole @ self.structure.lattice.matrix
        return begin, end

    def _vector(self, second: int, image: tuple[int, int, int], first: int) -> npt.NDArray[np.float64]:
        places = self.unit.frac_coords
        vector: npt.NDArray[np.float64] = (places[first] - places[second] - image) @ self.unit.lattice.matrix
        return vector


@dataclass(frozen=True)
class Band:
    """The images of a hop, both ends included; energies in eV, max_force, left on the band, in eV/angstrom.

    unseen: how far a curve through the images' energies and slopes rises above the highest of them, eV.
    """

    images: list[Atoms]
    energies: tuple[float, ...]
    max_force: float
    steps: int
    converged: bool
    unseen: float


def one_place(begin: Atoms, end: Atoms) -> bool:
    """Whether both ends relaxed into the same valley, so that no barrier is between them."""
    return bool(np.linalg.norm(end.positions - begin.positions, axis=1).max() < SAME_PLACE)


def climb(
    begin: Atoms,
    end: Atoms,
    calculator: Callable[[], Calculator],
    *,
    images: int,
    fmax: float,
    steps: int,
    log: IO[str] | None = None,
) -> Band:
    """The minimum-energy path between two relaxed ends, its highest image on the saddle.

    images: between the ends. fmax: converged when no force on the band is larger, eV/angstrom. steps: at most in all.
    """
    from ase.mep.neb import NEB, idpp_interpolate
    from ase.optimize import FIRE
    from ase.utils.forcecurve import fit_images

    path = [begin.copy() for _ in range(images + 1)] + [end.copy()]
    band = NEB(path, k=SPRING, method="improvedtangent")
    band.interpolate()
    idpp_interpolate(band, traj=None, log=None, mic=True, steps=IDPP_STEPS)
    push = np.random.default_rng(0).normal(scale=BEND, size=begin.positions.shape)
    for image in path[1:-1]:
        image.positions += push
    for image in path:
        image.calc = calculator()
    spent = 0
    for climbing, limit in ((False, BEFORE_THE_CLIMB * fmax), (True, fmax)):
        band.climb = climbing
        optimizer = FIRE(band, logfile=log)
        optimizer.run(fmax=limit, steps=steps - spent)
        spent += optimizer.nsteps
    force = float(np.linalg.norm(band.get_forces(), axis=1).max())
    energies = tuple(float(image.get_potential_energy()) for image in path)
    unseen = float(fit_images(path).fit_energies.max()) - (max(energies) - energies[0])
    return Band(path, energies, force, spent, force <= fmax, max(unseen, 0.0))


def images_for(length: float, spacing: float) -> int:
    """How many images put one on the middle of a hop and none farther than `spacing` from the next, angstrom."""
    return 2 * math.ceil(length / spacing / 2) - 1
