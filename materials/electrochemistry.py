"""What a material does against the metal of a mobile ion and against electrodes, from the reference hull.

The electrochemical window is where the mobile ion's chemical potential lets the material neither take up nor give off
ions: Zhu, He, Mo, ACS Appl. Mater. Interfaces 2015, 7, 23685 (doi:10.1021/acsami.5b07517). The reaction at an
interface is that of the mixing ratio which gives most energy: Richards, Miara, Wang, Kim, Ceder, Chem. Mater. 2016,
28, 266 (doi:10.1021/acs.chemmater.5b04082). Both are linear programmes over the known phases, as distances to the hull
are, so that many elements cost no more than few; they agree with pymatgen's PhaseDiagram.get_element_profile and
InterfacialReactivity, which build the whole diagram first.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pymatgen.core as pmg
from numpy.typing import NDArray

from materials.corrections import require_corrected
from materials.decomposition import Subsystem, decompose, why_sparse
from materials.hull import DecompositionPhase, ReferenceHull, phases_of
from materials.reference_table import ReferenceEntry

Floats = NDArray[np.float64]
SMALLEST = 1e-6  # amounts and energies (eV/atom) below it are the solver's


class UnknownReferenceError(ValueError):
    """The reference knows too few phases of these elements to tell a reaction."""


@dataclass(frozen=True)
class Limit:
    """An end of the electrochemical window, V against the metal of the mobile ion.

    std: what single-point reference energies and the material's own error contribute, V. reaction: formula units by
    formula for one ion that is taken up (reduction) or given off (oxidation), what is consumed negative; empty where
    the metal itself is the limit.
    """

    potential: float
    std: float
    reaction: Mapping[str, float]


@dataclass(frozen=True)
class Window:
    """Where a material neither takes up nor gives off the mobile ion; width_std in V, as in Limit."""

    reduction: Limit
    oxidation: Limit
    width_std: float

    @property
    def width(self) -> float:
        """V; 0 where the material is in equilibrium at a single potential."""
        return max(0.0, self.oxidation.potential - self.reduction.potential)


@dataclass(frozen=True)
class InterfaceReaction:
    """The reaction of a material with an electrode at the mixing ratio that gives most energy.

    energy (at most 0) and std: eV per atom of the mixture, the mobile ion not counted where it comes from a reservoir.
    fraction: the material's share of these atoms. products: empty where nothing reacts.
    """

    electrode: str
    energy: float
    std: float
    fraction: float
    products: tuple[DecompositionPhase, ...]


class Electrochemistry:
    """Reactions of one material, whose energy is the reference hull's own.

    A material above the hull is lowered to it: it stands for the phases it decomposes into. So its window is what they
    have in common, as in Zhu, He, Mo (2015), and an interface's energy does not count the energy above the hull again.
    One below the hull stands for itself, and widens the window.
    """

    def __init__(
        self,
        hull: ReferenceHull,
        composition: pmg.Composition | str,
        energy_per_atom: float,
        std: float = 0.0,
    ) -> None:
        """energy_per_atom: corrected, eV/atom, with its std. Raises UncorrectedEnergyError on an uncorrected hull."""
        require_corrected(hull.source.correction, "an electrochemical reaction")
        self._hull = hull
        self._composition = pmg.Composition(composition)
        formula = self._composition.reduced_formula
        self._own = ReferenceEntry(
            "candidate", formula, 0, 0, energy_per_atom, 0.0, "", True, "", "", "candidate"
        )
        self._std = std

    def window(self, mobile_ion: str) -> Window:
        """The electrochemical window. Raises UnknownReferenceError, and ValueError without the mobile ion."""
        if mobile_ion not in _symbols(self._composition):
            raise ValueError(f"{self._own.formula} holds no {mobile_ion}, so it has no window against it")
        system = self._system(())
        tied = decompose(system, system.target(self._composition)) > 0
        lowest, highest = (_extreme(system, tied, mobile_ion, sign) for sign in (1.0, -1.0))
        metal = _metal(system, mobile_ion)
        reduction = _limit(system, metal - highest, mobile_ion, -1.0)
        oxidation = _limit(system, metal - lowest, mobile_ion, 1.0)
        return Window(reduction, oxidation, _std(system, highest - lowest) / ion_charge(mobile_ion))

    def interface(
        self, electrode: str, mobile_ion: str | None = None, voltage: float | None = None
    ) -> InterfaceReaction:
        """The reaction with an electrode of a formula, taken at its energy on the hull.

        With a voltage (at least 0, against the mobile ion's metal) both exchange the ion with a reservoir of that
        potential, before as after: what they do without each other there is left to the window, as in the mutual
        reaction energy of Zhu, He, Mo, J. Mater. Chem. A 2016, 4, 3253 (doi:10.1039/c5ta08574h). Raises
        UnknownReferenceError where phases are missing.
        """
        other = pmg.Composition(electrode)
        system = self._system(_symbols(other))
        ends = np.array([system.target(self._composition), system.target(other)])
        if voltage is not None and mobile_ion is not None:
            system, ends = _opened(system, ends, mobile_ion, voltage)
        reactants = np.array([decompose(system, end) for end in ends])
        fraction = _most_reactive(system, ends, reactants @ system.energies)
        shares = np.array([fraction, 1 - fraction])
        products = decompose(system, shares @ ends)
        change = products - shares @ reactants
        energy, std = float(change @ system.energies), _std(system, change)
        if energy > -SMALLEST:
            return InterfaceReaction(electrode, 0.0, std, fraction, ())
        return InterfaceReaction(electrode, energy, std, fraction, phases_of(system, products))

    def _system(self, more: Iterable[str]) -> Subsystem:
        known = self._hull.subsystem({*_symbols(self._composition), *more})
        if reason := why_sparse(known):
            raise UnknownReferenceError(f"{self._own.formula}: {reason}")
        return known.with_phase(self._own, self._own.energy_per_atom, self._std)


def ion_charge(symbol: str) -> int:
    """The charge of a mobile cation: the lowest of the element's common positive oxidation states (from pymatgen).

    Copper moves as Cu+, as in CuI and the Chevrel phases, though Cu2+ is the commoner.
    """
    if symbol == "Cu":
        return 1
    states = [int(state) for state in pmg.Element(symbol).common_oxidation_states if state > 0]
    if not states:
        raise ValueError(f"{symbol} forms no cation, so nothing is measured against its metal")
    return min(states)


def _opened(system: Subsystem, ends: Floats, mobile_ion: str, voltage: float) -> tuple[Subsystem, Floats]:
    """Phases and compositions (both without the mobile ion) where a reservoir of it has this voltage against its metal.

    Energies become grand potentials, and the reservoir itself a phase without atoms.
    """
    row = system.elements.index(mobile_ion)
    metal = float(_metal(system, mobile_ion) @ system.energies)
    potential = metal - ion_charge(mobile_ion) * voltage
    others = [i for i in range(len(system.elements)) if i != row]
    sizes = ends[:, others].sum(axis=1, keepdims=True)
    if not sizes.all():
        raise ValueError(f"an electrode of {mobile_ion} alone has no other potential than its own")
    opened = replace(
        system,
        elements=tuple(system.elements[i] for i in others),
        fractions=system.fractions[others],
        energies=system.energies - potential * system.fractions[row],
    )
    return opened, ends[:, others] / sizes


def _extreme(system: Subsystem, tied: NDArray[np.bool_], mobile_ion: str, sign: float) -> Floats:
    """Lowest (sign 1) or highest (-1) chemical potential of the ion at which the tied phases are in equilibrium.

    As its derivatives by the phases' energies, [phases]: their product with the energies is the potential itself, and
    their atoms add up to one of the ion, so that they are the reaction at this end as well.
    """
    objective = np.array([sign * (symbol == mobile_ion) for symbol in system.elements])
    result = _solved(
        system,
        objective,
        A_ub=system.fractions.T,
        b_ub=system.energies,
        A_eq=system.fractions.T[tied],
        b_eq=system.energies[tied],
        bounds=(None, None),
    )
    derivatives: Floats = np.array(result.ineqlin.marginals)
    derivatives[tied] += result.eqlin.marginals
    return sign * derivatives


def _most_reactive(system: Subsystem, ends: Floats, energies: Floats) -> float:
    """The share of the first of two reactants (energies: [2]) in the mixture whose reaction gives most energy."""
    count = len(system.energies)
    result = _solved(
        system,
        np.append(system.energies, energies[1] - energies[0]),
        A_eq=np.column_stack([system.fractions, ends[1] - ends[0]]),
        b_eq=ends[1],
        bounds=[(0, None)] * count + [(0, 1)],
    )
    return float(np.clip(result.x[-1], 0.0, 1.0))


def _solved(system: Subsystem, objective: Floats, **programme: Any) -> Any:
    from scipy.optimize import linprog

    result = linprog(objective, method="highs", **programme)
    if not result.success:
        raise RuntimeError(
            f"the reactions of {'-'.join(system.elements)} could not be computed: {result.message}"
        )
    return result


def _limit(system: Subsystem, change: Floats, mobile_ion: str, direction: float) -> Limit:
    """change: [phases], atoms of the reaction that gives off one ion as metal, or with direction -1 takes it up."""
    charge = ion_charge(mobile_ion)
    reaction: dict[str, float] = defaultdict(float)
    for entry, share in zip(system.entries, direction * change, strict=True):
        if abs(share) > SMALLEST:
            reaction[entry.formula] += float(share) / pmg.Composition(entry.formula).num_atoms
    return Limit(float(change @ system.energies) / charge, _std(system, change) / charge, dict(reaction))


def _std(system: Subsystem, change: Floats) -> float:
    """Of a reaction's energy, eV: the errors of its phases added up, because nobody knows which of them cancel."""
    return float(np.abs(change) @ system.stds)


def _metal(system: Subsystem, symbol: str) -> Floats:
    """The element's own phase, as the amount 1 among [phases]."""
    amounts = np.zeros(len(system.energies))
    amounts[np.argmax(system.fractions[system.elements.index(symbol)])] = 1.0
    return amounts


def _symbols(composition: pmg.Composition) -> frozenset[str]:
    return frozenset(element.symbol for element in composition.elements)
