"""What a transferred prior is worth for ionic conductivities: GP with it, GP without it, and the head alone.

    python -m experiments.benchmarks.prior_conductivity OBELIX.csv.xz --leave-out leave_out.csv --out prior.csv

Each seed deals the groups of near-duplicate compositions into halves. The head is trained, as it ships, on one; of the
other some rows are measured and the rest predicted, all on the formula alone. Run again, it goes on where it stopped.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import typer

from experiments.benchmarks.prior import append_rows, done_parts, figures, print_means
from experiments.conductivity_table import Conductors, conductors_or_exit
from materials.archive import Archive, Progress, Record
from materials.base import Bound, Candidate, Composition, Material, Measurement, Origin, Prediction
from materials.goals import Objective
from surrogates.descriptors import DescriptorSettings
from surrogates.gaussian_process import GaussianProcessSettings
from surrogates.heads.ionic_conductivity import ConductivityTraining, IonicConductivityHead
from surrogates.heads.shipped import CONDUCTIVITY, conduction_descriptor
from surrogates.prior import Prior

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.intp]
MEASURED = (10, 30, 100)


class HalfPrior(Prior):
    """A head that learned from one half of the groups."""

    def __init__(self, conductors: Conductors, rows: Rows, seed: int) -> None:
        described = conductors.descriptors["composition"][rows]
        self._descriptor = conduction_descriptor("composition")
        self._head = IonicConductivityHead.fit(
            [conductors.materials[i] for i in rows], described, conductors.values[rows], conductors.at_most[rows],
            conductors.groups[rows], self._descriptor.version, ConductivityTraining(), seed,
        )  # fmt: skip

    @property
    def properties(self) -> tuple[str, ...]:
        return (CONDUCTIVITY,)

    def predict(self, name: str, materials: Sequence[Material], descriptors: Floats) -> tuple[Floats, Floats]:
        found = self._head.predict(materials, self._descriptor.describe(materials).astype(float))
        return found.value, found.std


def results(conductors: Conductors, seed: int) -> Iterator[Mapping[str, object]]:
    """One row for each number of measurements and model."""
    rng = np.random.default_rng(seed)
    groups = rng.permutation(np.unique(conductors.groups))
    known = np.isin(conductors.groups, groups[: len(groups) // 2])
    prior = HalfPrior(conductors, np.flatnonzero(known), seed)
    candidates = [Candidate(Composition(m.formula), Origin("files")) for m in conductors.materials]
    rest = rng.permutation(np.flatnonzero(~known))
    for number in MEASURED:
        train, test = rest[:number], rest[MEASURED[-1] :]
        test = test[~conductors.at_most[test]]
        about = {"seed": seed, "pool": "other half", "measured": number, "rows": len(test)}
        asked = [candidates[i] for i in test]
        archive = some_archive(conductors, candidates, train)
        for model, predicted in answers(prior, archive, asked, seed):
            yield {**about, "model": model, **figures(predicted, conductors.values[test])}


def some_archive(conductors: Conductors, candidates: Sequence[Candidate], rows: Rows) -> Archive:
    """What a campaign would know: values, and limits as limits."""
    records: dict[str, Record] = {}
    for i in rows:
        bound = Bound.UPPER if conductors.at_most[i] else Bound.EXACT
        value = float(conductors.values[i])
        measured = Measurement(CONDUCTIVITY, value, "log10(S/cm)", "experiment", "data", bound=bound)
        candidate = candidates[i]
        records[candidate.id] = Record(candidate, candidate.material, Progress.EVALUATED, (measured,))
    return Archive(records.values(), [Objective(CONDUCTIVITY, "maximize")])


def answers(
    prior: Prior, archive: Archive, asked: Sequence[Candidate], seed: int
) -> Iterator[tuple[str, list[Prediction]]]:
    """The predictions of each model."""
    materials = [c.material for c in asked]
    mean, std = prior.predict(CONDUCTIVITY, materials, np.zeros((0, 0)))
    yield "head alone", [Prediction(CONDUCTIVITY, m, s) for m, s in zip(mean, std, strict=True)]
    descriptor = DescriptorSettings(kind="composition").build()
    settings = GaussianProcessSettings.model_validate({"descriptor": "composition", "prior": "none"})
    for model, priors in (("GP without prior", ()), ("GP with prior", (prior,))):
        surrogate = settings.build((CONDUCTIVITY,), lambda m: descriptor.describe(m).astype(float), priors)
        surrogate.fit(archive, seed)
        yield model, [row[0] for row in surrogate.predict(asked)]


def main(
    table: Annotated[Path, typer.Argument(help="Measured conductivities, in the layout of OBELiX.")],
    leave_out: Annotated[Path, typer.Option(help="CSV with a column reduced_formula.")],
    seeds: Annotated[int, typer.Option(help="How many.")] = 10,
    out: Annotated[Path, typer.Option(help="Results, one row each.")] = Path("conductivity_prior.csv"),
) -> None:
    """Writes one row per seed, number of measurements and model, and prints the means."""
    conductors = conductors_or_exit(table, leave_out)
    done = done_parts(out, "seed")
    for seed in range(seeds):
        if (str(seed),) not in done:
            append_rows(out, list(results(conductors, seed)))
    print_means(out)


if __name__ == "__main__":
    typer.run(main)
