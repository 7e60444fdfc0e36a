"""Sameness of materials: tolerance-based, judged apart from the id, first seen wins."""

from __future__ import annotations

from collections import defaultdict
from functools import cache, cached_property
from typing import TYPE_CHECKING

import pymatgen.core as pmg

from materials.base import Crystal, Material, content_hash
from materials.matching import ANGLE_TOLERANCE, LENGTH_TOLERANCE, SITE_TOLERANCE, ReducedCell, may_match

if TYPE_CHECKING:
    from pymatgen.analysis.structure_matcher import StructureMatcher


class _Known:
    """A crystal in the index; its reduced cell is worked out when a comparison first needs it."""

    def __init__(self, material_id: str, structure: pmg.Structure) -> None:
        self.id = material_id
        self.structure = structure

    @cached_property
    def cell(self) -> ReducedCell:
        return ReducedCell.of(self.structure)


class IdentityIndex:
    """Finds the first seen material that is the same as a given one.

    Crystals are the same when StructureMatcher(ltol 0.2, stol 0.3, angle_tol 5) of pymatgen says so for the
    known and the new one: elements and occupancies count, oxidation states do not, volumes are scaled.
    Compositions are the same when their reduced formulas are. A crystal and a composition never are.
    """

    def __init__(self) -> None:
        self._first: dict[str, str] = {}
        self._crystals: dict[str, list[_Known]] = defaultdict(list)

    def add(self, material_id: str, material: Material) -> None:
        """Remembers `material` under an id; one id may name several (as proposed, as relaxed)."""
        self._first.setdefault(_exact_key(material), material_id)
        if isinstance(material, Crystal):
            structure = _rounded(material.structure)
            self._crystals[_element_formula(structure)].append(_Known(material_id, structure))

    def find(self, material: Material) -> str | None:
        """The id of an exact copy, else of the first added material that is the same, else None."""
        exact = self._first.get(_exact_key(material))
        if exact is not None or not isinstance(material, Crystal):
            return exact
        structure = _rounded(material.structure)
        known = self._crystals.get(_element_formula(structure))
        if not known:
            return None
        cell = ReducedCell.of(structure)
        return next((other.id for other in known if _same(other.cell, cell)), None)


@cache
def structure_matcher() -> StructureMatcher:
    """The matcher that decides sameness everywhere in matloop."""
    from pymatgen.analysis.structure_matcher import ElementComparator, StructureMatcher

    return StructureMatcher(LENGTH_TOLERANCE, SITE_TOLERANCE, ANGLE_TOLERANCE, comparator=ElementComparator())


def _same(first: ReducedCell, second: ReducedCell) -> bool:
    return may_match(first, second) and bool(
        structure_matcher().fit(first.structure, second.structure, skip_structure_reduction=True)
    )


def _rounded(structure: pmg.Structure) -> pmg.Structure:
    """Partial occupancies to three digits, as files write them; an ordered structure as it is."""
    if structure.is_ordered:
        return structure
    species = [{str(k): round(v, 3) for k, v in site.species.items()} for site in structure]
    return pmg.Structure(structure.lattice, species, structure.frac_coords)


def _element_formula(structure: pmg.Structure) -> str:
    return str(structure.composition.element_composition.reduced_formula)


def _exact_key(material: Material) -> str:
    return content_hash(
        material.to_dict() if isinstance(material, Crystal) else [material.kind, material.formula]
    )
