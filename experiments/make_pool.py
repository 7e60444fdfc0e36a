"""Makes the tables of pool.yaml from a table of computed compounds: `python -m experiments.make_pool --help`.

One row for each reduced formula: formation energy and band gap (PBE) of its polymorph of lowest formation energy,
for fluorine-free, charge-balanced lithium compounds near the convex hull. experiments/pool.md
tells what is written, and under which licence.
"""

from __future__ import annotations

import csv
import lzma
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

HERE = Path(__file__).parent
METALS = ("Li", "Na", "K", "Mg", "Ca", "Sr", "Ba", "Zn", "Al", "Ga", "Y", "Sc", "La", "Ti", "Zr")
ELEMENTS = frozenset((*METALS, "B", "Si", "Ge", "N", "P", "O", "S", "Cl", "Br", "I"))
MOBILE = "Li"
MOST_ELEMENTS = 4
MOST_ATOMS = 40
NEAR_HULL = (-0.1, 0.05)  # eV/atom; below the first a row of this table is a glitch
KNOWN_BEFORE = 16
SEED = 7


@dataclass(frozen=True)
class Compound:
    """A formula with its PBE formation energy (eV/atom) and band gap (eV)."""

    formula: str
    formation_energy: float
    band_gap: float


def main(
    table: Annotated[Path, typer.Argument(help="CSV (.xz) with formula, energies and gaps.")],
    leave_out: Annotated[
        Path, typer.Argument(help="CSV whose column reduced_formula names what to leave out.")
    ],
    folder: Annotated[Path, typer.Option(help="Where the three tables go.")] = HERE,
) -> None:
    """Writes pool_candidates.csv, pool_measurements.csv and pool_answers.csv.

    TABLE has the columns formula, formation_energy_per_atom, band_gap and e_above_hull_calc.
    """
    forbidden = {reduced(row["reduced_formula"]) for row in rows(leave_out)}
    compounds = [c for c in lowest_polymorphs(rows(table)) if c.formula not in forbidden]
    known = set(random.Random(SEED).sample(sorted(c.formula for c in compounds), KNOWN_BEFORE))
    before = [c for c in compounds if c.formula in known]
    pool = [c for c in compounds if c.formula not in known]
    write(folder / "pool_candidates.csv", ["formula"], ([c.formula] for c in pool))
    header = ["formula", "formation_energy (eV/atom)", "band_gap (eV)"]
    write(folder / "pool_answers.csv", header, (values(c) for c in pool))
    labels = ["formation_energy_fidelity", "band_gap_fidelity"]
    write(folder / "pool_measurements.csv", [*header, *labels], ([*values(c), "PBE", "PBE"] for c in before))
    typer.echo(f"{len(pool)} candidates and {len(before)} measurements in {folder}")


def lowest_polymorphs(table: Iterable[dict[str, str]]) -> list[Compound]:
    """The compound of lowest formation energy for each formula of the pool, by formula."""
    best: dict[str, Compound] = {}
    for row in table:
        if not row["e_above_hull_calc"] or not row["band_gap"] or not belongs(row["formula"]):
            continue
        if not NEAR_HULL[0] <= float(row["e_above_hull_calc"]) <= NEAR_HULL[1]:
            continue
        formula = reduced(row["formula"])
        found = Compound(formula, float(row["formation_energy_per_atom"]), float(row["band_gap"]))
        if formula not in best or found.formation_energy < best[formula].formation_energy:
            best[formula] = found
    return [best[formula] for formula in sorted(best)]


def belongs(formula: str) -> bool:
    """Whether the pool wants a compound of this formula."""
    from pymatgen.core import Composition

    from materials.chemistry import is_charge_balanced

    composition = Composition(formula)
    symbols = {element.symbol for element in composition}
    return (
        MOBILE in symbols
        and symbols <= ELEMENTS
        and 2 <= len(symbols) <= MOST_ELEMENTS
        and composition.reduced_composition.num_atoms <= MOST_ATOMS
        and is_charge_balanced(composition)
    )


def reduced(formula: str) -> str:
    """The reduced formula in pymatgen's order; NaN is sodium nitride."""
    from pymatgen.core import Composition

    return str(Composition(formula).reduced_formula)


def values(compound: Compound) -> list[str]:
    """The cells of one row: formula, eV/atom, eV."""
    return [compound.formula, f"{compound.formation_energy:.3f}", f"{compound.band_gap:.3f}"]


def rows(path: Path) -> Iterator[dict[str, str]]:
    """The rows of a CSV file, compressed with xz or not."""
    read = lzma.open if path.suffix == ".xz" else open
    with read(path, "rt", newline="") as handle:
        yield from csv.DictReader(handle)


def write(path: Path, header: list[str], lines: Iterable[list[str]]) -> None:
    """Writes a CSV file."""
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(lines)


if __name__ == "__main__":
    typer.run(main)
