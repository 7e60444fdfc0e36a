"""Which structures of a set repeat an earlier one, and which are known already."""

from __future__ import annotations

import lzma
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import pymatgen.core as pmg

from generators.latent.reading import Row, read_rows
from materials.base import Crystal
from materials.hull import ReferenceHull
from materials.identity import IdentityIndex
from materials.reading import ReadingError

COLUMNS = ("material_id", "formula", "cell", "sites")
ANY_LANTHANIDE = "La"


@dataclass(frozen=True)
class Sameness:
    """repeats: the place in the set (from 0) of the earlier structure this one is the same as; known_as: the id of the
    reference's structure it is the same as. None where there is none."""

    repeats: int | None
    known_as: str | None


@lru_cache(maxsize=400_000)
def anonymous_formula(formula: str) -> str:
    """The reduced formula with every lanthanide written as lanthanum."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # noble gases have no electronegativity, which matters not here
        return str(_anonymous_composition(pmg.Composition(formula)).reduced_formula)


def anonymous(crystal: Crystal) -> Crystal:
    """The crystal with every lanthanide replaced by lanthanum."""
    structure = crystal.structure
    symbols = [ANY_LANTHANIDE if site.specie.is_lanthanoid else site.specie.symbol for site in structure]
    return Crystal(pmg.Structure(structure.lattice, symbols, structure.frac_coords))


def has_lanthanide(crystal: Crystal) -> bool:
    """Whether one of the fifteen from La to Lu is in it."""
    return any(element.is_lanthanoid for element in crystal.structure.composition.elements)


class KnownCrystals:
    """The known crystals of some formulas, as they are and with all lanthanides as one element."""

    def __init__(self, table: Path | None, formulas: Iterable[str]) -> None:
        """table: rows with the columns of COLUMNS, plain or .csv.xz; the shipped hull's phases are known in any case.

        formulas: only these are kept, and what becomes one of them once lanthanides are one element. Raises
        ReadingError.
        """
        self.plain, self.anonymous = IdentityIndex(), IdentityIndex()
        self.number = 0
        kept = {anonymous_formula(formula) for formula in formulas}
        for name, crystal in (*_of_the_hull(kept), *(_of_a_table(table, kept) if table else ())):
            self.number += 1
            self.plain.add(name, crystal)
            if has_lanthanide(crystal):
                self.anonymous.add(name, anonymous(crystal))


def sameness(
    crystals: Sequence[Crystal | None], known: KnownCrystals, first: Sequence[int]
) -> tuple[list[Sameness | None], list[Sameness | None]]:
    """Each crystal's sameness, plain and with the lanthanides as one element; None where there is no crystal.

    first: the places in the order in which they count as seen. A crystal without lanthanides is judged once.
    """
    plain: list[Sameness | None] = [None] * len(crystals)
    merged: list[Sameness | None] = [None] * len(crystals)
    seen, seen_merged = IdentityIndex(), IdentityIndex()
    for place in first:
        crystal = crystals[place]
        if crystal is None:
            continue
        plain[place] = merged[place] = _judged(place, crystal, seen, known.plain)
        if has_lanthanide(crystal):
            merged[place] = _judged(place, anonymous(crystal), seen_merged, known.anonymous)
    return plain, merged


def _judged(place: int, crystal: Crystal, seen: IdentityIndex, known: IdentityIndex) -> Sameness:
    earlier = seen.find(crystal)
    if earlier is None:
        seen.add(str(place), crystal)
    return Sameness(None if earlier is None else int(earlier), known.find(crystal))


def _of_the_hull(formulas: set[str]) -> Iterator[tuple[str, Crystal]]:
    hull = ReferenceHull.shipped()
    for formula in sorted(hull.formulas):
        if anonymous_formula(formula) in formulas:
            for phase in hull.known_phases(formula):
                yield f"hull {phase.id}", Crystal(phase.structure())


def rows_of(table: Path) -> Iterator[Row]:
    """The rows of a table with the columns of COLUMNS. Raises ReadingError."""
    try:
        for row in read_rows(table):
            if "formula" not in row.columns:
                raise KeyError("formula")
            yield row
    except (lzma.LZMAError, UnicodeDecodeError) as error:
        raise ReadingError(f"{table}: no table, or a damaged one ({error}); get it again") from error
    except KeyError as missing:
        raise ReadingError(
            f"{table}: no column {missing}; a table of crystals has the columns {', '.join(COLUMNS)}"
        ) from missing


def _of_a_table(table: Path, formulas: set[str]) -> Iterator[tuple[str, Crystal]]:
    for row in rows_of(table):
        if anonymous_formula(row.columns["formula"]) in formulas:
            yield row.material_id, Crystal(row.structure())


def _anonymous_composition(composition: pmg.Composition) -> pmg.Composition:
    amounts: dict[str, float] = {}
    for element, amount in composition.items():
        symbol = ANY_LANTHANIDE if element.is_lanthanoid else element.symbol
        amounts[symbol] = amounts.get(symbol, 0.0) + amount
    return pmg.Composition(amounts)
