"""The S.U.N. table: runs of the benchmark side by side, in Markdown."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pymatgen.core as pmg

from experiments.benchmarks.sun_measures import ABSTAINS
from materials.reading import ReadingError

JUDGED, RUN = "judged.jsonl", "run.json"
METASTABLE, STABLE = 0.1, 0.0  # eV/atom above the hull
Record = dict[str, Any]
Test = Callable[[Record], bool]


@dataclass(frozen=True)
class Run:
    """A finished run: its folder's name, what was asked, and one record for each structure drawn."""

    name: str
    asked: Record
    records: tuple[Record, ...]

    @classmethod
    def read(cls, folder: Path) -> Run:
        """Raises ReadingError where the folder holds no finished run."""
        if not (folder / RUN).is_file():
            raise ReadingError(f"{folder}: no finished run; make it with  sun run STRUCTURES --out {folder}")
        asked = json.loads((folder / RUN).read_text())
        lines = (folder / JUDGED).read_text().splitlines()
        return cls(folder.name, asked, tuple(json.loads(line) for line in lines))

    def count(self, test: Test) -> int:
        """How many of all structures drawn pass."""
        return sum(map(test, self.records))

    def share(self, test: Test) -> str:
        """The share of all structures drawn in per cent, with its 95 % interval (Wilson, JASA 22, 209, 1927)."""
        from scipy.stats import binomtest

        passed, number = self.count(test), len(self.records)
        interval = binomtest(passed, number).proportion_ci(method="wilson")
        return f"{100 * passed / number:.1f} ({100 * interval.low:.1f} to {100 * interval.high:.1f})"

    def median(self, key: str, digits: int = 0) -> str:
        """The median size over the structures that have the value."""
        values = [abs(record[key]) for record in self.records if record[key] is not None]
        return f"{np.median(values):.{digits}f}" if values else "none"


def valid(record: Record) -> bool:
    """Whether a campaign's space would take it."""
    return not record["invalid"]


def within(limit: float) -> Test:
    """Whether its energy above the hull is known and at most so high."""
    return lambda record: record["energy_above_hull"] is not None and record["energy_above_hull"] <= limit


def unique(stage: str) -> Test:
    """Whether it is valid and repeats none seen before it."""
    return lambda record: record[stage] is not None and record[stage]["repeats"] is None


def novel(stage: str) -> Test:
    """Whether it is valid and matches nothing known."""
    return lambda record: record[stage] is not None and record[stage]["known_as"] is None


def sun(limit: float, stage: str = "relaxed") -> Test:
    """Within the limit, unique and novel."""
    return both(within(limit), unique(stage), novel(stage))


def element(record: Record) -> bool:
    """Whether it consists of one element."""
    return bool(record["formula"]) and len(pmg.Composition(record["formula"]).elements) == 1


def with_noble_gas(record: Record) -> bool:
    """Whether a noble gas is in it."""
    return bool(record["formula"]) and any(
        e.is_noble_gas for e in pmg.Composition(record["formula"]).elements
    )


def real_compound(record: Record) -> bool:
    """Neither an element nor with a noble gas."""
    return not element(record) and not with_noble_gas(record)


def both(*tests: Test) -> Test:
    """Whether all tests pass."""
    return lambda record: all(test(record) for test in tests)


def table(runs: Sequence[Run]) -> str:
    """Rows of measures, a column for each run; shares are of all structures drawn."""
    rows: list[tuple[str, Callable[[Run], str]]] = [
        ("structures drawn", lambda run: str(len(run.records))),
        ("valid, %", _share(valid)),
        ("charge-balanced (no part of validity), %", _share(lambda record: record["charge_balanced"])),
        ("valid and unique as generated, %", _share(unique("generated"))),
        ("valid and novel as generated, %", _share(novel("generated"))),
        ("valid and unique, relaxed, %", _share(unique("relaxed"))),
        ("valid and novel, relaxed, %", _share(novel("relaxed"))),
        ("relaxation converged, %", _share(lambda record: record["converged"])),
        ("hull abstains, %", _share(lambda record: record["stopped_by"] == ABSTAINS)),
        ("metastable (at most 0.1 eV/atom), %", _share(within(METASTABLE))),
        ("stable (at most 0 eV/atom), %", _share(within(STABLE))),
    ]
    for words, limit in (("metastable", METASTABLE), ("stable", STABLE)):
        rows += [
            (f"**S.U.N., {words}, %**", _share(sun(limit))),
            (f"S.U.N., {words}, lanthanides as one element, %", _share(sun(limit, "relaxed_lanthanides"))),
            (
                f"S.U.N., {words}, without elements and noble gases, %",
                _share(both(sun(limit), real_compound)),
            ),
            (
                f"S.U.N., {words}, both of these, %",
                _share(both(sun(limit, "relaxed_lanthanides"), real_compound)),
            ),
            (f"S.U.N., {words}, unique and novel as generated, %", _share(sun(limit, "generated"))),
            (f"of S.U.N., {words}: elements, with a noble gas", _repackings(sun(limit))),
        ]
    rows += [
        ("RMSD from generated to relaxed, median, angstrom", lambda run: run.median("rmsd", 3)),
        ("change of volume, median size, fraction", lambda run: run.median("volume_change", 3)),
        ("steps of relaxation, median", lambda run: run.median("steps")),
        ("atoms, median", lambda run: run.median("atoms")),
        ("processor seconds of all relaxations", _seconds),
    ]
    head = f"| | {' | '.join(run.name for run in runs)} |"
    lines = [head, "| --- |" + " --- |" * len(runs)]
    lines += [f"| {words} | {' | '.join(cell(run) for run in runs)} |" for words, cell in rows]
    return "\n".join([*lines, "", *map(_conditions, runs), "", *map(_stops, runs)])


def _share(test: Test) -> Callable[[Run], str]:
    return lambda run: run.share(test)


def _repackings(test: Test) -> Callable[[Run], str]:
    return lambda run: f"{run.count(both(test, element))}, {run.count(both(test, with_noble_gas))}"


def _seconds(run: Run) -> str:
    return f"{sum(record['seconds'] for record in run.records):.0f}"


def _conditions(run: Run) -> str:
    asked = run.asked
    return (
        f"{run.name}: {asked['structures']}; novel against {asked['reference']} ({asked['known']} known crystals of "
        f"these formulas); {asked['potential']} to {asked['fmax']:g} eV/angstrom in at most {asked['steps']} steps of "
        f"LBFGS, where that goes astray of FIRE; {asked['hull']}, correction {asked['correction']}."
    )


def _stops(run: Run) -> str:
    """How many ended without an energy above the hull, by reason."""
    reasons = Counter(
        f"invalid: {record['invalid']}" if record["invalid"] else record["stopped_by"]
        for record in run.records
        if record["energy_above_hull"] is None
    )
    told = "; ".join(f"{number} {reason}" for reason, number in reasons.most_common())
    return f"{run.name}, not stable for want of an energy: {told or 'none'}."
