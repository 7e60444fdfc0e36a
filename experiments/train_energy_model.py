"""Trains the energy model that ships, on relaxations of the generators' candidates.

    python -m experiments.train_energy_model

The width of its intervals is set on formulas that models of the same kind had not seen;
`experiments.benchmarks.energy_model` measures it on yet others.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from experiments.relaxed_pairs import TABLE, out_of_fold, read_pairs
from surrogates.energy_model import SHIPPED, EnergyModel, descent_left, width


def main(
    pairs: Annotated[Path, typer.Option(help="Table of experiments.energy_pairs.")] = TABLE,
    out: Annotated[Path, typer.Option(help="The weights.")] = SHIPPED,
    seed: Annotated[int, typer.Option(help="Of the rows that are kept.")] = 0,
) -> None:
    """Writes the weights and prints what they rest on."""
    found = read_pairs(pairs)
    center, spread = out_of_fold(found, seed, calibrate=False)
    wide = width(descent_left(found.looks, found.relaxed), center, spread)
    model = replace(EnergyModel.fit(found.looks, found.relaxed, seed), spread=wide)
    model.save(out)
    formulas = len(np.unique(found.formulas))
    typer.echo(
        f"{len(found.relaxed)} relaxations of {formulas} formulas, {len(model.rows)} kept; width {wide:.3f}"
    )
    typer.echo(f"wrote {out}, {out.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    typer.run(main)
