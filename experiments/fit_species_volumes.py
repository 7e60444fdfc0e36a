"""Fits the volume each charged species takes up in a crystal: generators/data/species_volumes.json.

    python -m experiments.fit_species_volumes phases.csv --leave-out leave_out.csv

`phases.csv` holds near-hull phases with the columns `formula` and `volume_per_atom` (cubic angstrom). Formulas in the
column `reduced_formula` of the leave-out table are never used. Charges come from `generators.species.likely_charges`;
elements alone and formulas it cannot charge (alloys) give the volume of the charge 0. The volumes v minimise
sum over phases (1 - x.v / V)^2 + (PRIOR * (v / mean - 1))^2 with v >= 0: rare species lean on their element's mean.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import pymatgen.core as pmg
import typer

from generators.species import Species, likely_charges
from materials.chemistry import element_amounts
from materials.leave_out import left_out

Floats = npt.NDArray[np.float64]
PRIOR = 0.3
FOLDS = 5
TABLE = Path(__file__).parents[1] / "generators" / "data" / "species_volumes.json"


def phases(path: Path, hidden: frozenset[str]) -> Iterator[tuple[dict[Species, float], float]]:
    """Fractions of each species and the volume per atom of every usable row."""
    with path.open(newline="") as handle:
        for row in csv.DictReader(handle):
            composition = pmg.Composition(row["formula"])
            if composition.reduced_formula in hidden:
                continue
            amounts = element_amounts(composition)
            charges = likely_charges(amounts)
            total = sum(amounts.values())
            fractions = {(e, charges[e]): n / total for e, n in amounts.items()}
            yield fractions, float(row["volume_per_atom"])


def design(rows: list[tuple[dict[Species, float], float]]) -> tuple[list[Species], Floats, Floats]:
    """The species, their fractions [phases, species], and the volumes per atom [phases]."""
    names = sorted({species for fractions, _ in rows for species in fractions})
    column = {species: i for i, species in enumerate(names)}
    matrix = np.zeros((len(rows), len(names)))
    for i, (fractions, _) in enumerate(rows):
        for species, x in fractions.items():
            matrix[i, column[species]] = x
    return names, matrix, np.array([volume for _, volume in rows])


def solve(matrix: Floats, volumes: Floats, prior: Floats) -> Floats:
    """Non-negative volumes [species] with the smallest relative error, leaning on `prior` [species]."""
    from scipy.optimize import nnls

    scaled = np.vstack([matrix / volumes[:, None], np.diag(PRIOR / prior)])
    target = np.concatenate([np.ones(len(volumes)), np.full(len(prior), PRIOR)])
    return np.asarray(nnls(scaled, target)[0])


def fit(names: list[Species], matrix: Floats, volumes: Floats) -> Floats:
    """Element means first (one volume for all charges), then one volume for every charge."""
    symbols = sorted({symbol for symbol, _ in names})
    member = np.array([[symbol == s for s in symbols] for symbol, _ in names], dtype=float)
    means = solve(matrix @ member, volumes, np.full(len(symbols), 15.0))
    return solve(matrix, volumes, np.maximum(member @ means, 1.0))


def main(table: Path, leave_out: Annotated[Path | None, typer.Option()] = None) -> None:
    """Fits, prints the cross-validated error, and writes the table that ships."""
    rows = list(phases(table, left_out(leave_out) if leave_out else frozenset()))
    names, matrix, volumes = design(rows)
    fold = np.random.default_rng(0).integers(FOLDS, size=len(rows))
    predicted = np.zeros(len(rows))
    for k in range(FOLDS):
        predicted[fold == k] = matrix[fold == k] @ fit(names, matrix[fold != k], volumes[fold != k])
    error = np.abs(np.log(np.maximum(predicted, 1e-3) / volumes))
    print(f"{len(rows)} phases, {len(names)} species; |log ratio| median {np.median(error):.3f}", end=" ")
    print(f"mean {error.mean():.3f}, 90th percentile {np.quantile(error, 0.9):.3f}")
    fitted: dict[str, dict[str, float]] = {}
    for (symbol, charge), volume in zip(names, fit(names, matrix, volumes), strict=True):
        fitted.setdefault(symbol, {})[str(charge)] = round(float(volume), 3)
    note = f"cubic angstrom per atom; experiments/fit_species_volumes.py on {len(rows)} phases"
    TABLE.write_text(json.dumps({"note": note, "volumes": fitted}, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    typer.run(main)
