"""Whether the energy model can serve a line of oracles, and the limit it judges by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from materials.potential import potential_version

if TYPE_CHECKING:
    from loop.config import ConstraintSettings
    from oracles.base import OracleSettings

POTENTIAL = "7net-0"
"""The potential whose relaxations the energy model that ships has learned from."""
HULL_DISTANCE = "energy_above_hull"


def why_not_screened(oracles: Sequence[OracleSettings]) -> str | None:
    """Why a look foretells nothing of this line, None where it does: a free relaxation with 7net-0, then the hull."""
    kinds = [oracle.kind for oracle in oracles]
    if kinds[:2] != ["relax", "hull"]:
        return f"the energy model serves lines that begin with relax and hull, but this one has {', '.join(kinds)}"
    relax = oracles[0]
    if relax.model_version() != potential_version(POTENTIAL):
        return (
            f"the energy model has learned from relaxations with {POTENTIAL}, but relax has another potential"
        )
    if getattr(relax, "keep_symmetry", False) or not getattr(relax, "cell", True):
        return "the energy model has learned from free relaxations, but relax holds the cell or the symmetry"
    return None


def hull_limit(oracles: Sequence[OracleSettings], constraints: Sequence[ConstraintSettings]) -> float | None:
    """The largest energy_above_hull, eV/atom, with which a line goes on, else that a constraint allows."""
    gates = [oracle.gate[HULL_DISTANCE].at_most for oracle in oracles if HULL_DISTANCE in oracle.gate]
    kept = [c.at_most for c in constraints if c.property == HULL_DISTANCE]
    return next((limit for limit in (*gates, *kept) if limit is not None), None)
