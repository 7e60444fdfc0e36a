"""Structures to substitute into: AFLOW prototypes, the user's own structures, the campaign's best.

The 288 prototypes come with pymatgen: Mehl, Hicks, Toher, Levy, Hanson, Hart, Curtarolo, Comput. Mater. Sci. 136,
S1 (2017) (doi:10.1016/j.commatsci.2017.01.017).
"""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pymatgen.core as pmg

from generators.species import Species, ionic_radius, likely_charges, species_volume

SYMMETRY_PRECISION = 0.05
# Pairs farther apart than this (angstrom) are no bonds in any crystal.
LONGEST_BOND = 6.0
# An ion's nearest counter-ion is at most this many times as far as its nearest neighbour. All but 1 of 333 known
# lithium phases keep it. Of 60 ternary and quaternary candidates relaxed with SevenNet-0, 17 of the 50 that keep it and
# none of the 10 that break it ended within 0.15 eV/atom of the hull.
COUNTER_ION = 1.2


@dataclass(frozen=True, eq=False)
class Template:
    """A primitive cell split into its symmetry orbits, each free to take another element.

    members: the sites of each orbit. species: what each orbit holds. distances: [orbits, orbits], the shortest one
    between two orbits in angstrom, infinite beyond LONGEST_BOND. parent: the candidate id where the structure is
    the campaign's own.
    """

    name: str
    structure: pmg.Structure
    members: tuple[tuple[int, ...], ...]
    species: tuple[Species, ...]
    distances: npt.NDArray[np.float64]
    parent: str | None = None

    @property
    def counts(self) -> tuple[int, ...]:
        """Atoms in each orbit."""
        return tuple(len(sites) for sites in self.members)

    def volume(self, species: tuple[Species, ...]) -> float:
        """The cell's volume in cubic angstrom once its orbits hold `species`.

        The sum of the species' volumes; where the ionic radii of the old and the new species are known, the
        geometric mean of it and of the template's volume times the cube of the mean ratio of cation-anion bond
        lengths (sums of radii).
        """
        added = sum(n * species_volume(s) for n, s in zip(self.counts, species, strict=True))
        scale = self._bond_scale(species)
        return added if scale is None else float(np.sqrt(added * self.structure.volume * scale**3))

    def is_ionic(self, species: tuple[Species, ...]) -> bool:
        """Whether every ion's nearest counter-ion is within COUNTER_ION times its nearest distance.

        Judged on the orbits alone, before anything is built; True where there are no charges.
        """
        signs = np.sign([charge for _, charge in species])
        if not signs.any():
            return True
        counter = np.where(signs[:, None] * signs[None, :] < 0, self.distances, np.inf).min(axis=1)
        return bool(np.all(counter <= COUNTER_ION * self.distances.min(axis=1) + 1e-3))

    def _bond_scale(self, species: tuple[Species, ...]) -> float | None:
        old = [ionic_radius(s) for s in self.species]
        new = [ionic_radius(s) for s in species]
        ratios = {
            frozenset((species[i], species[j])): (new_i + new_j) / (old_i + old_j)
            for i, (old_i, new_i) in enumerate(zip(old, new, strict=True))
            for j, (old_j, new_j) in enumerate(zip(old[:i], new[:i], strict=True))
            if np.isfinite(self.distances[i, j])
            and species[i][1] * species[j][1] < 0
            and old_i
            and old_j
            and new_i
            and new_j
        }
        unknown = any(radius is None for radius in (*old, *new))
        return None if unknown or not ratios else float(np.mean(list(ratios.values())))

    def decorated(self, species: tuple[Species, ...]) -> pmg.Structure:
        """The structure with each orbit's sites holding the new element, scaled to its volume."""
        symbols = [""] * len(self.structure)
        for sites, (symbol, _) in zip(self.members, species, strict=True):
            for site in sites:
                symbols[site] = symbol
        lattice = self.structure.lattice.scale(self.volume(species))
        return pmg.Structure(lattice, symbols, self.structure.frac_coords)


def template_from(name: str, structure: pmg.Structure, parent: str | None = None) -> Template:
    """The template of an ordered structure; symmetry and primitive cell by spglib at SYMMETRY_PRECISION angstrom."""
    import spglib

    cell = (structure.lattice.matrix, structure.frac_coords, structure.atomic_numbers)
    found = spglib.find_primitive(cell, symprec=SYMMETRY_PRECISION) or cell
    data = spglib.get_symmetry_dataset(found, symprec=SYMMETRY_PRECISION)
    labels = list(range(len(found[2]))) if data is None else [int(i) for i in data.equivalent_atoms]
    symbols = [pmg.Element.from_Z(int(z)).symbol for z in found[2]]
    primitive = pmg.Structure(found[0], symbols, found[1])
    members = tuple(
        tuple(i for i, label in enumerate(labels) if label == orbit) for orbit in dict.fromkeys(labels)
    )
    charges = likely_charges(primitive.composition.get_el_amt_dict())
    species = tuple((symbols[sites[0]], charges[symbols[sites[0]]]) for sites in members)
    return Template(name, primitive, members, species, _distances(primitive, members), parent)


def _distances(structure: pmg.Structure, members: tuple[tuple[int, ...], ...]) -> npt.NDArray[np.float64]:
    orbit = np.zeros(len(structure), dtype=int)
    for i, sites in enumerate(members):
        orbit[list(sites)] = i
    shortest = np.full((len(members), len(members)), np.inf)
    first, second, _, lengths = structure.get_neighbor_list(LONGEST_BOND)
    np.minimum.at(shortest, (orbit[first], orbit[second]), lengths)
    return shortest


@cache
def aflow_templates(most_atoms: int) -> tuple[Template, ...]:
    """The prototypes with at most `most_atoms` atoms (their cells are primitive), in the library's order."""
    entries = [
        (
            entry["tags"]["aflow"],
            pmg.Structure.from_dict({key: entry["snl"][key] for key in ("lattice", "sites")}),
        )
        for entry in _aflow_entries()
    ]
    return tuple(
        template_from(f"{label} ({structure.composition.reduced_formula})", structure)
        for label, structure in entries
        if len(structure) <= most_atoms
    )


def _aflow_entries() -> list[dict[str, dict[str, str]]]:
    """The library as JSON: importing pymatgen's module for it would cost 4 s."""
    spec = find_spec("pymatgen.analysis")
    folders = list(spec.submodule_search_locations or ()) if spec else []
    found = sorted(path for folder in folders for path in Path(folder).rglob("aflow_prototypes.json*"))
    if not found:
        raise FileNotFoundError(
            "aflow_prototypes.json is missing from pymatgen; reinstall pymatgen, or leave the prototypes out "
            "with  prototypes: false"
        )
    opened = gzip.open if found[0].suffix == ".gz" else open
    with opened(found[0], "rt", encoding="utf-8") as handle:
        entries: list[dict[str, dict[str, str]]] = json.load(handle)
    return entries
