"""Trains the conductivity heads that ship, with and without the cell, on every measured conductor that may ship.

    python -m experiments.train_conductivity TABLE --leave-out leave_out.csv

Four hundred rows are too few to give some up for a test; `experiments.benchmarks.conductivity` measures the same
training on folds.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from experiments.conductivity_table import conductors_or_exit
from surrogates.heads.ionic_conductivity import ConductivityTraining, IonicConductivityHead
from surrogates.heads.shipped import CONDUCTIVITY, WEIGHTS, conduction_descriptor, file_name


def main(
    table: Annotated[Path, typer.Argument(help="Measured conductivities, in the layout of OBELiX.")],
    leave_out: Annotated[Path, typer.Option(help="CSV with a column reduced_formula.")],
    out: Annotated[Path, typer.Option(help="Folder of the weights.")] = WEIGHTS,
    seed: Annotated[int, typer.Option(help="Of the trees and the drawn limits.")] = 0,
) -> None:
    """Trains both heads and writes their weights."""
    conductors = conductors_or_exit(table, leave_out)
    out.mkdir(parents=True, exist_ok=True)
    for basis, described in conductors.descriptors.items():
        head = IonicConductivityHead.fit(
            conductors.materials, described, conductors.values, conductors.at_most, conductors.groups,
            conduction_descriptor(basis).version, ConductivityTraining(), seed,
        )  # fmt: skip
        path = out / file_name(CONDUCTIVITY, basis)
        head.save(path)
        size = path.stat().st_size / 1e6
        typer.echo(f"{path}: smoothing {head.smoothing:g}, widening {head.widening:.2f}, {size:.2f} MB")


if __name__ == "__main__":
    typer.run(main)
