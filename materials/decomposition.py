"""Decomposition of a composition into known phases, and whether enough phases are known to judge it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import pymatgen.core as pmg
from numpy.typing import NDArray

from materials.chemistry import electronegativity
from materials.reference_table import ReferenceEntry

# Pauling's limit of ionic bonding: two elements further apart than this form a compound, so a reference that
# holds none of theirs is incomplete.
IONIC_DIFFERENCE = 1.7
ADD_HINT = "add it with `python -m loop.hull add` and name the file under `reference:`"


@dataclass(frozen=True)
class Subsystem:
    """The known phases of a set of elements, the lowest of each formula.

    fractions: [elements, phases], atomic fractions. energies: [phases], eV/atom, corrected. stds: [phases], what a
    single-point geometry adds to an energy's error, eV/atom.
    """

    elements: tuple[str, ...]
    entries: tuple[ReferenceEntry, ...]
    fractions: NDArray[np.float64]
    energies: NDArray[np.float64]
    stds: NDArray[np.float64]

    def target(self, composition: pmg.Composition) -> NDArray[np.float64]:
        """A composition's atomic fractions, [elements]."""
        return np.array([composition.get_atomic_fraction(symbol) for symbol in self.elements])

    def with_phase(self, entry: ReferenceEntry, energy: float, std: float) -> Subsystem:
        """The same with one more phase, last; energy and std in eV/atom."""
        fractions = self.target(pmg.Composition(entry.formula))
        return replace(
            self,
            entries=(*self.entries, entry),
            fractions=np.column_stack([self.fractions, fractions]),
            energies=np.append(self.energies, energy),
            stds=np.append(self.stds, std),
        )


def why_sparse(subsystem: Subsystem) -> str:
    """Why the known phases of these elements do not suffice to judge a compound of them; empty where they do.

    Abstain where (1) an element has no elemental phase; (2) several elements have no compound of two or more
    of them at all, so that only the pure elements would remain to compare with; (3) two elements further
    apart than Pauling's ionic limit have no compound of just the two, which nature nearly always has.
    """
    present = {frozenset(entry.elements) for entry in subsystem.entries}
    missing = [symbol for symbol in subsystem.elements if frozenset({symbol}) not in present]
    if missing:
        return f"the reference has no elemental phase of {', '.join(missing)}; {ADD_HINT}"
    if len(subsystem.elements) > 1 and all(len(elements) == 1 for elements in present):
        return f"the reference has no compound of {'-'.join(subsystem.elements)}; {ADD_HINT}"
    for first, second in combinations(subsystem.elements, 2):
        numbers = electronegativity(first), electronegativity(second)
        ionic = min(numbers) > 0 and abs(numbers[0] - numbers[1]) >= IONIC_DIFFERENCE
        if ionic and frozenset({first, second}) not in present:
            return f"the reference has no compound of just {first} and {second}; {ADD_HINT}"
    return ""


def decompose(subsystem: Subsystem, target: NDArray[np.float64]) -> NDArray[np.float64]:
    """Amounts [phases] (atomic fractions) of the phase mixture of lowest energy with the target's composition."""
    from scipy.optimize import linprog

    result = linprog(
        subsystem.energies,
        A_eq=subsystem.fractions,
        b_eq=target,
        method="highs",
        options={"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10},
    )
    if not result.success:
        raise RuntimeError(
            f"the hull of {'-'.join(subsystem.elements)} could not be computed: {result.message}"
        )
    amounts: NDArray[np.float64] = np.asarray(result.x)
    support = amounts > 1e-8
    # The solver's vertex is exact up to its tolerance; solving for it again removes that error.
    amounts = np.zeros_like(amounts)
    amounts[support] = np.linalg.lstsq(subsystem.fractions[:, support], target, rcond=None)[0]
    return np.clip(amounts, 0.0, None)
