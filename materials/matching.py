"""A quick and safe "no" before pymatgen's StructureMatcher: conditions that every match fulfils.

The conditions are the matcher's own first steps (lattice vectors within `ltol` and `angle_tol`, then every site
near one of its species in fractional coordinates), done with arrays over all lattice mappings at once. They use
the matcher's own tolerances with a little slack, so they never refuse a pair it accepts; a test compares the two.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pymatgen.core as pmg

LENGTH_TOLERANCE = 0.2
SITE_TOLERANCE = 0.3
ANGLE_TOLERANCE = 5.0
# Rounding differs between this and the matcher; a borderline pair is left to the matcher.
SLACK = 1e-4
# Lattice vectors are kept up to this multiple of the longest cell vector.
SHELL = 1.5
# In angstrom: how far get_primitive_structure lets equivalent sites lie apart.
PRIMITIVE_TOLERANCE = 0.25

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Shell:
    """Lattice vectors up to a radius, shortest first.

    vectors: integer combinations [v, 3]; lengths: [v]; directions: unit vectors [v, 3].
    """

    radius: float
    vectors: Integers
    lengths: Floats
    directions: Floats

    @classmethod
    def of(cls, lattice: Floats, radius: float) -> Shell:
        """All combinations of the rows of `lattice` that are no longer than `radius`, zero left out."""
        heights = 1 / np.linalg.norm(np.linalg.inv(lattice), axis=0)
        limits = np.floor(radius / heights + SLACK).astype(np.int64)
        axes = np.meshgrid(*(np.arange(-m, m + 1) for m in limits), indexing="ij")
        grid = np.stack(axes, axis=-1).reshape(-1, 3)
        cartesian = grid @ lattice
        lengths = np.linalg.norm(cartesian, axis=1)
        kept = np.flatnonzero((lengths <= radius) & (lengths > 0))
        kept = kept[np.argsort(lengths[kept], kind="stable")]
        return cls(radius, grid[kept], lengths[kept], cartesian[kept] / lengths[kept, None])


@dataclass(frozen=True)
class ReducedCell:
    """A primitive Niggli cell as the matcher compares it."""

    structure: pmg.Structure

    @classmethod
    def of(cls, structure: pmg.Structure) -> ReducedCell:
        """Reduced as StructureMatcher reduces (Niggli, then primitive)."""
        niggli = structure.get_reduced_structure(reduction_algo="niggli")
        return cls(niggli.get_primitive_structure() if _may_be_smaller(niggli) else niggli)

    @cached_property
    def size(self) -> int:
        """Number of sites."""
        return len(self.structure)

    @cached_property
    def is_ordered(self) -> bool:
        """Whether every site holds exactly one species."""
        return bool(self.structure.is_ordered)

    @cached_property
    def lattice(self) -> Floats:
        """Lattice vectors (rows), scaled to a volume of 1 per site."""
        return np.asarray(self.structure.lattice.matrix * (self.size / self.structure.volume) ** (1 / 3))

    @cached_property
    def lengths(self) -> Floats:
        """Lengths of the scaled lattice vectors."""
        return np.asarray(np.linalg.norm(self.lattice, axis=1))

    @cached_property
    def angles(self) -> Floats:
        """Cell angles in degrees: alpha, beta, gamma."""
        return np.asarray(self.structure.lattice.angles)

    @cached_property
    def cosine_limits(self) -> Floats:
        """[3, 2]: least and greatest cosine of an angle within tolerance of alpha, beta, gamma."""
        margin = ANGLE_TOLERANCE + SLACK
        wide, narrow = np.minimum(self.angles + margin, 180), np.maximum(self.angles - margin, 0)
        return np.asarray(np.cos(np.radians(np.stack([wide, narrow], axis=1))))

    @cached_property
    def bounds(self) -> tuple[float, float, float]:
        """The largest successive minima a lattice may have to be mapped on this one."""
        first, second, third = sorted((1 + LENGTH_TOLERANCE + SLACK) * self.lengths)
        return float(first), float(second), float(third)

    @cached_property
    def minima(self) -> tuple[float, float, float]:
        """Lengths of the three shortest independent lattice vectors of the scaled lattice."""
        vectors, lengths = self.shell.vectors, self.shell.lengths
        normals = np.cross(vectors[0], vectors)
        second = int(np.argmax(np.any(normals != 0, axis=1)))
        third = int(np.argmax(vectors @ normals[second] != 0))
        return float(lengths[0]), float(lengths[second]), float(lengths[third])

    @cached_property
    def shell(self) -> Shell:
        """The lattice vectors that a mapping on a cell of similar shape may need."""
        return Shell.of(self.lattice, SHELL * float(self.lengths.max()))

    @cached_property
    def symbols(self) -> tuple[str, ...]:
        """The element on each site."""
        return tuple(site.specie.symbol for site in self.structure)

    @cached_property
    def coordinates(self) -> Floats:
        """Fractional coordinates [n, 3]."""
        return np.asarray(self.structure.frac_coords)


def _may_be_smaller(structure: pmg.Structure) -> bool:
    """False only when get_primitive_structure, which is slow, would return the cell as it is."""
    labels = np.array([site.species_string for site in structure])
    symbols, counts = np.unique(labels, return_counts=True)
    if np.gcd.reduce(counts) == 1:
        return False
    coordinates = structure.frac_coords
    rarest = coordinates[labels == symbols[np.argmin(counts)]]
    shifts = rarest[1:] - rarest[0]
    tolerance = 2 * PRIMITIVE_TOLERANCE / np.array(structure.lattice.abc) + SLACK
    for symbol in symbols:
        like = coordinates[labels == symbol]
        difference = (like - like[0])[None, :, :] - shifts[:, None, :]
        difference -= np.round(difference)
        shifts = shifts[(np.abs(difference) < tolerance).all(axis=2).any(axis=1)]
    return len(shifts) > 0


def may_match(first: ReducedCell, second: ReducedCell) -> bool:
    """False only when StructureMatcher.fit(first, second) is False. Disordered cells always may."""
    if first.size != second.size:
        return False
    if not (first.is_ordered and second.is_ordered):
        return True
    if any(minimum > bound for minimum, bound in zip(first.minima, second.bounds, strict=True)):
        return False
    mappings = lattice_mappings(first, second)
    return len(mappings) > 0 and _sites_fit(first, second, mappings)


def lattice_mappings(first: ReducedCell, second: ReducedCell) -> Integers:
    """Unimodular matrices [m, 3, 3] that turn the first lattice into one within tolerance of the second."""
    factor = 1 + LENGTH_TOLERANCE + SLACK
    radius = float(second.lengths.max()) * factor
    shell = first.shell if radius <= first.shell.radius else Shell.of(first.lattice, radius)
    starts = np.searchsorted(shell.lengths, second.lengths / factor)
    ends = np.searchsorted(shell.lengths, second.lengths * factor)
    places = [slice(start, end) for start, end in zip(starts, ends, strict=True)]
    a, b, c = (shell.directions[place] for place in places)
    alpha, beta, gamma = second.cosine_limits
    a_b, a_c, b_c = _near(a @ b.T, gamma), _near(a @ c.T, beta), _near(b @ c.T, alpha)
    if not np.any((a_b.astype(np.float32) @ b_c.astype(np.float32))[a_c]):
        return np.empty((0, 3, 3), dtype=np.int64)
    found = np.nonzero(a_b[:, :, None] & a_c[:, None, :] & b_c[None, :, :])
    rows = [shell.vectors[place][chosen] for place, chosen in zip(places, found, strict=True)]
    matrices = np.stack(rows, axis=1)
    determinants = np.abs(np.linalg.det(matrices))
    return np.asarray(matrices[(determinants > 0.5 - SLACK) & (determinants < 1.5 + SLACK)])


def _near(cosines: Floats, limits: Floats) -> npt.NDArray[np.bool_]:
    return np.asarray((cosines >= limits[0]) & (cosines <= limits[1]))


def _sites_fit(first: ReducedCell, second: ReducedCell, mappings: Integers) -> bool:
    """Whether some mapping and translation brings every site of the second near its like in the first."""
    tolerance = _fractional_tolerance(first, second, mappings)
    mapped = first.coordinates @ np.linalg.inv(mappings)
    labels = np.array(first.symbols)
    anchor = min(range(second.size), key=lambda j: first.symbols.count(second.symbols[j]))
    anchors = mapped[:, labels == second.symbols[anchor]]
    relative = second.coordinates - second.coordinates[anchor]
    which, at = np.nonzero(np.ones(anchors.shape[:2], dtype=bool))
    for j in range(second.size):
        if j == anchor:
            continue
        place = anchors[which, at] + relative[j]
        difference = mapped[which][:, labels == second.symbols[j]] - place[:, None, :]
        difference -= np.round(difference)
        near = (np.abs(difference) <= tolerance[which][:, None, :]).all(axis=2).any(axis=1)
        which, at = which[near], at[near]
        if not len(which):
            return False
    return True


def _fractional_tolerance(first: ReducedCell, second: ReducedCell, mappings: Integers) -> Floats:
    """[m, 3]: the matcher's tolerance along each axis of the average of the mapped and the second lattice."""
    cells = mappings @ first.lattice
    lengths = np.linalg.norm(cells, axis=2)
    units = cells / lengths[:, :, None]
    cosines = np.stack(
        [np.sum(units[:, p] * units[:, q], axis=1) for p, q in ((1, 2), (0, 2), (0, 1))], axis=1
    )
    angles = np.radians((np.degrees(np.arccos(np.clip(cosines, -1, 1))) + second.angles) / 2)
    lengths = (lengths + second.lengths) / 2
    cosine = np.cos(angles)
    volumes = np.prod(lengths, axis=1) * np.sqrt(1 - np.sum(cosine**2, axis=1) + 2 * np.prod(cosine, axis=1))
    faces = np.prod(lengths, axis=1)[:, None] / lengths * np.sin(angles)
    free_length = (volumes / first.size) ** (1 / 3)
    return np.asarray(2 * SITE_TOLERANCE * free_length[:, None] * faces / volumes[:, None] + SLACK)
