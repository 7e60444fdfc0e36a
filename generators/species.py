"""Charged species: likely oxidation states, ionic radii, and the volume each takes up in a crystal."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from functools import cache, lru_cache
from importlib.resources import files
from itertools import product

import pymatgen.core as pmg

from materials.chemistry import electronegativity, is_metal, oxidation_states

Species = tuple[str, int]
"""Element symbol and integer charge; charge 0 where no charge could be told."""

MOST_ASSIGNMENTS = 20_000


def likely_charges(amounts: Mapping[str, float]) -> dict[str, int]:
    """One charge per element, summing to zero over whole `amounts`; all 0 where no such choice exists.

    Ordered with metals first, then by electronegativity, the elements divide into cations and anions (the Pauling
    test of SMACT: Davies et al., Chem 1, 617, 2016). Of the assignments that balance, the one with the fewest
    atoms in states pymatgen does not call common wins, then the one with the highest charges of the anions.
    """
    return dict(_likely_charges(tuple(sorted((symbol, round(n)) for symbol, n in amounts.items()))))


@lru_cache(maxsize=50_000)
def _likely_charges(amounts: tuple[tuple[str, int], ...]) -> tuple[Species, ...]:
    ordered = sorted(amounts, key=lambda pair: (not is_metal(pair[0]), electronegativity(pair[0]), pair[0]))
    best: tuple[tuple[int, int], tuple[Species, ...]] | None = None
    for cut in range(1, len(ordered)):
        choices = [
            [q for q in oxidation_states(symbol) if (q > 0) == (i < cut)]
            for i, (symbol, _) in enumerate(ordered)
        ]
        for tried, charges in enumerate(product(*choices)):
            if tried > MOST_ASSIGNMENTS:
                break
            if sum(q * n for q, (_, n) in zip(charges, ordered, strict=True)):
                continue
            pairs = [(symbol, q, n) for (symbol, n), q in zip(ordered, charges, strict=True)]
            uncommon = sum(n for symbol, q, n in pairs if q not in _common_states(symbol))
            rank = (uncommon, sum(q * n for _, q, n in pairs if q < 0))
            if best is None or rank < best[0]:
                best = rank, tuple((symbol, q) for symbol, q, _ in pairs)
    return best[1] if best else tuple((symbol, 0) for symbol, _ in amounts)


@cache
def _common_states(symbol: str) -> frozenset[int]:
    return frozenset(int(q) for q in pmg.Element(symbol).common_oxidation_states)


@cache
def ionic_radius(species: Species) -> float | None:
    """Shannon's ionic radius in angstrom as pymatgen averages it; None where none is tabulated."""
    symbol, charge = species
    if charge == 0:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        radius = pmg.Species(symbol, charge).ionic_radius
    return None if radius is None else float(radius)


@lru_cache(maxsize=1)
def _volumes() -> dict[str, dict[str, float]]:
    text = files("generators").joinpath("data/species_volumes.json").read_text(encoding="utf-8")
    volumes: dict[str, dict[str, float]] = json.loads(text)["volumes"]
    return volumes


@cache
def species_volume(species: Species) -> float:
    """Cubic angstrom per atom of the species in a dense crystal, from the table that ships.

    The table is a non-negative least-squares fit to near-hull phases (experiments/fit_species_volumes.py). A charge
    it does not hold takes the volume of the nearest charge it has.
    """
    symbol, charge = species
    known = _volumes().get(symbol, {"0": 20.0})
    return known[min(known, key=lambda q: (abs(int(q) - charge), int(q)))]


def estimated_volume(amounts: Mapping[Species, float]) -> float:
    """The sum of the species' volumes, in cubic angstrom; about 8 % off in the median on relaxed phases."""
    return sum(n * species_volume(species) for species, n in amounts.items())
