"""Cells off the beaten track with DFT forces, for `experiments.benchmarks.committee`.

    python -m experiments.committee_cells mp2018_ef_gap_36738.csv.xz --out committee

Known phases as they are, strained, and rattled; and, for formulas drawn from the reference hull, one candidate of each
of two generators, unrelaxed. At most four atoms; elements without +U and without magnetism. Every cell gets one GPAW
calculation; what is done is kept, and the run goes on there when it is started again.

Protocol: GPAW, plane waves to 400 eV, PBE, no spin, Fermi-Dirac smearing of 0.1 eV, k-points of density 2 per inverse
angstrom and containing gamma, forces converged to 0.01 eV/angstrom.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pymatgen.core as pmg
import typer

from experiments.training_tables import read_labelled
from generators.base import Generator
from generators.random_crystal import RandomSettings
from generators.substitution import SubstitutionSettings
from loop.part_files import Record, done_ids
from materials.archive import Archive
from materials.base import Crystal
from materials.goals import Objective
from materials.hull import ReferenceHull
from materials.potential import to_atoms
from materials.space import Space

PART_FILE = "committee_cells.jsonl"
SEED = 4
MOST_ATOMS = 4
KNOWN = ("LiF", "MgO", "AlP", "Mg2Si", "TiC", "Li3N", "LiAl", "CaS")
GENERATED = 16  # formulas
DRAWS = 20  # proposals looked at for one that is wanted
# Neither magnetic nor with +U in the Materials Project, and with few enough electrons for one core.
USUAL = "H Li Be B C N O F Na Mg Al Si P S Cl K Ca Sc Ti Cu Zn Ga Ge As Se Br Rb Sr Y Zr Ag Cd In Sn Sb Te I"
CUTOFF = 400.0  # eV
KPOINT_DENSITY = 2.0  # points per inverse angstrom
SMEARING = 0.1  # eV


@dataclass(frozen=True)
class Cell:
    """One structure; energies are compared within a formula."""

    kind: str
    formula: str
    structure: pmg.Structure

    @property
    def id(self) -> str:
        return f"{self.formula} {self.kind}"


def cells(table: Path) -> list[Cell]:
    """All of them, known and generated ones in turn, so that a run that was cut short has some of each."""
    pairs = zip_longest(_known(table), _generated())
    return [cell for pair in pairs for cell in pair if cell is not None]


def _known(table: Path) -> Iterator[Cell]:
    """Each known phase as it is, strained and slightly rattled, and strongly rattled."""
    lowest: dict[str, tuple[float, pmg.Structure]] = {}
    for row in read_labelled(table, 2 * MOST_ATOMS):
        energy = float(row.labels["formation_energy_per_atom"])
        if row.formula in KNOWN and energy < lowest.get(row.formula, (np.inf, None))[0]:
            lowest[row.formula] = energy, row.crystal.structure
    rng = np.random.default_rng(SEED)
    for formula in KNOWN:
        known = lowest[formula][1].get_primitive_structure()
        assert len(known) <= MOST_ATOMS, f"{formula} has {len(known)} atoms"
        yield Cell("known", formula, known)
        yield Cell("strained", formula, _moved(known, rng, strain=0.05, distance=0.1))
        yield Cell("rattled", formula, _moved(known, rng, strain=0.0, distance=0.3))


def _moved(
    structure: pmg.Structure, rng: np.random.Generator, strain: float, distance: float
) -> pmg.Structure:
    """Strained by a symmetric tensor of normally distributed entries, atoms moved by about `distance` angstrom."""
    tensor = rng.normal(scale=strain, size=(3, 3))
    lattice = structure.lattice.matrix @ (np.eye(3) + (tensor + tensor.T) / 2)
    moved = pmg.Structure(lattice, structure.species, structure.frac_coords)
    moves = rng.normal(scale=distance / np.sqrt(3), size=(len(moved), 3))
    return pmg.Structure(lattice, moved.species, moved.cart_coords + moves, coords_are_cartesian=True)


def _generated() -> Iterator[Cell]:
    formulas = sorted(f for f in ReferenceHull.shipped().formulas if _is_usual(pmg.Composition(f)))
    rng = np.random.default_rng(SEED)
    found = 0
    for k in rng.permutation(len(formulas)):
        space = Space.model_validate({"formula": formulas[k], "number_of_atoms": (2, MOST_ATOMS)})
        generators: dict[str, Generator] = {
            "substitution": SubstitutionSettings().build(space),
            "random": RandomSettings().build(space),
        }
        made = [_first(g, space, name, formulas[k]) for name, g in generators.items()]
        whole = [cell for cell in made if cell is not None]
        if len(whole) == len(generators):
            yield from whole
            found += 1
        if found == GENERATED:
            return


def _is_usual(composition: pmg.Composition) -> bool:
    symbols = {element.symbol for element in composition.elements}
    return symbols <= set(USUAL.split()) and 2 <= len(symbols) <= 3 and composition.num_atoms <= MOST_ATOMS


def _first(generator: Generator, space: Space, kind: str, formula: str) -> Cell | None:
    archive = Archive([], [Objective("formation_energy", "minimize")])
    for candidate in generator.propose(DRAWS, archive, np.random.default_rng(SEED)):
        if isinstance(candidate.material, Crystal) and space.why_not(candidate.material) is None:
            return Cell(kind, formula, candidate.material.structure)
    return None


def calculated(cell: Cell, log: Path) -> Record:
    """The cell with its PBE energy (eV/atom) and forces (eV/angstrom); `failure` where GPAW does not converge."""
    from gpaw import GPAW, PW, FermiDirac, KohnShamConvergenceError

    atoms = to_atoms(cell.structure)
    atoms.calc = GPAW(
        mode=PW(CUTOFF),
        xc="PBE",
        spinpol=False,
        occupations=FermiDirac(SMEARING),
        kpts={"density": KPOINT_DENSITY, "gamma": True},
        convergence={"forces": 0.01},
        txt=str(log),
    )
    record: dict[str, Any] = {
        "id": cell.id,
        "kind": cell.kind,
        "formula": cell.formula,
        "material": Crystal(cell.structure).to_dict(),
    }
    began = time.perf_counter()
    try:
        record |= {"energy": atoms.get_potential_energy() / len(atoms), "forces": atoms.get_forces().tolist()}
    except KohnShamConvergenceError as error:
        record["failure"] = str(error)
    return record | {"seconds": round(time.perf_counter() - began, 1)}


def main(
    table: Annotated[Path, typer.Argument(help="mp2018_ef_gap_36738.csv.xz, for the known phases.")],
    out: Annotated[Path, typer.Option(help="Folder of the part file and GPAW's logs.")] = Path("committee"),
) -> None:
    """Calculates what is not calculated yet."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / PART_FILE
    done = done_ids(path)
    left = [cell for cell in cells(table) if cell.id not in done]
    for number, cell in enumerate(left, start=1):
        record = calculated(cell, out / f"{cell.id.replace(' ', '_')}.txt")
        with path.open("a") as handle:
            handle.write(json.dumps(record) + "\n")
        typer.echo(f"{number} of {len(left)}: {cell.id}, {record['seconds']} s {record.get('failure', '')}")


if __name__ == "__main__":
    typer.run(main)
