"""The table of `experiments.energy_pairs` as the energy model reads it."""

from __future__ import annotations

import csv
import lzma
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pymatgen.core import Structure

from experiments.training_tables import tenth
from materials.hull import ReferenceHull
from materials.reference_table import structure_from_text
from surrogates.early_look import look_row
from surrogates.energy_model import EnergyModel

Floats = npt.NDArray[np.float64]
TABLE = Path(__file__).parent / "energy_pairs.csv.xz"
FOLDS = 5
WORTH_RELAXING = 0.1  # eV/atom above the hull


@dataclass(frozen=True)
class Pairs:
    """Relaxed candidates: looks [n, COLUMNS], relaxed energies and those WORTH_RELAXING [n], steps, and labels."""

    looks: Floats
    relaxed: Floats
    threshold: Floats
    steps: Floats
    formulas: list[str]
    generators: list[str]


def converged_rows(path: Path) -> tuple[list[dict[str, str]], list[Structure]]:
    """The converged rows of a table of `experiments.energy_pairs`, and their crystals before relaxation."""
    with lzma.open(path, "rt", newline="", encoding="utf-8") as handle:
        rows = [row for row in csv.DictReader(handle) if row["converged"] == "1"]
    return rows, [structure_from_text(row["cell"], row["sites"]) for row in rows]


def read_pairs(path: Path) -> Pairs:
    """The converged rows as the energy model reads them."""
    rows, structures = converged_rows(path)
    energies = [[float(e) for e in row["energies"].split()] for row in rows]
    looks = [look_row(e, len(s)) for e, s in zip(energies, structures, strict=True)]
    hull = ReferenceHull.shipped()
    # An uncorrected energy lies so far above the hull: itself, its correction, and the hull's depth.
    above = [
        hull.correction_per_atom(s) + hull.energy_above_hull(s.composition, 0.0).value for s in structures
    ]
    return Pairs(
        np.array(looks),
        np.array([float(row["relaxed"]) for row in rows]),
        WORTH_RELAXING - np.array(above),
        np.array([float(row["steps"]) for row in rows]),
        [row["formula"] for row in rows],
        [row["generator"] for row in rows],
    )


def folds(pairs: Pairs) -> npt.NDArray[np.int_]:
    """[n], the fold of each candidate; one formula is in one fold."""
    return np.array([tenth(formula) % FOLDS for formula in pairs.formulas])


def out_of_fold(pairs: Pairs, seed: int, calibrate: bool) -> tuple[Floats, Floats]:
    """Center and spread [n] of what is left of each descent, by models that were fitted on other formulas.

    calibrate: hold one more fold back, to set the width of the intervals on it.
    """
    fold = folds(pairs)
    center, spread = np.full((2, len(fold)), np.nan)
    for number in range(FOLDS):
        test, held = fold == number, fold == (number + 1) % FOLDS
        train = ~test & ~held if calibrate else ~test
        model = EnergyModel.fit(pairs.looks[train], pairs.relaxed[train], seed)
        if calibrate:
            model = model.calibrated(pairs.looks[held], pairs.relaxed[held])
        found = model.predict(pairs.looks[test])
        center[test], spread[test] = found.center, found.spread
    return center, spread
