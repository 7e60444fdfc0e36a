"""Sets of structures for the S.U.N. benchmark beside a generator's: substitution, and a training set's own rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from experiments.benchmarks.sun_sameness import rows_of
from generators.substitution import SubstitutionSettings
from materials.archive import Archive
from materials.base import Crystal
from materials.chemistry import oxidation_states
from materials.goals import Objective
from materials.hull import ReferenceHull
from materials.reading import ReadingError
from materials.space import Space

MOST_ATOMS = 20
MOST_ELEMENTS = 4


def broad_space() -> Space:
    """Charge-balanced crystals of two to four of all elements that the hull knows and that have usual oxidation
    states, at most 20 atoms, as MP-20 has."""
    known = {symbol for formula in ReferenceHull.shipped().formulas for symbol in _symbols(formula)}
    return Space(
        elements=tuple(sorted(symbol for symbol in known if oxidation_states(symbol))),
        number_of_elements=(2, MOST_ELEMENTS),
        number_of_atoms=(2, MOST_ATOMS),
        charge_balanced=True,
    )


def substituted(number: int, seed: int) -> list[tuple[str, Crystal]]:
    """So many candidates of the substitution generator at its defaults, of which no two are the same."""
    generator = SubstitutionSettings().build(broad_space())
    archive = Archive([], [Objective("energy_above_hull", "minimize")])
    drawn = generator.propose(number, archive, np.random.default_rng(seed))
    found = [candidate.material for candidate in drawn]
    return [(f"substitution {i}", crystal) for i, crystal in enumerate(found) if isinstance(crystal, Crystal)]


def training_rows(table: Path, splits: Sequence[str], number: int, seed: int) -> list[tuple[str, Crystal]]:
    """So many different rows of the splits, drawn at random. Raises ReadingError."""
    rows = [row for row in rows_of(table) if row.split in splits]
    if len(rows) < number:
        raise ReadingError(
            f"{table}: {len(rows)} rows in {', '.join(splits)}, fewer than {number}; ask for fewer or name other splits"
        )
    chosen = np.random.default_rng(seed).choice(len(rows), size=number, replace=False)
    return [(rows[int(i)].material_id, Crystal(rows[int(i)].structure())) for i in chosen]


def _symbols(formula: str) -> set[str]:
    import pymatgen.core as pmg

    return {element.symbol for element in pmg.Composition(formula).elements}
