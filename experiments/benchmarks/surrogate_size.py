"""Times the fit of a surrogate on many rows, and measures its error.

    python -m experiments.benchmarks.surrogate_size TABLE --features features --rows 10000

Learns band gaps of the tenths 2 to 9 of the formulas without a prior, and predicts tenth 1.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import typer

from experiments.benchmarks.prior import UNION, figures
from experiments.training_tables import VALIDATION, cached_features, read_labelled, tenth
from materials.archive import Archive, Progress, Record
from materials.base import Candidate, Crystal, Material, Measurement, Origin
from surrogates.gaussian_process import GaussianProcessSettings


def main(
    table: Annotated[Path, typer.Argument(help="Structures with a column band_gap.")],
    features: Annotated[Path, typer.Option(help="Folder of the descriptors.")] = Path("features"),
    rows: Annotated[int, typer.Option(help="How many to learn from.")] = 10000,
    tested: Annotated[int, typer.Option(help="How many to predict.")] = 1000,
) -> None:
    """Prints seconds and errors."""
    found = [r for r in read_labelled(table) if r.labels["band_gap"]]
    learned = [r for r in found if tenth(r.formula) > VALIDATION][:rows]
    asked = [r for r in found if tenth(r.formula) == VALIDATION][:tested]
    crystals = [r.crystal for r in (*learned, *asked)]
    described = cached_features(features, UNION, crystals).astype(float)
    by_digest = {c.digest: row for c, row in zip(crystals, described, strict=True)}

    def source(materials: Sequence[Material]) -> npt.NDArray[np.float64]:
        return np.array([by_digest[m.digest] for m in materials if isinstance(m, Crystal)])

    records = [
        Record(
            Candidate(r.crystal, Origin("files")),
            r.crystal,
            Progress.EVALUATED,
            (
                Measurement(
                    "band_gap", float(r.labels["band_gap"]), unit="eV", fidelity="PBE", oracle="table"
                ),
            ),
        )
        for r in learned
    ]
    surrogate = GaussianProcessSettings(prior="none").build(("band_gap",), source)
    began = time.monotonic()
    surrogate.fit(Archive(records), seed=0)
    fitted = time.monotonic()
    predicted = [row[0] for row in surrogate.predict([Candidate(r.crystal, Origin("files")) for r in asked])]
    typer.echo(surrogate.reports[0].model)
    typer.echo(
        f"{len(learned)} rows: fit {fitted - began:.1f} s, {tested} predictions {time.monotonic() - fitted:.1f} s"
    )
    typer.echo(str(figures(predicted, np.array([float(r.labels["band_gap"]) for r in asked]))))


if __name__ == "__main__":
    typer.run(main)
