"""Seconds to look 2,000 candidates up in an index of 2,000 known crystals, on one core.

    python -m experiments.benchmarks.identity
    python -m experiments.benchmarks.identity --structures mp_20.csv

Three archives: many formulas, few formulas with many polymorphs each, and random crystals of a single formula. Half
of the candidates are copies of known crystals in another cell, rattled and expanded; the other half is new. The
crystals come from a table or folder of the user's (see `materials.reading`), else from the AFLOW prototypes that
ship with pymatgen, decorated anew. With `--check`, a sample is compared with StructureMatcher alone.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import pymatgen.core as pmg
import typer

from generators.templates import aflow_templates
from materials.base import Crystal
from materials.identity import IdentityIndex, structure_matcher
from materials.reading import stream_materials

Structures = list[pmg.Structure]
CHEMISTRY = ("Li", "Na", "K", "Mg", "Ca", "Al", "Si", "P", "Ti", "Fe", "Zn", "O", "S", "F", "Cl", "N")
POLYMORPHS = 40


def decorated_prototypes(rng: np.random.Generator, most_atoms: int = 20) -> Callable[[int], pmg.Structure]:
    """A function that gives an AFLOW prototype with elements drawn by a seed from `CHEMISTRY`."""
    small = [t.structure for t in aflow_templates(most_atoms) if len(t.structure.composition) > 1]

    def draw(chemistry: int) -> pmg.Structure:
        structure = small[int(rng.integers(len(small)))].copy()
        symbols = np.random.default_rng(chemistry).permutation(CHEMISTRY)
        structure.replace_species(dict(zip(structure.composition.elements, symbols, strict=False)))
        structure.perturb(float(rng.uniform(0, 0.3)))
        return structure

    return draw


def random_crystal(rng: np.random.Generator) -> pmg.Structure:
    """Atoms at random in a random cell: one to four formula units of MgSiO3, 10 cubic angstrom per atom."""
    units = int(rng.integers(1, 5))
    lattice = pmg.Lattice.from_parameters(*rng.uniform(3, 6, 3), *rng.uniform(65, 115, 3))
    structure = pmg.Structure(
        lattice, ["Mg"] * units + ["Si"] * units + ["O"] * 3 * units, rng.random((5 * units, 3))
    )
    structure.scale_lattice(10.0 * len(structure))
    return structure


def disguised(structure: pmg.Structure, rng: np.random.Generator) -> pmg.Structure:
    """The same crystal in a supercell half of the time, rattled by up to 0.05 angstrom, up to 3 % larger."""
    copy = structure * [int(n) for n in rng.permutation([1, 1, int(rng.integers(1, 3))])]
    copy.perturb(float(rng.uniform(0, 0.05)))
    copy.scale_lattice(copy.volume * float(rng.uniform(1, 1.1)))
    return copy


def polymorphs(structures: Structures, n: int) -> Structures:
    """The n structures of the formulas with the most of them, at most `POLYMORPHS` of each."""
    counts = Counter(s.composition.reduced_formula for s in structures)
    ordered = sorted(structures, key=lambda s: (-counts[s.composition.reduced_formula], s.formula))
    taken: Counter[str] = Counter()
    chosen = []
    for structure in ordered:
        formula = structure.composition.reduced_formula
        taken[formula] += 1
        if taken[formula] <= POLYMORPHS:
            chosen.append(structure)
    return chosen[:n]


def measure(name: str, structures: Structures, n: int, rng: np.random.Generator, check: int) -> None:
    """Prints the seconds for n candidates against n known crystals; `structures` holds 3 n / 2 of them."""
    mixed = [structures[i] for i in rng.permutation(len(structures))]
    known, new = mixed[: 2 * len(mixed) // 3][:n], mixed[2 * len(mixed) // 3 :][: n // 2]
    candidates = new + [disguised(known[int(i)], rng) for i in rng.integers(0, len(known), n - len(new))]
    start = time.perf_counter(), time.process_time()
    index = IdentityIndex()
    for i, structure in enumerate(known):
        index.add(str(i), Crystal(structure))
    answers = [index.find(Crystal(structure)) for structure in candidates]
    wall, core = time.perf_counter() - start[0], time.process_time() - start[1]
    formulas = len({s.composition.reduced_formula for s in known})
    print(
        f"{name}: {len(candidates)} candidates, {len(known)} known of {formulas} formulas, "
        f"{sum(a is not None for a in answers)} found: {core:.1f} s on the core, {wall:.1f} s by the clock"
    )
    lost = sum(
        next((str(i) for i, s in enumerate(known) if structure_matcher().fit(s, candidates[k])), None)
        != answers[k]
        for k in rng.permutation(len(candidates))[:check]
    )
    if check:
        print(f"{name}: {lost} of {check} answers differ from StructureMatcher alone")


def main(
    structures: Annotated[Path | None, typer.Option(help="crystals to draw from")] = None,
    n: Annotated[int, typer.Option(help="candidates, and known crystals")] = 2000,
    seed: int = 0,
    check: Annotated[int, typer.Option(help="answers to compare with StructureMatcher alone")] = 0,
) -> None:
    """Prints one line per archive."""
    rng = np.random.default_rng(seed)
    wanted = 3 * n // 2
    if structures is None:
        draw = decorated_prototypes(rng)
        many = [draw(int(rng.integers(10**9))) for _ in range(wanted)]
        few = polymorphs([draw(int(rng.integers(n // 100))) for _ in range(2 * wanted)], wanted)
    else:
        read = [
            e.material.structure for e in stream_materials(structures, []) if isinstance(e.material, Crystal)
        ]
        many = [read[i] for i in rng.permutation(len(read))[:wanted]]
        few = polymorphs(read, wanted)
    measure("many formulas", many, n, rng, check)
    measure("polymorphs", few, n, rng, check)
    measure("one formula", [random_crystal(rng) for _ in range(wanted)], n, rng, check)


if __name__ == "__main__":
    typer.run(main)
