"""Does the committee's spread tell where the potential is wrong?

    python -m experiments.benchmarks.committee limits mp20_like_36k.csv.xz --leave-out leave_out.csv --out committee
    python -m experiments.benchmarks.committee intermetallics mp2018_ef_gap_36738.csv.xz --out committee
    python -m experiments.committee_cells mp2018_ef_gap_36738.csv.xz --out committee
    python -m experiments.benchmarks.committee cells --out committee

`limits` finds the oracle's default limits on known phases whose formulas are in one tenth; the other two measure, on
other formulas, SevenNet-0's error and how the spread of SevenNet-0 and SevenNet-l3i5 tells it. Both learned the same
data, so their spread is a lower bound of the error. What is done is kept; run again, a command goes on there.
"""

from __future__ import annotations

import csv
import lzma
from collections import defaultdict
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import pymatgen.core as pmg
import typer

from experiments.committee_cells import PART_FILE
from experiments.committee_opinions import Asked, Judged, judge
from experiments.training_tables import VALIDATION, tenth
from loop.part_files import records
from materials.base import Crystal
from materials.hull import ReferenceHull
from materials.leave_out import left_out
from materials.reference_table import structure_from_text

Floats = npt.NDArray[np.float64]
Row = dict[str, str]
app = typer.Typer(add_completion=False, help=__doc__, pretty_exceptions_enable=False)
Out = Annotated[Path, typer.Option(help="Folder of the part files.")]
Most = Annotated[int, typer.Option(help="Crystals, drawn at random; fewer are the first of more.")]

MOST_ATOMS = 20
SEED = 0
NEAR_HULL = 0.02  # eV/atom
RIDGE, OUTLIER = 0.1, 0.1  # of the fit of elements' offsets; eV/atom
GLITCH = -0.1  # eV/atom above hull; what lies lower is an error of the table
CHANGED = frozenset({"Yb"})
"""The Materials Project changed its pseudopotential, so its energies are of two kinds."""
FLAGGED = 0.2
COVERED = 0.9


def told(name: str, spread: Floats, error: Floats, unit: str) -> None:
    """Prints rank correlation, the flagged fifth against the rest, and what a scaled spread covers."""
    from scipy.stats import spearmanr

    flagged = spread >= np.quantile(spread, 1 - FLAGGED)
    ratio = error[flagged].mean() / error[~flagged].mean()
    half = np.random.default_rng(SEED).permutation(len(error)) < len(error) // 2
    factor = float(np.quantile(error[half] / spread[half], COVERED))
    holds = error[~half] <= factor * spread[~half]
    least, most = np.quantile(spread[~half], [FLAGGED, 1 - FLAGGED])
    low, high = holds[spread[~half] <= least], holds[spread[~half] >= most]
    typer.echo(
        f"{name}, n = {len(error)}: spearman {spearmanr(spread, error).statistic:.2f}; mean error {error.mean():.4f}, "
        f"median {np.median(error):.4f}, flagged fifth {error[flagged].mean():.4f}, rest {error[~flagged].mean():.4f} "
        f"{unit}, ratio {ratio:.2f}; median of error/spread {np.median(error / spread):.2f}, factor for "
        f"{COVERED:.0%} {factor:.1f}; it covers {holds.mean():.1%} of the other half, {low.mean():.1%} of its fifth of "
        f"least spread, {high.mean():.1%} of that of most"
    )


def _rows(table: Path) -> Iterator[Row]:
    with lzma.open(table, "rt", newline="", encoding="utf-8") as handle:
        yield from (row for row in csv.DictReader(handle) if int(row["nsites"]) <= MOST_ATOMS)


def _formula(row: Row) -> str:
    return str(pmg.Composition(row["formula"]).reduced_formula)


def _sample(rows: list[Row], most: int) -> list[Asked]:
    chosen = [rows[k] for k in np.random.default_rng(SEED).permutation(len(rows))[:most]]
    return [Asked(row["material_id"], structure_from_text(row["cell"], row["sites"])) for row in chosen]


@app.command()
def limits(
    table: Annotated[Path, typer.Argument(help="mp20_like_36k.csv.xz")],
    leave_out: Annotated[Path, typer.Option(help="CSV of formulas that nothing that ships may learn from.")],
    out: Out = Path("committee"),
    most: Most = 1000,
    with_forces: Annotated[int, typer.Option(help="The first of them, for the spread of forces.")] = 170,
) -> None:
    """The percentiles, over known phases near the hull, from which the default limits are taken."""
    hidden = left_out(leave_out)
    near = (
        r
        for r in _rows(table)
        if r["split"].startswith("train") and float(r["e_above_hull"] or 1) <= NEAR_HULL
    )
    rows = [r for r in near if tenth(_formula(r)) == VALIDATION and _formula(r) not in hidden]
    out.mkdir(parents=True, exist_ok=True)
    sample = _sample(rows, most)
    found = judge(sample, out / "committee_known.jsonl", forces=False)
    moved = judge(sample[:with_forces], out / "committee_known_forces.jsonl", forces=True)
    typer.echo(f"{len(found)} of {len(rows)} known phases, {len(moved)} of them with forces")
    _percentiles("energy_spread (eV/atom)", [judged.energy_spread for judged in found])
    _percentiles("force_spread (eV/angstrom)", [judged.force_spread for judged in moved])
    _percentiles("distance", [judged.distance for judged in found])
    typer.echo(f"doubted: {np.mean([judged.doubted for judged in moved]):.1%} of those with forces")


def _percentiles(name: str, values: list[float]) -> None:
    wanted = (50, 80, 90, 95, 99)
    text = ", ".join(f"{p} %: {v:.4f}" for p, v in zip(wanted, np.percentile(values, wanted), strict=True))
    typer.echo(f"{name}: {text}")


@app.command()
def intermetallics(
    table: Annotated[Path, typer.Argument(help="mp2018_ef_gap_36738.csv.xz")],
    out: Out = Path("committee"),
    most: Most = 1500,
) -> None:
    """Formation energies of compounds of metals alone, where no correction enters, against the Materials Project."""
    rows = [row for row in _rows(table) if _is_intermetallic(row)]
    labels = {row["material_id"]: float(row["formation_energy_per_atom"]) for row in rows}
    out.mkdir(parents=True, exist_ok=True)
    sample = _sample(rows, most)
    found = judge(sample, out / "committee_intermetallics.jsonl", forces=False)
    hull = ReferenceHull.shipped()
    # No correction enters, so the uncorrected energies are the corrected ones.
    formation = [
        hull.formation_energy(asked.structure.composition, judged.energies[0])
        for asked, judged in zip(sample, found, strict=True)
    ]
    typer.echo(f"{len(found)} of {len(rows)} intermetallics")
    error = np.array([e - labels[judged.id] for e, judged in zip(formation, found, strict=True)])
    spread = np.array([judged.energy_spread for judged in found])
    told("energy_spread", spread, np.abs(error), "eV/atom")
    told("distance", np.array([judged.distance for judged in found]), np.abs(error), "eV/atom")
    _doubted(found, np.abs(error), "eV/atom")
    fitted, left = _without_offsets([asked.structure.composition for asked in sample], error)
    told("energy_spread, elements' offsets taken out", spread[~fitted], np.abs(left[~fitted]), "eV/atom")


def _without_offsets(
    compositions: list[pmg.Composition], error: Floats
) -> tuple[npt.NDArray[np.bool_], Floats]:
    """Which half a constant error of each element was fitted on [n], and errors less these constants [n].

    Such an error is mostly that of the element's reference phase, of which a spread of total energies knows nothing.
    """
    symbols = sorted({element.symbol for composition in compositions for element in composition.elements})
    fractions = np.array([[c.get_atomic_fraction(symbol) for symbol in symbols] for c in compositions])
    half = np.random.default_rng(SEED).permutation(len(error)) < len(error) // 2
    gram = fractions[half].T @ fractions[half] + RIDGE * np.eye(len(symbols))
    clipped = np.clip(error[half], -OUTLIER, OUTLIER)
    return half, error - fractions @ np.linalg.solve(gram, fractions[half].T @ clipped)


def _is_intermetallic(row: Row) -> bool:
    elements = pmg.Composition(row["formula"]).elements
    metals = all(element.is_metal and element.symbol not in CHANGED for element in elements)
    above = row["e_above_hull_calc"]
    glitch = bool(above) and float(above) < GLITCH
    # The limits were found on the formulas of one tenth.
    return metals and len(elements) > 1 and not glitch and tenth(_formula(row)) != VALIDATION


def _doubted(found: list[Judged], error: Floats, unit: str) -> None:
    doubted = np.array([judged.doubted for judged in found])
    if not 0 < doubted.sum() < len(doubted):
        typer.echo(f"doubted by the default limits: {doubted.sum()} of {len(doubted)}")
        return
    typer.echo(
        f"doubted by the default limits: {doubted.sum()} of {len(doubted)}, mean error {error[doubted].mean():.4f}, of "
        f"the others {error[~doubted].mean():.4f} {unit}, ratio {error[doubted].mean() / error[~doubted].mean():.2f}"
    )


@app.command()
def cells(out: Out = Path("committee")) -> None:
    """Forces, and energy differences between cells of one formula, against the DFT of `experiments.committee_cells`."""
    done = {record["id"]: record for record in records(out / PART_FILE) if "failure" not in record}
    crystals = [Asked(name, Crystal.from_dict(record["material"]).structure) for name, record in done.items()]
    found = judge(crystals, out / "committee_judged_cells.jsonl", forces=True)
    # Symmetry holds the forces of a known phase at nearly nothing.
    moved = [judged for judged in found if done[judged.id]["kind"] != "known"]
    errors = [
        np.linalg.norm(_own_forces(judged) - np.array(done[judged.id]["forces"]), axis=1) for judged in moved
    ]
    spreads = [judged.force_spreads for judged in moved]
    typer.echo(f"{len(moved)} cells with forces, {len(found) - len(moved)} known phases as they are")
    force = "eV/angstrom"
    told("forces of atoms", np.concatenate(spreads), np.concatenate(errors), force)
    largest = np.array([error.max() for error in errors])
    told("largest force of a cell", np.array([spread.max() for spread in spreads]), largest, force)
    _doubted(moved, largest, force)
    by_formula = defaultdict(list)
    for judged in found:
        by_formula[done[judged.id]["formula"]].append(judged)
    pairs = [pair for group in by_formula.values() for pair in combinations(group, 2)]
    told(
        "energy differences within a formula",
        np.array([_difference_spread(*pair) for pair in pairs]),
        np.array([_difference_error(*pair, {k: r["energy"] for k, r in done.items()}) for pair in pairs]),
        "eV/atom",
    )


def _own_forces(judged: Judged) -> Floats:
    assert judged.forces is not None
    return np.asarray(judged.forces[0])


def _difference_spread(first: Judged, second: Judged) -> float:
    return float(np.std(np.subtract(first.energies, second.energies), ddof=1))


def _difference_error(first: Judged, second: Judged, true: dict[str, float]) -> float:
    difference = float(first.energies[0] - second.energies[0])
    return abs(difference - (true[first.id] - true[second.id]))


if __name__ == "__main__":
    app()
