"""How well the index of known materials tells known from new.

    python -m experiments.benchmarks.known TABLE.csv.xz --other OTHER.csv.xz

TABLE is what the index was built from. Cells of at most 40 atoms, drawn at random with a fixed seed.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import pymatgen.core as pmg
import typer

from experiments.training_tables import named_errors
from generators.latent.reading import Row, read_rows
from materials.base import Crystal
from materials.identity import IdentityIndex
from materials.known import KnownMaterials, Symmetry

MOST_ATOMS = 40
MOST_POLYMORPHS = 12
"""Formulas with more are passed over: comparing all pairs takes long."""

Change = Callable[[pmg.Structure, np.random.Generator], pmg.Structure]


def displaced(length: float) -> Change:
    """Every atom moved in a random direction, its displacement's root mean square `length` angstrom."""

    def change(structure: pmg.Structure, rng: np.random.Generator) -> pmg.Structure:
        moved = structure.cart_coords + rng.normal(0, length / np.sqrt(3), (len(structure), 3))
        return pmg.Structure(structure.lattice, structure.species, moved, coords_are_cartesian=True)

    return change


def strained(size: float) -> Change:
    """A random symmetric strain whose components have the standard deviation `size`."""

    def change(structure: pmg.Structure, rng: np.random.Generator) -> pmg.Structure:
        strain = rng.normal(0, size, (3, 3))
        matrix = structure.lattice.matrix @ (np.eye(3) + (strain + strain.T) / 2)
        return pmg.Structure(matrix, structure.species, structure.frac_coords)

    return change


CHANGES: dict[str, Change] = {
    "as it stands in the table": lambda structure, rng: structure,
    "volume larger by 3 %": lambda structure, rng: structure.copy().scale_lattice(structure.volume * 1.03),
    "atoms displaced by 0.02 angstrom": displaced(0.02),
    "atoms displaced by 0.05 angstrom": displaced(0.05),
    "atoms displaced by 0.1 angstrom": displaced(0.1),
    "strained by 1 %": strained(0.01),
    "strained by 3 %": strained(0.03),
}


def main(
    table: Annotated[Path, typer.Argument(help="What the index was built from.", exists=True)],
    other: Annotated[
        Path | None, typer.Option(help="The same ids, relaxed in another way.", exists=True)
    ] = None,
    samples: Annotated[int, typer.Option(help="Structures of each kind.", min=1)] = 150,
    seed: Annotated[int, typer.Option(help="Of what is drawn.")] = 0,
) -> None:
    """Prints how often known structures are found, and how often new ones are called known."""
    with named_errors():
        rows = list(read_rows(table))
        second = list(read_rows(other)) if other else []
    known = KnownMaterials.load()
    for name, count in sorted(polymorphs(rows, samples, np.random.default_rng([seed, 1])).items()):
        typer.echo(f"{name}: {count}")
    if second:
        ids = {row.material_id for row in rows}
        drawn = chosen(
            [row for row in second if row.material_id in ids], samples, np.random.default_rng([seed, 2])
        )
        found = sum(known.find(row.structure()) is not None for row in drawn)
        typer.echo(f"the same ids in the other table: {found} of {len(drawn)} found")
    rng = np.random.default_rng(seed)
    drawn = chosen([row for row in rows if row.number_of_atoms <= MOST_ATOMS], samples, rng)
    for name, change in CHANGES.items():
        found = sum(known.find(change(row.structure(), rng)) is not None for row in drawn)
        typer.echo(f"{name}: {found} of {len(drawn)} found")


def chosen(rows: Sequence[Row], most: int, rng: np.random.Generator) -> list[Row]:
    """At most so many rows, drawn without repetition."""
    return [rows[int(k)] for k in rng.permutation(len(rows))[:most]]


def polymorphs(rows: Sequence[Row], samples: int, rng: np.random.Generator) -> Mapping[str, int]:
    """Takes rows of formulas with several out of the index, and asks for them.

    Counts by what StructureMatcher says of the row against all others of its formula, and what an index of these says.
    """
    alike: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        alike[row.columns["formula"]].append(row)
    several = [
        row
        for group in alike.values()
        if 2 <= len(group) <= MOST_POLYMORPHS and max(row.number_of_atoms for row in group) <= MOST_ATOMS
        for row in group
    ]
    counts: Counter[str] = Counter()
    for row in chosen(several, samples, rng):
        others = [one for one in alike[row.columns["formula"]] if one is not row]
        exact = IdentityIndex()
        for one in others:
            exact.add(one.material_id, Crystal(one.structure()))
        index = KnownMaterials.of(
            (one.material_id, one.formula, Symmetry.of(one.structure(), 0.1)) for one in others
        )
        same = exact.find(Crystal(row.structure())) is not None
        found = index.find(row.structure()) is not None
        counts[f"{'a double' if same else 'no double'} among its formula, {'known' if found else 'new'}"] += 1
    return counts


if __name__ == "__main__":
    typer.run(main)
