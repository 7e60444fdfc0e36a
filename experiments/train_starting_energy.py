"""Trains the model that tells relaxed energies from single points, and measures it on formulas it never saw.

    python -m experiments.training_tables experiments/energy_pairs.csv.xz --out features
    python -m experiments.train_starting_energy --features features --leave-out leave_out.csv [--evaluate]

Five folds by formula: fitted on three, intervals calibrated on one, judged on one. What ships is fitted on all rows,
its intervals widened as those of the folds' models need it. Relaxations that had not converged count with their last
energy: leaving them out would leave out the worst starts.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import typer

from experiments.training_tables import cached_features, named_errors, read_labelled, tenth
from materials.base import Crystal
from materials.hull import ReferenceHull
from materials.leave_out import left_out
from surrogates.heads.shipped import DESCRIPTORS, STARTING_ENERGY, WEIGHTS
from surrogates.starting_energy import ENERGY, Z_90, Heights, StartingEnergyModel

FOLDS = 5
NEAR = 0.5  # eV/atom; candidates whose single point lies within are also told apart
Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Starts:
    """Unrelaxed candidates: union descriptors [n, d], what lifts an energy above the hull [n], relaxed energies [n]."""

    crystals: list[Crystal]
    descriptors: Floats
    offsets: Floats
    relaxed: Floats
    folds: npt.NDArray[np.int_]
    formulas: npt.NDArray[np.str_]
    generators: npt.NDArray[np.str_]
    converged: Mask

    def fitted(self, rows: Mask, seed: int) -> StartingEnergyModel:
        """The model that learned from these rows, not calibrated yet."""
        parts = self.descriptors[rows], self.offsets[rows], self.relaxed[rows]
        return StartingEnergyModel.fit(*parts, DESCRIPTORS["structure"].version, seed)

    def without(self, fold: int, seed: int) -> StartingEnergyModel:
        """The model that knows nothing of the formulas of a fold: calibrated on the next, fitted on the others."""
        held = self.folds == (fold + 1) % FOLDS
        model = self.fitted((self.folds != fold) & ~held, seed)
        return model.calibrated(self.descriptors[held], self.offsets[held], self.relaxed[held])


def read_starts(path: Path, features: Path, hidden: frozenset[str]) -> Starts:
    """The candidates of a table of `experiments.energy_pairs` that did not fall apart."""
    rows = [row for row in read_labelled(path) if row.labels["relaxed"] and row.formula not in hidden]
    hull = ReferenceHull.shipped()
    levels = {f: hull.energy_above_hull(f, 0.0).value for f in sorted({row.formula for row in rows})}
    corrections = [hull.correction_per_atom(row.crystal.structure) for row in rows]
    crystals = [row.crystal for row in rows]
    return Starts(
        crystals,
        cached_features(features, DESCRIPTORS["structure"], crystals).astype(float),
        np.array([levels[row.formula] for row in rows]) + corrections,
        np.array([float(row.labels["relaxed"]) for row in rows]),
        np.array([tenth(row.formula) % FOLDS for row in rows]),
        np.array([row.formula for row in rows]),
        np.array([row.labels["generator"] for row in rows]),
        np.array([row.labels["converged"] == "1" for row in rows]),
    )


def predicted(starts: Starts, seed: int) -> tuple[Heights, Floats]:
    """Every candidate foretold by a model of other formulas, and its surprise."""
    center, spread, surprise = np.full((3, len(starts.relaxed)), np.nan)
    for fold in range(FOLDS):
        test, model = starts.folds == fold, starts.without(fold, seed)
        asked = starts.descriptors[test], starts.offsets[test]
        found = model.predict(*asked)
        center[test], spread[test] = found.center, found.spread
        surprise[test] = model.surprises(*asked, starts.relaxed[test])
    return Heights(starts.descriptors[:, ENERGY] + starts.offsets, center, spread), surprise


def through_a_line(starts: Starts) -> Floats:
    """The height of the single point corrected by a line, fitted to other formulas."""
    start, answer = starts.descriptors[:, ENERGY] + starts.offsets, np.full(len(starts.folds), np.nan)
    for fold in range(FOLDS):
        train, test = starts.folds != fold, starts.folds == fold
        end = (starts.relaxed + starts.offsets)[train]
        answer[test] = np.polyval(np.polyfit(start[train], end, 1), start[test])
    return answer


def report(starts: Starts, found: Heights) -> None:
    """Prints errors and what the intervals hold, by generator."""
    end = starts.relaxed + starts.offsets
    half = Z_90 * found.std
    inside = np.abs(end - found.median) <= half
    parts: dict[str, Mask] = {"all": np.ones(len(end), dtype=bool), "converged": starts.converged}
    parts["converged, near"] = starts.converged & (found.start - end < NEAR)
    parts |= {kind: starts.generators == kind for kind in sorted(set(starts.generators))}
    line = through_a_line(starts)
    for name, rows in parts.items():
        errors = [np.abs(answer - end)[rows].mean() for answer in (found.start, line, found.median)]
        middle = np.median(np.abs(found.median - end)[rows])
        typer.echo(
            f"{name:16} {rows.sum():5} rows; MAE of single point {errors[0]:.3f}, line {errors[1]:.3f}, model "
            f"{errors[2]:.3f} (median {middle:.3f}) eV/atom; 90 % interval holds {inside[rows].mean():.1%}, half width "
            f"{np.median(half[rows]):.3f}"
        )


def main(
    leave_out: Annotated[Path, typer.Option(help="CSV with a column reduced_formula.")],
    pairs: Annotated[Path, typer.Option(help="Table of experiments.energy_pairs.")] = Path(
        "experiments/energy_pairs.csv.xz"
    ),
    features: Annotated[Path, typer.Option(help="Folder of the descriptors.")] = Path("features"),
    out: Annotated[Path, typer.Option(help="Folder of the weights.")] = WEIGHTS,
    evaluate: Annotated[bool, typer.Option("--evaluate", help="Write nothing, only measure.")] = False,
    seed: Annotated[int, typer.Option(help="Of the rows that hyperparameters are fitted on.")] = 0,
) -> None:
    """Prints the errors on held-out formulas, and writes the weights of the model that learned from all."""
    with named_errors():
        starts = read_starts(pairs, features, left_out(leave_out))
    found, surprises = predicted(starts, seed)
    report(starts, found)
    if not evaluate:
        model = starts.fitted(np.ones(len(surprises), dtype=bool), seed).widened_to(surprises)
        model.save(out / STARTING_ENERGY)
        size = (out / STARTING_ENERGY).stat().st_size / 1e6
        typer.echo(f"fitted on {len(surprises)} rows, widening {model.widening:.2f}, {size:.2f} MB")


if __name__ == "__main__":
    typer.run(main)
