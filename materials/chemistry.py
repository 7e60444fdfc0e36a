"""Charge balance, oxidation states, radii and random compositions, shared by the space and the generators."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache, lru_cache
from itertools import combinations, product
from math import gcd

import numpy as np
import pymatgen.core as pmg

# A state is usual from this share of the charged sites of its element. With these, 95 % of 9,613 insulators
# near the Materials Project's hull balance, and 19 % of random formulas of eleven battery elements.
USUAL_SHARE_OF_METALS = 0.01
USUAL_SHARE = 0.02
# A partly occupied site is written to two or three decimals: this much charge per atom is rounding.
ROUNDING = 0.01
# Cordero's table ends at curium; the heavier actinides are close to this.
UNTABULATED_RADIUS = 1.69
ATTEMPTS_PER_COMPOSITION = 200


@cache
def is_metal(symbol: str) -> bool:
    """Whether pymatgen counts the element as a metal (metalloids are none)."""
    return bool(pmg.Element(symbol).is_metal)


@cache
@cache
def electronegativity(symbol: str) -> float:
    """Pauling electronegativity; 0 for the elements that have none, such as argon."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return float(np.nan_to_num(pmg.Element(symbol).X))


@cache
def _usual_states() -> dict[str, tuple[int, ...]]:
    from smact.utils.oxidation import ICSD24OxStatesFilter

    counts = ICSD24OxStatesFilter().ox_states_df
    counts = counts[(counts["oxidation_state"] != 0) & (counts["results_count"] > 0)]
    usual = {}
    for symbol, group in counts.groupby("element"):
        share = USUAL_SHARE_OF_METALS if is_metal(str(symbol)) else USUAL_SHARE
        common = group[group["results_count"] >= share * group["results_count"].sum()]
        usual[str(symbol)] = tuple(sorted(int(q) for q in common["oxidation_state"]))
    return usual


def oxidation_states(symbol: str) -> tuple[int, ...]:
    """The usual oxidation states of an element, ascending, zero left out; empty for argon and its like.

    Those on at least 1 % (metals) or 2 % of the element's charged sites in the ICSD of 2024 (from SMACT).
    """
    return _usual_states().get(symbol, ())


@cache
def covalent_radius(symbol: str) -> float:
    """Covalent radius in angstrom: Cordero et al., Dalton Trans. 2008, 2832 (doi:10.1039/b801115j)."""
    from ase.data import atomic_numbers, covalent_radii, missing

    radius = float(covalent_radii[atomic_numbers[symbol]])
    return UNTABULATED_RADIUS if radius == missing else radius


def element_amounts(composition: pmg.Composition) -> dict[str, float]:
    """Element symbol -> amount, whole amounts divided by their greatest common divisor.

    Oxidation states on the species are left out. Unlike pymatgen's reduced formula, Li2O2 gives LiO and Cl2 Cl.
    """
    amounts = {str(symbol): float(n) for symbol, n in composition.get_el_amt_dict().items()}
    whole = [round(n) for n in amounts.values()]
    if not whole or any(abs(n - m) > 1e-6 or m < 1 for n, m in zip(amounts.values(), whole, strict=True)):
        return amounts
    divisor = gcd(*whole)
    return {symbol: float(m // divisor) for symbol, m in zip(amounts, whole, strict=True)}


def is_charge_balanced(composition: pmg.Composition) -> bool:
    """Whether usual oxidation states of the elements can sum to zero.

    Ordered with metals first, then by electronegativity, the elements divide into cations and anions (after
    the Pauling test of SMACT: Davies et al., Chem 1, 617, 2016). A metal may take any average between its
    smallest and largest usual state of that sign, so mixed valence (Fe3O4, BaBiO3) is accepted; any other
    element takes one usual state. An element alone has nothing to balance and is refused, as are alloys,
    peroxides and azides. Judged once per reduced formula.
    """
    amounts = element_amounts(composition)
    return _balanced(tuple(sorted((symbol, round(n, 6)) for symbol, n in amounts.items())))


@lru_cache(maxsize=200_000)
def _balanced(amounts: tuple[tuple[str, float], ...]) -> bool:
    whole = all(n == round(n) for _, n in amounts)
    tolerance = 1e-6 if whole else ROUNDING * sum(n for _, n in amounts)
    return any(
        low - tolerance <= 0 <= high + tolerance
        for signs in _divisions([symbol for symbol, _ in amounts])
        for low, high in _charges(dict(amounts), signs)
    )


def _divisions(symbols: Sequence[str]) -> Iterator[dict[str, tuple[int, ...]]]:
    """The states open to each element, for each division into cations and anions in which all have some."""
    ordered = sorted(symbols, key=lambda s: (not is_metal(s), electronegativity(s), s))
    for cut in range(1, len(ordered)):
        states = {s: tuple(q for q in oxidation_states(s) if q > 0) for s in ordered[:cut]}
        states |= {s: tuple(q for q in oxidation_states(s) if q < 0) for s in ordered[cut:]}
        if all(states.values()):
            yield states


def _charges(
    amounts: Mapping[str, float], states: Mapping[str, tuple[int, ...]]
) -> Iterator[tuple[float, float]]:
    """The least and greatest total charge for each choice of the non-metals' single states."""
    metals = [s for s in states if is_metal(s)]
    low = sum(amounts[s] * min(states[s]) for s in metals)
    high = sum(amounts[s] * max(states[s]) for s in metals)
    sums = {0.0}
    for symbol in states:
        if not is_metal(symbol):
            sums = {total + q * amounts[symbol] for total in sums for q in states[symbol]}
    for total in sums:
        yield low + total, high + total


def balanced_formula_exists(
    elements: Iterable[str],
    required: Sequence[str],
    number_of_elements: tuple[int, int],
    number_of_atoms: tuple[int, int],
    checks: int = 20_000,
) -> bool:
    """Whether some cell within the limits is charge balanced.

    Exhaustive over small formulas; after `checks` formulas without a find the answer is a hopeful yes.
    """
    least, most = number_of_elements
    optional = [e for e in elements if e not in required]
    for size in range(max(2, least, len(required)), most + 1):
        for chosen in combinations(optional, size - len(required)):
            symbols = (*required, *chosen)
            if not any(True for _ in _divisions(symbols)):
                continue
            for amounts in _amounts(size, number_of_atoms[1]):
                if not formula_units(sum(amounts), number_of_atoms):
                    continue
                checks -= 1
                if _balanced(tuple(sorted(zip(symbols, map(float, amounts), strict=True)))) or checks <= 0:
                    return True
    return False


def _amounts(parts: int, most: int) -> Iterator[tuple[int, ...]]:
    """All tuples of `parts` positive integers with a sum of at most `most`, small ones first."""
    for largest in range(1, most - parts + 2):
        for amounts in product(range(1, largest + 1), repeat=parts):
            if max(amounts) == largest and sum(amounts) <= most:
                yield amounts


def formula_units(atoms: int, number_of_atoms: tuple[int, int]) -> range:
    """How many formula units of `atoms` atoms a cell within the limits may hold."""
    least, most = number_of_atoms
    return range(max(1, -(-least // atoms)), most // atoms + 1)


def random_cell_composition(
    rng: np.random.Generator,
    elements: Sequence[str],
    required: Sequence[str],
    number_of_elements: tuple[int, int],
    number_of_atoms: tuple[int, int],
    charge_balanced: bool,
) -> pmg.Composition | None:
    """One random composition of a whole cell within the limits; None when the attempts run out.

    The number of elements is uniform, the elements are a uniform choice, small amounts and few formula units are
    likelier (as 1/n), and the amount of the most electronegative element is drawn from those that close the
    charge balance.
    """
    optional = [e for e in elements if e not in required]
    least, most = max(number_of_elements[0], len(required)), min(number_of_elements[1], len(elements))
    for _ in range(ATTEMPTS_PER_COMPOSITION):
        size = int(rng.integers(least, most + 1))
        chosen = rng.permutation(len(optional))[: size - len(required)]
        symbols = sorted([*required, *(optional[i] for i in chosen)], key=electronegativity)
        if charge_balanced and not any(True for _ in _divisions(symbols)):
            continue
        amounts = _random_amounts(rng, symbols, number_of_atoms, charge_balanced)
        if amounts is not None:
            return pmg.Composition(dict(zip(symbols, amounts, strict=True)))
    return None


def _random_amounts(
    rng: np.random.Generator, symbols: Sequence[str], number_of_atoms: tuple[int, int], charge_balanced: bool
) -> list[int] | None:
    most = number_of_atoms[1]
    sizes = np.arange(1, min(most, 12) + 1)
    weights = (1 / sizes) / np.sum(1 / sizes)
    first = [int(n) for n in rng.choice(sizes, len(symbols) - 1, p=weights)]
    choices = []
    for last in range(1, most - sum(first) + 1):
        divisor = gcd(*first, last)
        amounts = [n // divisor for n in (*first, last)]
        pairs = tuple(sorted(zip(symbols, map(float, amounts), strict=True)))
        if formula_units(sum(amounts), number_of_atoms) and (not charge_balanced or _balanced(pairs)):
            choices.append(amounts)
    if not choices:
        return None
    small = np.array([1 / sum(amounts) for amounts in choices])
    amounts = choices[int(rng.choice(len(choices), p=small / small.sum()))]
    units = np.array(formula_units(sum(amounts), number_of_atoms))
    times = int(rng.choice(units, p=(1 / units) / np.sum(1 / units)))
    return [times * n for n in amounts]
