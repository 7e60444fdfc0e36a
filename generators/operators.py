"""How children are made from parents: heredity, strain, permutation and transmutation of crystals.

After Glass, Oganov, Hansen, Comput. Phys. Commun. 175, 713 (2006) (doi:10.1016/j.cpc.2006.07.020); cut and splice from
Deaven, Ho, Phys. Rev. Lett. 75, 288 (1995); transmutation from Oganov, Lyakhov, Valle, Acc. Chem. Res. 44, 227 (2011).
Every function leaves its arguments alone and returns None where this draw led to no child.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import pymatgen.core as pmg

from generators.decoration import log_weight
from generators.species import estimated_volume, likely_charges
from materials.base import Composition
from materials.chemistry import oxidation_states
from materials.space import Space

# Standard deviation of the strain's components, and of each atom's displacement in angstrom.
STRAIN = 0.12
DISPLACEMENT = 0.25
MOST_SWAPS = 3
# How often a substitute is drawn before a transmutation counts as failed.
SUBSTITUTES = 20

Sites = list[tuple[str, np.ndarray]]
"""Element symbol and fractional coordinates of each atom."""


def strain(parent: pmg.Structure, rng: np.random.Generator) -> pmg.Structure:
    """The parent under a random symmetric strain at constant volume, its atoms displaced a little."""
    noise = rng.normal(0.0, STRAIN, (3, 3))
    matrix = parent.lattice.matrix @ (np.eye(3) + (noise + noise.T) / 2)
    lattice = pmg.Lattice(matrix).scale(parent.volume)
    moved = lattice.get_cartesian_coords(parent.frac_coords) + rng.normal(0.0, DISPLACEMENT, (len(parent), 3))
    return pmg.Structure(lattice, _symbols(parent), moved, coords_are_cartesian=True)


def permutation(parent: pmg.Structure, rng: np.random.Generator) -> pmg.Structure | None:
    """The parent with up to MOST_SWAPS pairs of atoms of different elements exchanged.

    Ions of the same sign change places where there are any of different elements, else any two different atoms.
    """
    symbols = _symbols(parent)
    signs = {s: np.sign(q) for s, q in likely_charges(Counter(symbols)).items()}
    kinds = sorted(set(symbols))
    pairs = [(a, b) for i, a in enumerate(kinds) for b in kinds[:i]]
    alike = [(a, b) for a, b in pairs if signs[a] == signs[b]]
    if not pairs:
        return None
    for _ in range(int(rng.integers(1, MOST_SWAPS + 1))):
        options = alike or pairs
        a, b = options[int(rng.integers(len(options)))]
        i = int(rng.choice([k for k, s in enumerate(symbols) if s == a]))
        j = int(rng.choice([k for k, s in enumerate(symbols) if s == b]))
        symbols[i], symbols[j] = symbols[j], symbols[i]
    return pmg.Structure(parent.lattice, symbols, parent.frac_coords)


def transmutation(parent: pmg.Structure, space: Space, rng: np.random.Generator) -> pmg.Structure | None:
    """The parent with an element, or half of its atoms, replaced by a likely other one that the space allows.

    The volume follows the species' volumes.
    """
    symbols = _symbols(parent)
    charges = likely_charges(Counter(symbols))
    kinds = sorted(set(symbols))
    for _ in range(SUBSTITUTES):
        old = kinds[int(rng.integers(len(kinds)))]
        others = [(e, q) for e in space.elements if e != old for q in oxidation_states(e)]
        if not others:
            return None
        weights = np.exp([log_weight((old, charges[old]), other) for other in others])
        new = others[int(rng.choice(len(others), p=weights / weights.sum()))][0]
        places = [i for i, s in enumerate(symbols) if s == old]
        if rng.random() < 0.5 and len(places) > 1:
            places = sorted(rng.choice(places, len(places) // 2, replace=False).tolist())
        child = [new if i in places else s for i, s in enumerate(symbols)]
        if allowed(child, space):
            lattice = parent.lattice.scale(parent.volume * _volume(child) / _volume(symbols))
            return pmg.Structure(lattice, child, parent.frac_coords)
    return None


def heredity(
    mother: pmg.Structure, father: pmg.Structure, space: Space, rng: np.random.Generator
) -> pmg.Structure | None:
    """A slab of the mother and the complementary slab of the father in one averaged cell.

    Where the spliced formula is outside the space, atoms are removed or added (first those the cut left out) until it
    is the mother's. The cell's volume is the parents' mean, in proportion to the species' volumes.
    """
    cut = rng.uniform(0.25, 0.75)
    axis = int(rng.integers(3))
    kept, spare = _slab(mother, axis, 0.0, cut, rng)
    added, more = _slab(father, axis, cut, 1.0, rng)
    sites = kept + added
    if not allowed([s for s, _ in sites], space):
        sites = _as_composition(sites, more + spare, Counter(_symbols(mother)), rng)
    symbols = [s for s, _ in sites]
    if not allowed(symbols, space):
        return None
    weight = rng.uniform(0.25, 0.75)
    reduced = [parent.lattice.get_niggli_reduced_lattice() for parent in (mother, father)]
    matrix = weight * reduced[0].matrix + (1 - weight) * reduced[1].matrix
    if abs(np.linalg.det(matrix)) < 1.0:
        return None
    relative = np.mean([parent.volume / _volume(_symbols(parent)) for parent in (mother, father)])
    lattice = pmg.Lattice(matrix).scale(float(relative) * _volume(symbols))
    return pmg.Structure(lattice, symbols, np.array([x for _, x in sites]))


def allowed(symbols: list[str], space: Space) -> bool:
    """Whether the space allows a cell of these atoms, whatever their places."""
    if not symbols or not space.number_of_atoms[0] <= len(symbols) <= space.number_of_atoms[1]:
        return False
    formula = "".join(f"{symbol}{n}" for symbol, n in sorted(Counter(symbols).items()))
    return space.model_copy(update={"kind": "composition"}).why_not(Composition(formula)) is None


def _slab(
    parent: pmg.Structure, axis: int, low: float, high: float, rng: np.random.Generator
) -> tuple[Sites, Sites]:
    """The atoms between two fractional heights of the randomly shifted, reduced parent, and the others."""
    reduced = parent.get_reduced_structure()
    shifted = (reduced.frac_coords + rng.random(3)) % 1.0
    sites = list(zip(_symbols(reduced), shifted, strict=True))
    inside = [low <= x[axis] < high for _, x in sites]
    return (
        [site for site, within in zip(sites, inside, strict=True) if within],
        [site for site, within in zip(sites, inside, strict=True) if not within],
    )


def _as_composition(sites: Sites, spare: Sites, wanted: Counter[str], rng: np.random.Generator) -> Sites:
    """Random sites beyond the wanted number of an element go, missing ones come from `spare`, then from anywhere."""
    result: Sites = []
    for symbol, count in sorted(wanted.items()):
        have = [site for site in sites if site[0] == symbol]
        extra = [site for site in spare if site[0] == symbol]
        chosen = [have[i] for i in rng.permutation(len(have))[:count]]
        chosen += [extra[i] for i in rng.permutation(len(extra))[: count - len(chosen)]]
        chosen += [(symbol, rng.random(3)) for _ in range(count - len(chosen))]
        result += chosen
    return result


def _symbols(structure: pmg.Structure) -> list[str]:
    return [site.specie.symbol for site in structure]


def _volume(symbols: list[str]) -> float:
    amounts = Counter(symbols)
    charges = likely_charges(amounts)
    return estimated_volume({(s, charges[s]): n for s, n in amounts.items()})
