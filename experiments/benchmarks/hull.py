"""The hull's linear programme against energies above hull that others published.

    python -m experiments.benchmarks.hull mp2018_ef_gap_36738.csv.xz mp_groundstate_Ef_Ed_85014.csv.xz

Formation energies of drawn rows of the first table are judged by a ReferenceHull of the second (the ground state of
each formula; elements are 0), and compared with the first table's e_above_hull_calc, computed against that hull.
"""

from __future__ import annotations

import csv
import lzma
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import pymatgen.core as pmg
import typer

from materials.hull import ReferenceHull
from materials.reference_table import EnergySource, ReferenceEntry, ReferenceTable

# The Materials Project's corrections before 2020, in formation energies already.
SOURCE = EnergySource("PBE formation energies", "Materials Project 2018", "included")
LOWEST = -0.1  # eV/atom; noble-gas compounds and other glitches of the table lie lower
AGREES = 1e-3  # eV/atom


def rows(path: Path) -> Iterator[dict[str, str]]:
    """The rows as text, so that NaN stays sodium nitride."""
    with lzma.open(path, "rt", encoding="utf-8", newline="") as handle:
        yield from csv.DictReader(handle)


def formation_hull(ground_states: Path) -> ReferenceHull:
    """The hull of formation energies, elements at 0."""
    energies = {row["reduced_formula"]: float(row["Ef_eV_atom"]) for row in rows(ground_states)}
    formulas = {pmg.Composition(formula).reduced_formula: energy for formula, energy in energies.items()}
    symbols = {element.symbol for formula in formulas for element in pmg.Composition(formula).elements}
    formulas |= {pmg.Composition(symbol).reduced_formula: 0.0 for symbol in symbols}
    entries = tuple(_entry(formula, energy) for formula, energy in sorted(formulas.items()))
    return ReferenceHull([ReferenceTable(SOURCE, "relaxed", entries)])


def _entry(formula: str, energy: float) -> ReferenceEntry:
    return ReferenceEntry(formula, formula, 0, 0, energy, 0.0, "", True, "", "", "relaxed")


def main(
    table: Annotated[Path, typer.Argument(help="mp2018_ef_gap_36738.csv.xz")],
    ground_states: Annotated[Path, typer.Argument(help="mp_groundstate_Ef_Ed_85014.csv.xz")],
    number: Annotated[int, typer.Option(help="Rows to draw; 0 for all.")] = 1000,
    seed: Annotated[int, typer.Option(help="Of the draw.")] = 0,
) -> None:
    """Prints how many agree, and every row that does not."""
    usable = [row for row in rows(table) if row["e_above_hull_calc"]]
    usable = [row for row in usable if float(row["e_above_hull_calc"]) >= LOWEST]
    drawn = np.random.default_rng(seed).permutation(len(usable))[: number or None]
    hull = formation_hull(ground_states)
    differences = []
    for row in (usable[i] for i in sorted(drawn)):
        found = hull.energy_above_hull(row["formula"], float(row["formation_energy_per_atom"]))
        published = float(row["e_above_hull_calc"])
        if not found.known:
            typer.echo(
                f"{row['material_id']} {row['formula']}: unknown, published {published}; {found.why_unknown}"
            )
            continue
        differences.append(found.value - published)
        if abs(differences[-1]) > AGREES:
            phases = ", ".join(f"{phase.fraction:.3f} {phase.formula}" for phase in found.decomposition)
            typer.echo(
                f"{row['material_id']} {row['formula']}: {found.value:.6f}, published {published}; {phases}"
            )
    size = np.abs(differences)
    typer.echo(
        f"{len(drawn)} of {len(usable)} rows, seed {seed}: {np.sum(size <= AGREES)} within {AGREES:g} eV/atom, "
        f"{len(drawn) - len(size)} unknown; largest difference {size.max():.2e}, median {np.median(size):.2e}"
    )


if __name__ == "__main__":
    typer.run(main)
