"""Sameness of materials: tolerance-based, judged apart from the id, first seen wins."""

from __future__ import annotations

from collections import defaultdict
from functools import cache
from typing import TYPE_CHECKING

import pymatgen.core as pmg

from materials.base import Crystal, Material, content_hash
from materials.matching import ANGLE_TOLERANCE, LENGTH_TOLERANCE, SITE_TOLERANCE, ReducedCell, may_match

if TYPE_CHECKING:
    from pymatgen.analysis.structure_matcher import StructureMatcher


class IdentityIndex:
    """Finds the first seen material that is the same as a given one.

    Crystals are the same when StructureMatcher(ltol 0.2, stol 0.3, angle_tol 5) of pymatgen says so for the
    known and the new one: elements and occupancies count, oxidation states do not, volumes are scaled.
    Compositions are the same when their reduced formulas are. A crystal and a composition never are.
    """

    def __init__(self) -> None:
        self._first: dict[str, str] = {}
        self._crystals: dict[str, list[tuple[str, Crystal]]] = defaultdict(list)

    def add(self, material_id: str, material: Material) -> None:
        """Remembers `material` under an id; one id may name several (as proposed, as relaxed)."""
        self._first.setdefault(_exact_key(material), material_id)
        if isinstance(material, Crystal):
            crystal = _rounded(material)
            self._crystals[_element_formula(crystal.structure)].append((material_id, crystal))

    def find(self, material: Material) -> str | None:
        """The id of an exact copy, else of the first added material that is the same, else None."""
        exact = self._first.get(_exact_key(material))
        if exact is not None or not isinstance(material, Crystal):
            return exact
        crystal = _rounded(material)
        known = self._crystals.get(_element_formula(crystal.structure), ())
        return next((other_id for other_id, other in known if _same(other.reduced, crystal.reduced)), None)


@cache
def structure_matcher() -> StructureMatcher:
    """The matcher that decides sameness everywhere in matloop."""
    from pymatgen.analysis.structure_matcher import ElementComparator, StructureMatcher

    return StructureMatcher(LENGTH_TOLERANCE, SITE_TOLERANCE, ANGLE_TOLERANCE, comparator=ElementComparator())


def _same(first: ReducedCell, second: ReducedCell) -> bool:
    return may_match(first, second) and bool(
        structure_matcher().fit(first.structure, second.structure, skip_structure_reduction=True)
    )


def _rounded(crystal: Crystal) -> Crystal:
    """Partial occupancies to three digits, as files write them; an ordered crystal as it is."""
    if crystal.is_ordered:
        return crystal
    structure = crystal.structure
    species = [{str(k): round(v, 3) for k, v in site.species.items()} for site in structure]
    return Crystal(pmg.Structure(structure.lattice, species, structure.frac_coords))


def _element_formula(structure: pmg.Structure) -> str:
    return str(structure.composition.element_composition.reduced_formula)


def _exact_key(material: Material) -> str:
    return (
        material.digest if isinstance(material, Crystal) else content_hash([material.kind, material.formula])
    )
