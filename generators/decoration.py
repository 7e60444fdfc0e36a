"""Draws elements for the orbits of a template: likely substitutions, balanced charges, within the space.

Substitution probabilities: Hautier, Fischer, Ehrlacher, Jain, Ceder, Inorg. Chem. 50, 656 (2011)
(doi:10.1021/ic102031h), as pymatgen ships them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pymatgen.core as pmg

from generators.species import Species, likely_charges
from generators.templates import Template
from materials.chemistry import oxidation_states
from materials.space import Space

Floats = npt.NDArray[np.float64]
MOST_SPLITS = 2


@lru_cache(maxsize=100_000)
def log_weight(old: Species, new: Species) -> float:
    """Hautier's lambda: the log of the (unnormalised) probability that `new` takes the place of `old`.

    Where a charge is 0, that is unknown, the best of the element's usual states counts. Pairs never seen give
    pymatgen's -5.
    """
    return max(
        float(_model().get_lambda(pmg.Species(old[0], a), pmg.Species(new[0], b)))
        for a in ([old[1]] if old[1] else oxidation_states(old[0]) or (0,))
        for b in ([new[1]] if new[1] else oxidation_states(new[0]) or (0,))
    )


@lru_cache(maxsize=1)
def _model() -> Any:
    from pymatgen.analysis.structure_prediction.substitution_probability import SubstitutionProbability

    return SubstitutionProbability()


class Decorator:
    """Draws species for templates at random, by substitution probability."""

    def __init__(self, space: Space) -> None:
        self.space = space
        self.least = max(space.number_of_elements[0], len(space.required))
        self.most = space.number_of_elements[1]
        self.species: list[Species] = [
            (symbol, charge)
            for symbol in space.elements
            for charge in (oxidation_states(symbol) if space.charge_balanced else (0,))
        ]
        self._symbols = np.array([symbol for symbol, _ in self.species])
        self._charges = np.array([charge for _, charge in self.species])
        self._rows: dict[Species, Floats] = {}
        self._formula = _formula_species(space.formula)

    def sizes(self, template: Template) -> range:
        """The numbers of elements the template can be given within the space; empty where it does not fit."""
        atoms = len(template.structure)
        if not self.space.number_of_atoms[0] <= atoms <= self.space.number_of_atoms[1]:
            return range(0)
        orbits = len(template.members)
        if self._formula:
            size = len(self._formula)
            return range(size, size + (atoms % sum(self._formula.values()) == 0 and orbits >= size))
        old = len(_by_element(template))
        return range(max(self.least, old), min(self.most, orbits, old + MOST_SPLITS) + 1)

    def draw(self, template: Template, size: int, rng: np.random.Generator) -> tuple[Species, ...] | None:
        """One species per orbit, of `size` different elements; None when this attempt led nowhere."""
        if self._formula:
            return self._draw_formula(template, rng)
        groups = _groups(template, size, rng)
        log_weights = np.array([sum(self._row(template.species[o]) for o in g) / len(g) for g in groups])
        counts = [sum(template.counts[o] for o in g) for g in groups]
        chosen = self._choose(np.exp(log_weights), counts, rng)
        if chosen is None:
            return None
        species = {o: self.species[s] for g, s in zip(groups, chosen, strict=True) for o in g}
        return self._charged(template, tuple(species[o] for o in range(len(species))))

    def _row(self, old: Species) -> Floats:
        if old not in self._rows:
            self._rows[old] = np.array([log_weight(old, new) for new in self.species])
        return self._rows[old]

    def _choose(self, weights: Floats, counts: Sequence[int], rng: np.random.Generator) -> list[int] | None:
        """A species index per group: the required elements first, then the rest, the last one closing the charge.

        weights: [groups, species].
        """
        weights = weights.copy()
        chosen: dict[int, int] = {}
        for symbol in self.space.required:
            _place(chosen, weights * (self._symbols == symbol), rng)
            weights[:, self._symbols == symbol] = 0.0
            weights[list(chosen)] = 0.0
        for group in rng.permutation([g for g in range(len(counts)) if g not in chosen]):
            mask = np.zeros_like(weights)
            mask[group] = 1.0
            if self.space.charge_balanced and len(chosen) == len(counts) - 1:
                charge = sum(counts[g] * self._charges[s] for g, s in chosen.items())
                mask[group] = self._charges * counts[group] == -charge
            if not _place(chosen, weights * mask, rng):
                return None
            weights[:, self._symbols == self._symbols[chosen[int(group)]]] = 0.0
        balance = sum(counts[g] * self._charges[s] for g, s in chosen.items())
        return [chosen[g] for g in range(len(counts))] if balance == 0 else None

    def _draw_formula(self, template: Template, rng: np.random.Generator) -> tuple[Species, ...] | None:
        """The formula's elements, the largest orbits first, each where enough of its atoms are left to place."""
        times = len(template.structure) // sum(self._formula.values())
        left = {species: times * n for species, n in self._formula.items()}
        drawn: dict[int, Species] = {}
        for orbit in sorted(rng.permutation(len(template.members)), key=lambda o: -template.counts[o]):
            count = template.counts[orbit]
            open_ = [species for species, n in left.items() if n >= count]
            if not open_:
                return None
            weights = np.exp([log_weight(template.species[orbit], species) for species in open_])
            drawn[int(orbit)] = open_[_pick(weights, rng)]
            left[drawn[int(orbit)]] -= count
        return tuple(drawn[o] for o in range(len(drawn)))

    def _charged(self, template: Template, species: tuple[Species, ...]) -> tuple[Species, ...]:
        """The species with likely charges where the space does not ask for a charge balance."""
        if self.space.charge_balanced:
            return species
        amounts: dict[str, float] = {}
        for (symbol, _), count in zip(species, template.counts, strict=True):
            amounts[symbol] = amounts.get(symbol, 0) + count
        charges = likely_charges(amounts)
        return tuple((symbol, charges[symbol]) for symbol, _ in species)


def _formula_species(formula: str | None) -> dict[Species, int]:
    if formula is None:
        return {}
    amounts = pmg.Composition(formula).get_el_amt_dict()
    charges = likely_charges(amounts)
    return {(symbol, charges[symbol]): round(n) for symbol, n in amounts.items()}


def _by_element(template: Template) -> list[list[int]]:
    groups: dict[Species, list[int]] = {}
    for orbit, species in enumerate(template.species):
        groups.setdefault(species, []).append(orbit)
    return list(groups.values())


def _groups(template: Template, size: int, rng: np.random.Generator) -> list[list[int]]:
    """Orbits that will share an element: those of one old element, split at random until there are `size` groups."""
    groups = _by_element(template)
    while len(groups) < size:
        large = [g for g in groups if len(g) > 1]
        group = large[int(rng.integers(len(large)))]
        groups.append([group.pop(int(rng.integers(len(group))))])
    return groups


def _place(chosen: dict[int, int], weights: Floats, rng: np.random.Generator) -> bool:
    """Adds one (group, species) to `chosen`, drawn by weights [groups, species]; False where all are zero."""
    if not weights.any():
        return False
    group, species = divmod(_pick(weights.ravel(), rng), weights.shape[1])
    chosen[group] = species
    return True


def _pick(weights: Floats, rng: np.random.Generator) -> int:
    total = np.cumsum(weights)
    return int(np.searchsorted(total, rng.random() * total[-1], side="right"))
