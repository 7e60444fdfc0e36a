"""Seconds to describe structures of about ten atoms on one core, loading the potential left out.

OMP_NUM_THREADS=1 python -m experiments.benchmarks.descriptors
"""

from __future__ import annotations

import time
from itertools import islice
from typing import Annotated

import numpy as np
import typer

from generators.substitution import SubstitutionSettings
from materials.archive import Archive
from materials.base import Crystal
from materials.space import Space
from surrogates.descriptors import DescriptorSettings

ELEMENTS = ("Li", "Na", "Mg", "Al", "Si", "P", "O", "S", "Cl", "Br", "I", "F")


def main(
    number: Annotated[int, typer.Option(help="Structures.")] = 2000,
    atoms: Annotated[int, typer.Option(help="Atoms of each cell.")] = 10,
) -> None:
    """Prints the seconds of each descriptor."""
    space = Space(elements=ELEMENTS, number_of_atoms=(atoms, atoms))
    draws = SubstitutionSettings().build(space).propose(number, Archive([]), np.random.default_rng(0))
    crystals = [c.material for c in islice(draws, number) if isinstance(c.material, Crystal)]
    typer.echo(f"{len(crystals)} structures of {atoms} atoms")
    for kind in ("sevennet", "composition", "union"):
        descriptor = DescriptorSettings.model_validate({"kind": kind}).build()
        descriptor.describe(crystals[:1])
        wall, core = time.perf_counter(), time.process_time()
        descriptor.describe(crystals)
        wall, core = time.perf_counter() - wall, time.process_time() - core
        typer.echo(f"{kind:12} {wall:6.1f} s, {core:6.1f} s of processor time")


if __name__ == "__main__":
    typer.run(main)
