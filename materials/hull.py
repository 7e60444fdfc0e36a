"""The reference convex hull: how far a material lies above what is known, and which known phase it repeats.

Distances are signed and taken against the reference without the candidate, as pymatgen's
`PhaseDiagram.get_e_above_hull(entry, allow_negative=True)` does; the hull's energy at one composition is the
optimum of a linear programme over the known phases of its elements, which is exact and does not need the
whole diagram.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pymatgen.core as pmg
from numpy.typing import NDArray

from materials.corrections import CorrectionScheme, correction_per_atom, require_corrected
from materials.decomposition import ADD_HINT, Subsystem, decompose, why_sparse
from materials.reference_table import (
    EnergySource,
    ReferenceEntry,
    ReferenceFileError,
    ReferenceTable,
    read_table,
)

DATA = Path(__file__).parent / "data"
SHIPPED_TIERS = ("relaxed", "single_point")
SUBSYSTEMS_KEPT = 256


class MixedEnergiesError(ValueError):
    """Energies of different potentials, versions or corrections met on one hull."""


@dataclass(frozen=True)
class DecompositionPhase:
    """A phase of a decomposition; fraction counts atoms, and the fractions of a decomposition add up to one."""

    id: str
    formula: str
    fraction: float
    tier: str


def phases_of(subsystem: Subsystem, amounts: NDArray[np.float64]) -> tuple[DecompositionPhase, ...]:
    """The phases of a mixture; amounts: [phases], atomic fractions, zero for those that are not in it."""
    return tuple(
        DecompositionPhase(entry.id, entry.formula, float(amount), entry.tier)
        for entry, amount in zip(subsystem.entries, amounts, strict=True)
        if amount > 0
    )


@dataclass(frozen=True)
class HullDistance:
    """Energy above the reference hull, eV/atom, signed; nan where the reference cannot tell.

    std: what single-point reference energies contribute to its uncertainty, eV/atom. decomposition: the known
    phases the hull consists of at this composition. known is false, and why_unknown says why, where the
    reference is too sparse: such a material must not be called stable.
    """

    value: float
    std: float
    decomposition: tuple[DecompositionPhase, ...]
    known: bool
    why_unknown: str = ""


class ReferenceHull:
    """Known phases of one energy source, and distances to their convex hull."""

    def __init__(
        self, tables: Sequence[ReferenceTable], correction: CorrectionScheme | str | None = None
    ) -> None:
        """tables: all of one source. correction: `none` takes the uncorrected energies of corrected tables."""
        if not tables:
            raise ValueError("a reference hull needs at least one reference table")
        for table in tables[1:]:
            _require_same(tables[0].source, table.source, "two reference files")
        self._corrected = correction is None or CorrectionScheme(correction) is not CorrectionScheme.none
        self.source: EnergySource = tables[0].source
        if not self._corrected:
            self.source = replace(self.source, correction=CorrectionScheme.none.value)
        self._stds = _stds(tables)
        self._by_elements: dict[frozenset[str], list[ReferenceEntry]] = defaultdict(list)
        self._by_formula: dict[str, list[ReferenceEntry]] = defaultdict(list)
        for entry in _without_repeats(sorted(tables, key=lambda table: SHIPPED_TIERS.index(table.tier))):
            self._by_elements[entry.elements].append(entry)
            self._by_formula[entry.formula].append(entry)
        self._subsystem = lru_cache(maxsize=SUBSYSTEMS_KEPT)(self._build_subsystem)
        self._parsed = lru_cache(maxsize=4096)(ReferenceEntry.structure)

    @classmethod
    def shipped(
        cls,
        extra: Sequence[Path] = (),
        correction: CorrectionScheme | str = CorrectionScheme.materials_project_2020,
        potential: str = "7net-0",
    ) -> ReferenceHull:
        """The reference in materials/data for a potential, with the user's own reference files added.

        Raises ReferenceFileError where a file is missing or malformed, MixedEnergiesError where an extra
        file's energies come from another source.
        """
        paths = [DATA / f"reference_{potential}_{tier}.csv.xz" for tier in SHIPPED_TIERS]
        if not paths[0].is_file():
            known = sorted({path.name.split("_")[1] for path in DATA.glob("reference_*_relaxed.csv.xz")})
            raise ReferenceFileError(
                f"no reference hull ships for the potential {potential!r}, only for {', '.join(known) or 'none'}; "
                "build one with `python -m loop.hull add`"
            )
        return cls([_read(path) for path in (*paths, *map(Path, extra))], correction)

    def __len__(self) -> int:
        return sum(map(len, self._by_formula.values()))

    @property
    def formulas(self) -> frozenset[str]:
        """The reduced formulas of all its phases."""
        return frozenset(self._by_formula)

    def check_source(self, source: EnergySource) -> None:
        """Raises MixedEnergiesError unless the energy's potential, version and correction are the hull's."""
        _require_same(self.source, source, "the reference hull and the candidate")

    def correction_per_atom(self, structure: pmg.Structure) -> float:
        """What to add to the potential's energy of a structure before asking for its distance, eV/atom."""
        return correction_per_atom(structure, self.source.correction)

    def known_phases(self, formula: str) -> tuple[ReferenceEntry, ...]:
        """The reference's phases of one formula, lowest corrected energy first."""
        entries = self._by_formula.get(pmg.Composition(formula).reduced_formula, [])
        return tuple(sorted(entries, key=lambda entry: (self.energy_of(entry), entry.id)))

    def energy_of(self, entry: ReferenceEntry) -> float:
        """An entry's energy on this hull, eV/atom: with its correction, unless the hull is uncorrected."""
        return entry.corrected_energy_per_atom if self._corrected else entry.energy_per_atom

    def entries(self, elements: Iterable[str]) -> tuple[ReferenceEntry, ...]:
        """The lowest phase of every formula that consists of these elements alone."""
        return self.subsystem(elements).entries

    def subsystem(self, elements: Iterable[str]) -> Subsystem:
        """The lowest phase of every formula that consists of these elements alone, as arrays."""
        return self._subsystem(tuple(sorted(set(elements))))

    def energy_above_hull(
        self, composition: pmg.Composition | str, energy_per_atom: float, source: EnergySource | None = None
    ) -> HullDistance:
        """Distance of a corrected energy (eV/atom) to the hull; `known` is false where the reference is too
        sparse.

        source: the energy's label, checked against the hull's where given. Raises ValueError for an energy
        that is not finite and MixedEnergiesError for another source.
        """
        composition = pmg.Composition(composition)
        if source is not None:
            self.check_source(source)
        if not math.isfinite(energy_per_atom):
            raise ValueError(
                f"{composition.reduced_formula}: the energy {energy_per_atom} eV/atom is not a finite number"
            )
        subsystem = self.subsystem(element.symbol for element in composition.elements)
        if reason := why_sparse(subsystem):
            return HullDistance(math.nan, math.nan, (), False, f"{composition.reduced_formula}: {reason}")
        amounts = decompose(subsystem, subsystem.target(composition))
        phases = phases_of(subsystem, amounts)
        # Single points all lie too high, so their errors add up rather than cancel.
        std = float(amounts @ subsystem.stds)
        return HullDistance(energy_per_atom - float(amounts @ subsystem.energies), std, phases, True)

    def formation_energy(self, composition: pmg.Composition | str, energy_per_atom: float) -> float:
        """Corrected energy (eV/atom) minus that of the elements' lowest phases; refused on an uncorrected hull."""
        require_corrected(self.source.correction, "a formation energy")
        composition = pmg.Composition(composition)
        return energy_per_atom - sum(
            float(composition.get_atomic_fraction(element)) * self.energy_of(self._terminal(element.symbol))
            for element in composition.elements
        )

    def matching_phase(self, structure: pmg.Structure) -> str | None:
        """The id of the reference phase this structure repeats, lowest energy first, or None where it is new.

        Same reduced formula and pymatgen's StructureMatcher(ltol 0.2, stol 0.3, angle_tol 5).
        """
        matcher = _matcher()
        for entry in self.known_phases(structure.composition.reduced_formula):
            if matcher.fit(structure, self._parsed(entry)):
                return entry.id
        return None

    def _terminal(self, symbol: str) -> ReferenceEntry:
        phases = self._by_elements.get(frozenset({symbol}))
        if not phases:
            raise ReferenceFileError(f"the reference has no phase of the element {symbol}; {ADD_HINT}")
        return min(phases, key=self.energy_of)

    def _build_subsystem(self, elements: tuple[str, ...]) -> Subsystem:
        lowest: dict[str, ReferenceEntry] = {}
        for subset in self._element_sets(elements):
            for entry in self._by_elements[subset]:
                best = lowest.get(entry.formula)
                if best is None or self.energy_of(entry) < self.energy_of(best):
                    lowest[entry.formula] = entry
        entries = tuple(sorted(lowest.values(), key=lambda entry: entry.formula))
        compositions = [pmg.Composition(entry.formula) for entry in entries]
        fractions = np.array([[c.get_atomic_fraction(symbol) for c in compositions] for symbol in elements])
        energies = np.array([self.energy_of(entry) for entry in entries])
        stds = np.array([self._stds.get((entry.tier, entry.geometry), 0.0) for entry in entries])
        return Subsystem(elements, entries, fractions, energies, stds)

    def _element_sets(self, elements: tuple[str, ...]) -> Iterator[frozenset[str]]:
        """The reference's element sets within the given ones, by whichever way visits fewer sets."""
        if 2 ** len(elements) > len(self._by_elements):
            yield from [known for known in self._by_elements if known <= set(elements)]
            return
        for size in range(1, len(elements) + 1):
            for subset in combinations(elements, size):
                if frozenset(subset) in self._by_elements:
                    yield frozenset(subset)


def _stds(tables: Iterable[ReferenceTable]) -> dict[tuple[str, str], float]:
    """What a phase's geometric error adds to the std, by tier and geometry; the largest of several files."""
    stds: dict[tuple[str, str], float] = {}
    for table in tables:
        for geometry, error in table.errors.items():
            stds[table.tier, geometry] = max(stds.get((table.tier, geometry), 0.0), error.std)
    return stds


def _without_repeats(tables: Iterable[ReferenceTable]) -> Iterator[ReferenceEntry]:
    """All entries; an id that comes again counts the first time only, so relaxed goes before single point."""
    seen: set[str] = set()
    for table in tables:
        for entry in table.entries:
            if entry.id not in seen:
                seen.add(entry.id)
                yield entry


def _require_same(first: EnergySource, second: EnergySource, between: str) -> None:
    if first != second:
        raise MixedEnergiesError(
            f"{between} have energies that cannot be compared: {first} and {second}; "
            "compute both with the same potential and correction"
        )


@lru_cache(maxsize=8)
def _read_cached(path: Path, modified: int) -> ReferenceTable:
    return read_table(path)


def _read(path: Path) -> ReferenceTable:
    """The table, read again only where the file has changed."""
    return _read_cached(path, path.stat().st_mtime_ns if path.exists() else 0)


@lru_cache(maxsize=1)
def _matcher() -> Any:
    from pymatgen.analysis.structure_matcher import StructureMatcher

    return StructureMatcher(ltol=0.2, stol=0.3, angle_tol=5)
