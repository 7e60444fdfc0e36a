"""The charged, immobile part of a crystal in which a mobile ion moves."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product

import pymatgen.core as pmg

from materials.chemistry import ROUNDING, element_amounts, is_metal, oxidation_states
from materials.evaluation import FailureKind
from oracles.one_by_one import RejectedError

SYMMETRY_PRECISION = 0.01  # angstrom
LEAST_OCCUPANCY = 0.5  # of a site that stays in a majority framework


@dataclass(frozen=True)
class Framework:
    """All sites but the mobile ion's, reduced to a primitive cell, with the charge of each element.

    structure: ordered, its species decorated with `charges`. charges: element symbol -> oxidation state,
    which is a fraction where an element's sites differ in valence. The mobile ion is among `charges`, not in
    `structure`.
    """

    structure: pmg.Structure
    charges: Mapping[str, float]
    mobile_ion: str

    @property
    def mobile_charge(self) -> int:
        return round(self.charges[self.mobile_ion])


def framework_of(structure: pmg.Structure, mobile_ion: str) -> Framework:
    """What is left of the structure without the mobile ion, whose sites may be partly occupied.

    Raises RejectedError (unsupported_material) where the ion is absent, nothing else is there, the rest is
    disordered, or no usual oxidation states balance the charge.
    """
    formula = structure.composition.reduced_formula
    amounts = element_amounts(structure.composition)
    if mobile_ion not in amounts:
        raise _unsupported(f"{formula}: it holds no {mobile_ion}, so nothing moves")
    if len(amounts) == 1:
        raise _unsupported(f"{formula}: it holds nothing but the mobile ion")
    charges = likely_charges(amounts)
    if charges is None:
        raise _unsupported(f"{formula}: no usual oxidation states of its elements balance the charge")
    mobile = [i for i, s in enumerate(structure) if mobile_ion in {e.symbol for e in s.species.elements}]
    rest = structure.copy()
    rest.remove_sites(mobile)
    if not rest.is_ordered:
        raise _unsupported(f"{formula}: sites not of {mobile_ion} are partly occupied; order them first")
    return charged_framework(rest, charges, mobile_ion)


def majority_framework(structure: pmg.Structure, mobile_ion: str) -> Framework:
    """The framework of a disordered crystal: each site takes its majority species, one less than half full goes.

    Charges are those of the true composition. Raises RejectedError (unsupported_material) as `framework_of` does, and
    where the mobile ion shares sites with others, because then it is not clear what stands in its way.
    """
    formula = structure.composition.reduced_formula
    charges = likely_charges(element_amounts(structure.composition))
    if mobile_ion not in element_amounts(structure.composition):
        raise _unsupported(f"{formula}: it holds no {mobile_ion}, so nothing moves")
    if charges is None:
        raise _unsupported(f"{formula}: no usual oxidation states of its elements balance the charge")
    ordered = structure.copy()
    ordered.remove_oxidation_states()
    for number in reversed(range(len(ordered))):
        species = {e.symbol: n for e, n in ordered[number].species.items()}
        if mobile_ion in species and len(species) > 1:
            raise _unsupported(f"{formula}: {mobile_ion} shares sites with other elements")
        if mobile_ion in species or sum(species.values()) < LEAST_OCCUPANCY:
            ordered.remove_sites([number])
        else:
            ordered.replace(number, max(species, key=lambda symbol: species[symbol]))
    if not len(ordered):
        raise _unsupported(f"{formula}: it holds nothing but the mobile ion")
    return charged_framework(ordered, charges, mobile_ion)


def charged_framework(rest: pmg.Structure, charges: Mapping[str, float], mobile_ion: str) -> Framework:
    """The framework of the ordered structure `rest`, which is everything but the mobile ion."""
    primitive = _primitive(rest)
    primitive.add_oxidation_state_by_element(charges)
    return Framework(primitive, charges, mobile_ion)


def _unsupported(message: str) -> RejectedError:
    return RejectedError(FailureKind.UNSUPPORTED_MATERIAL, message)


def _primitive(structure: pmg.Structure) -> pmg.Structure:
    """The Niggli-reduced primitive cell: the smallest grid, and not skewed, which bvlain needs."""
    from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

    structure = structure.copy()
    structure.remove_oxidation_states()
    primitive = SpacegroupAnalyzer(structure, symprec=SYMMETRY_PRECISION).find_primitive()
    return (primitive or structure).get_reduced_structure("niggli")


def likely_charges(amounts: Mapping[str, float]) -> dict[str, float] | None:
    """The likeliest balanced oxidation states of the elements, or None where no usual ones balance.

    amounts: element symbol -> amount in the formula. Each element takes one usual state, except that one
    metal may take the average of several (the Mn of LiMn2O4). Likelihood is the product over atoms of how
    often the ICSD has the element in that state (counts by way of pymatgen).
    """
    best, best_score = None, -math.inf
    for charges in _balanced_charges(amounts):
        score = sum(n * _log_frequency(symbol, charges[symbol]) for symbol, n in amounts.items())
        if score > best_score:
            best, best_score = charges, score
    return best


def _balanced_charges(amounts: Mapping[str, float]) -> Iterator[dict[str, float]]:
    states = {symbol: oxidation_states(symbol) for symbol in amounts}
    tolerance = ROUNDING * sum(amounts.values())
    for chosen in product(*states.values()):
        charges: dict[str, float] = dict(zip(states, map(float, chosen), strict=True))
        excess = sum(n * charges[symbol] for symbol, n in amounts.items())
        if abs(excess) < tolerance:
            yield charges
            continue
        for symbol in filter(is_metal, amounts):
            average = charges[symbol] - excess / amounts[symbol]
            if abs(average - charges[symbol]) < 1 and min(states[symbol]) < average < max(states[symbol]):
                yield charges | {symbol: average}


def _log_frequency(symbol: str, charge: float) -> float:
    """Log of the share of the element's ICSD entries with this charge, linear between neighbouring states."""
    from pymatgen.analysis.bond_valence import PRIOR_PROB

    counts = {s.oxi_state: n for s, n in PRIOR_PROB.items() if s.symbol == symbol and s.oxi_state}
    total = sum(counts.values()) + 1
    below, above = (
        math.log((counts.get(q, 0) + 0.5) / total) for q in (math.floor(charge), math.ceil(charge))
    )
    return below + (above - below) * (charge - math.floor(charge))
