"""Sameness of materials: tolerance-based, judged apart from the id, first seen wins."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pymatgen.core as pmg

from materials.base import Crystal, Material, canonical_json

if TYPE_CHECKING:
    from pymatgen.analysis.structure_matcher import StructureMatcher


@dataclass
class _Entry:
    """A crystal in the index; its reduced cell is worked out when a comparison first needs it."""

    id: str
    structure: pmg.Structure

    @cached_property
    def reduced(self) -> pmg.Structure:
        return _reduced(self.structure)


class IdentityIndex:
    """Finds the first seen material that is the same as a given one.

    Crystals are the same when pymatgen's StructureMatcher says so (ltol 0.2, stol 0.3, angle_tol 5; elements and
    occupancies count, oxidation states do not, volumes are scaled). Compositions are the same when their reduced
    formulas are.
    """

    def __init__(self) -> None:
        self._buckets: dict[tuple[str, str], list[_Entry]] = defaultdict(list)
        self._exact: dict[str, str] = {}

    def add(self, material_id: str, material: Material) -> None:
        """Remembers `material` under an id; an id may name several materials (before and after relaxation)."""
        self._exact.setdefault(canonical_json(material.to_dict()), material_id)
        if isinstance(material, Crystal):
            self._buckets[_key(material)].append(_Entry(material_id, material.structure))
        else:
            self._exact.setdefault(_composition_key(material), material_id)

    def find(self, material: Material) -> str | None:
        """The id of the first added material that is the same, an exact copy before all others; else None."""
        exact = self._exact.get(canonical_json(material.to_dict()))
        if exact is not None:
            return exact
        if not isinstance(material, Crystal):
            return self._exact.get(_composition_key(material))
        entry = _Entry("", material.structure)
        matcher = structure_matcher()
        for known in self._buckets.get(_key(material), ()):
            if len(known.reduced) == len(entry.reduced) and matcher.fit(
                known.reduced, entry.reduced, skip_structure_reduction=True
            ):
                return known.id
        return None


def structure_matcher() -> StructureMatcher:
    """The matcher that decides sameness everywhere in matloop."""
    from pymatgen.analysis.structure_matcher import ElementComparator, StructureMatcher

    return StructureMatcher(ltol=0.2, stol=0.3, angle_tol=5, comparator=ElementComparator())


def _key(crystal: Crystal) -> tuple[str, str]:
    return crystal.kind, crystal.formula


def _composition_key(material: Material) -> str:
    return f"{material.kind}:{material.formula}"


def _reduced(structure: pmg.Structure) -> Any:
    return structure.get_reduced_structure(reduction_algo="niggli").get_primitive_structure()
