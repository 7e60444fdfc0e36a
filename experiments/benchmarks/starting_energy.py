"""What the prior of energy_above_hull is worth after a few measurements: GP with it, GP without it, the prior alone.

    python -m experiments.training_tables experiments/energy_pairs.csv.xz --out features
    python -m experiments.benchmarks.starting_energy --features features --leave-out leave_out.csv --out starting.csv

Candidates of `experiments.energy_pairs` that converged, as they were proposed. Each seed takes a fold of the formulas
that its prior has not seen, measures candidates of half of these and predicts those of the other half. Run again, it
goes on where it stopped.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import typer

from experiments.benchmarks.prior import append_missing, figures, print_means
from experiments.train_starting_energy import FOLDS, Starts, read_starts
from experiments.training_tables import named_errors
from materials.archive import Archive, Progress, Record
from materials.base import Candidate, Crystal, Material, Measurement, Origin, Prediction
from materials.goals import Objective
from materials.hull import ReferenceHull
from materials.leave_out import left_out
from surrogates.gaussian_process import GaussianProcessSettings
from surrogates.prior import Prior
from surrogates.starting_energy_prior import StartingEnergyPrior

PROPERTY = "energy_above_hull"
Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]


class Benchmark:
    """Converged candidates with their heights above the hull (eV/atom) and descriptors."""

    def __init__(self, starts: Starts) -> None:
        self.starts = starts
        self.heights = starts.relaxed + starts.offsets
        self.candidates = [Candidate(crystal, Origin("files")) for crystal in starts.crystals]
        self._by_digest = {c.digest: row for c, row in zip(starts.crystals, starts.descriptors, strict=True)}
        self._hull = ReferenceHull.shipped()
        self.prior = cache(lambda fold: StartingEnergyPrior(self._hull, starts.without(fold, seed=0)))

    def features(self, materials: list[Material]) -> Floats:
        """The cached descriptors."""
        return np.array([self._by_digest[m.digest] for m in materials if isinstance(m, Crystal)], dtype=float)

    def rows(self, seed: int, number: int) -> Iterator[Mapping[str, object]]:
        """One row per model; nothing where too few candidates can be measured."""
        starts, rng = self.starts, np.random.default_rng(seed)
        fold = seed % FOLDS
        pool = np.flatnonzero((starts.folds == fold) & starts.converged & np.isfinite(self.heights))
        names = rng.permutation(np.unique(starts.formulas[pool]))
        measurable = np.isin(starts.formulas[pool], names[: len(names) // 2])
        measured, test = rng.permutation(pool[measurable])[:number], pool[~measurable]
        if len(measured) < number:
            return
        about = {"seed": seed, "pool": f"fold {fold}", "measured": number, "rows": len(test)}
        for model, found in self._models(measured, test, self.prior(fold), seed):
            yield {**about, "model": model, **figures(found, self.heights[test])}

    def _models(
        self, measured: Indices, test: Indices, prior: Prior, seed: int
    ) -> Iterator[tuple[str, list[Prediction]]]:
        asked = [self.candidates[i] for i in test]
        materials = [c.material for c in asked]
        told = zip(*prior.predict(PROPERTY, materials, self.features(materials)), strict=True)
        yield "prior alone", [Prediction(PROPERTY, m, s) for m, s in told]
        for name, priors in (("GP with prior", [prior]), ("GP without prior", [])):
            settings = GaussianProcessSettings(prior="none")
            surrogate = settings.build((PROPERTY,), self.features, priors)  # type: ignore[arg-type]
            surrogate.fit(self._archive(measured), seed)
            yield name, [row[0] for row in surrogate.predict(asked)]

    def _archive(self, measured: Indices) -> Archive:
        def record(i: int) -> Record:
            found = Measurement(PROPERTY, float(self.heights[i]), "eV/atom", "potential", "hull")
            return Record(self.candidates[i], self.candidates[i].material, Progress.EVALUATED, (found,))

        return Archive([record(i) for i in measured], [Objective(PROPERTY, "minimize")])


def main(
    leave_out: Annotated[Path, typer.Option(help="CSV with a column reduced_formula.")],
    pairs: Annotated[Path, typer.Option(help="Table of experiments.energy_pairs.")] = Path(
        "experiments/energy_pairs.csv.xz"
    ),
    features: Annotated[Path, typer.Option(help="Folder of the descriptors.")] = Path("features"),
    seeds: Annotated[int, typer.Option(help="How many.")] = 20,
    measured: Annotated[
        str, typer.Option(help="Numbers of measurements, with commas between.")
    ] = "10,30,100",
    out: Annotated[Path, typer.Option(help="Results, one row each.")] = Path("starting.csv"),
) -> None:
    """Writes one row per seed, number of measurements and model, and prints the means."""
    with named_errors():
        bench = Benchmark(read_starts(pairs, features, left_out(leave_out)))
    append_missing(out, seeds, measured, bench.rows)
    print_means(out)


if __name__ == "__main__":
    typer.run(main)
