"""Lines of oracles that relax freely with the potential that ships and judge by its hull: what ships foretells them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from loop.config import ConstraintSettings
    from oracles.base import OracleSettings
    from oracles.hull import HullSettings

HULL_DISTANCE = "energy_above_hull"
LOOSEST = 0.1
"""eV/angstrom; what ships learned from relaxations to 0.05, and one that ends sooner ends elsewhere."""


def relaxed_hull(oracles: Sequence[OracleSettings]) -> HullSettings | None:
    """The first hull of a line, where the energy it judges is that of a free relaxation with the shipped potential."""
    from materials.checkpoints import potential_version
    from oracles.hull import HullSettings
    from oracles.reference_choice import SHIPPED_POTENTIAL
    from oracles.relax import RelaxSettings

    number = next((i for i, oracle in enumerate(oracles) if isinstance(oracle, HullSettings)), None)
    if number is None:
        return None
    hull = oracles[number]
    makers = [oracle for oracle in oracles[:number] if "energy_per_atom" in oracle.measures]
    assert isinstance(hull, HullSettings)
    if len(makers) != 1 or not isinstance(relax := makers[0], RelaxSettings):
        return None
    free = relax.cell and not relax.keep_symmetry and not relax.pressure and relax.fmax <= LOOSEST
    return hull if free and relax.model_version() == potential_version(SHIPPED_POTENTIAL, None) else None


def why_not_screened(oracles: Sequence[OracleSettings]) -> str | None:
    """Why a look at a relaxation foretells nothing of this line; None where it does."""
    kinds = [oracle.kind for oracle in oracles]
    if [kind for kind in kinds if kind != "committee"][:2] != ["relax", "hull"] or kinds[0] != "relax":
        return (
            "the energy model serves lines that begin with relax and hull, at most a committee between them, but this "
            f"one has {', '.join(kinds)}"
        )
    if relaxed_hull(oracles) is None:
        return (
            "the energy model has learned from free relaxations with 7net-0, but relax has another potential, holds "
            f"the cell or the symmetry, presses, or ends above fmax {LOOSEST:g}"
        )
    return None


def hull_limit(oracles: Sequence[OracleSettings], constraints: Sequence[ConstraintSettings]) -> float | None:
    """The largest energy_above_hull, eV/atom, with which a line goes on, else that a constraint allows."""
    gates = [oracle.gate[HULL_DISTANCE].at_most for oracle in oracles if HULL_DISTANCE in oracle.gate]
    kept = [c.at_most for c in constraints if c.property == HULL_DISTANCE]
    return next((limit for limit in (*gates, *kept) if limit is not None), None)
