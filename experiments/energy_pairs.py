"""Pairs of unrelaxed and relaxed crystals for the energy model: candidates of the generators, relaxed by the potential.

    python -m experiments.energy_pairs --systems 175 --out energy_pairs --leave-out leave_out.csv

Half of the systems are one formula each, as in structure prediction; half are the elements of one formula, as in a
search for new materials. Formulas are drawn from the reference hull. Every system gets substituted, symmetric random
and then bred candidates. Uses every core, keeps what is done, and goes on there when run again. At the end the pairs
are written as `energy_pairs.csv.xz`.
"""

from __future__ import annotations

import csv
import lzma
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import pymatgen.core as pmg
import typer

from generators.base import Generator
from generators.genetic import GeneticSettings
from generators.random_crystal import RandomSettings
from generators.substitution import SubstitutionSettings
from loop.part_files import Record, compute, done_ids, records
from materials.archive import Archive, Progress
from materials.archive import Record as ArchiveRecord
from materials.base import Candidate, Crystal, Measurement
from materials.goals import Objective
from materials.hull import ReferenceHull
from materials.leave_out import left_out
from materials.potential import load_potential
from materials.reference_table import structure_text
from materials.relaxation import RelaxationError, relax
from materials.space import Space

if TYPE_CHECKING:
    from ase import Atoms

WANTED = {"substitution": 14, "random": 3, "genetic": 6}
"""Candidates of each generator for one system; fewer where its space gives no more."""
MOST_ATOMS = 12
LARGEST_FORMULA = 8  # atoms
DRAWS = 4  # proposals looked at for each one wanted
PART_FILE = "energy_pairs.jsonl"
TABLE = "energy_pairs.csv.xz"
COLUMNS = (
    "system",
    "generator",
    "formula",
    "cell",
    "sites",
    "energies",
    "relaxed",
    "steps",
    "converged",
    "seconds",
)
EARLY = 10  # steps; the energies up to there are written into the table
RARELY_SEARCHED = {"He", "Ne", "Ar", "Kr", "Xe", "Tc", "Pm"} | {
    pmg.Element.from_Z(z).symbol for z in range(58, 72)
}
HEAVIEST = 83
"""Noble gases, the lanthanides after lanthanum, technetium, and what is heavier than bismuth are left out."""
ANIONS = {"N", "P", "As", "O", "S", "Se", "Te", "F", "Cl", "Br", "I"}
"""One of them must be there: most searches are for ionic and covalent compounds, and alloys relax slowly."""


@dataclass(frozen=True)
class System:
    """Where candidates come from: one formula, or the elements of one formula."""

    number: int
    formula: str
    only_the_formula: bool

    @property
    def id(self) -> str:
        return f"{self.number}"

    @property
    def atoms(self) -> int:
        return 1

    def space(self) -> Space:
        """The space its generators propose in."""
        sizes = (2, MOST_ATOMS)
        if self.only_the_formula:
            return Space.model_validate({"formula": self.formula, "number_of_atoms": sizes})
        elements = tuple(e.symbol for e in pmg.Composition(self.formula).elements)
        return Space(
            elements=elements,
            number_of_elements=(len(elements), len(elements)),
            number_of_atoms=sizes,
            charge_balanced=True,
        )


@dataclass(frozen=True)
class PairsTask:
    """Proposes and relaxes the candidates of systems, in a worker process. Picklable."""

    hidden: frozenset[str]
    potential: str
    fmax: float
    steps: int

    def __call__(self, systems: Sequence[System]) -> list[Record]:
        return [{"id": system.id, "candidates": list(self._pairs(system))} for system in systems]

    def _pairs(self, system: System) -> Iterator[Record]:
        space = system.space()
        rng = np.random.default_rng(system.number)
        hull = ReferenceHull.shipped(potential=self.potential)
        known: list[ArchiveRecord] = []
        generators: dict[str, Generator] = {
            "substitution": SubstitutionSettings().build(space),
            "random": RandomSettings().build(space),
            "genetic": GeneticSettings().build(space),
        }
        for name, generator in generators.items():
            archive = Archive(known, [Objective("formation_energy", "minimize")])
            wanted = WANTED[name]
            proposed = generator.propose(DRAWS * wanted, archive, rng)
            valid = (c for c in proposed if self._is_wanted(c, space))
            for candidate in list(islice(valid, wanted)):
                record, relaxed = self._relaxed(candidate)
                yield {"generator": name} | record
                if relaxed is not None:
                    known.append(_archived(candidate, relaxed, record["relaxed"], hull))

    def _is_wanted(self, candidate: Candidate, space: Space) -> bool:
        return candidate.formula not in self.hidden and space.why_not(candidate.material) is None

    def _relaxed(self, candidate: Candidate) -> tuple[Record, Crystal | None]:
        assert isinstance(candidate.material, Crystal)
        energies: list[float] = []

        def keep(step: int, atoms: Atoms) -> None:
            if step == 0:
                energies.clear()
            energies.append(round(float(atoms.get_potential_energy()) / len(atoms), 6))

        record: dict[str, Any] = {"formula": candidate.formula, "material": candidate.material.to_dict()}
        began = time.perf_counter()
        try:
            found = relax(
                candidate.material.structure,
                load_potential(self.potential),
                fmax=self.fmax,
                steps=self.steps,
                observe=keep,
            )
        except RelaxationError as error:
            return record | {"failure": str(error), "seconds": time.perf_counter() - began}, None
        relaxed = Crystal(found.structure)
        record |= {
            "relaxed": found.energy_per_atom,
            "energies": energies,
            "converged": found.converged,
            "steps": found.steps,
            "seconds": time.perf_counter() - began,
            "final": relaxed.to_dict(),
        }
        return record, relaxed


def _archived(candidate: Candidate, relaxed: Crystal, energy: float, hull: ReferenceHull) -> ArchiveRecord:
    corrected = energy + hull.correction_per_atom(relaxed.structure)
    value = hull.formation_energy(relaxed.structure.composition, corrected)
    measured = Measurement("formation_energy", value, "eV/atom", "potential", "relax")
    return ArchiveRecord(candidate, relaxed, Progress.EVALUATED, (measured,))


def write_table(path: Path, found: Iterable[Record]) -> None:
    """The pairs as an xz-compressed CSV; energies, one for the start and each of the first steps, in eV/atom.

    Candidates that fell apart have no energies.
    """
    with lzma.open(path, "wt", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, COLUMNS, restval="")
        writer.writeheader()
        for system in found:
            writer.writerows(_row(system["id"], pair) for pair in system["candidates"])


def _row(system: str, pair: Record) -> dict[str, object]:
    cell, sites = structure_text(Crystal.from_dict(pair["material"]).structure)
    row = {"system": system, "cell": cell, "sites": sites, "seconds": round(pair["seconds"], 2)}
    row |= {name: pair[name] for name in ("generator", "formula")}
    if "relaxed" in pair:
        row["energies"] = " ".join(f"{energy:.6f}" for energy in pair["energies"][: EARLY + 1])
        row |= {
            "relaxed": round(pair["relaxed"], 6),
            "steps": pair["steps"],
            "converged": int(pair["converged"]),
        }
    return row


def systems(number: int, seed: int, potential: str) -> list[System]:
    """The first `number` of the endless list that a seed gives."""
    hull = ReferenceHull.shipped(potential=potential)
    formulas = sorted(formula for formula in hull.formulas if _is_searched(pmg.Composition(formula)))
    drawn = np.random.default_rng(seed).permutation(len(formulas))[:number]
    return [System(i, formulas[k], only_the_formula=i % 2 == 0) for i, k in enumerate(drawn)]


def _is_searched(composition: pmg.Composition) -> bool:
    usual = all(e.Z <= HEAVIEST and e.symbol not in RARELY_SEARCHED for e in composition)
    compound = any(e.symbol in ANIONS for e in composition)
    return usual and compound and 2 <= len(composition) <= 4 and composition.num_atoms <= LARGEST_FORMULA


def main(
    number: Annotated[int, typer.Option("--systems", help="Formulas and chemical systems, together.")],
    leave_out: Annotated[Path, typer.Option(help="CSV with a column reduced_formula: not to be relaxed.")],
    out: Annotated[Path, typer.Option(help="Folder of the part file.")] = Path("energy_pairs"),
    workers: Annotated[int, typer.Option(help="Processes; 0 means one per core.")] = 0,
    seed: Annotated[int, typer.Option(help="Of the formulas drawn.")] = 0,
    potential: Annotated[str, typer.Option(help="A shipped SevenNet potential.")] = "7net-0",
    fmax: Annotated[float, typer.Option(help="Largest force left, eV/angstrom.")] = 0.05,
    steps: Annotated[int, typer.Option(help="Most steps of a relaxation.")] = 80,
) -> None:
    """Makes the pairs."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / PART_FILE
    done = done_ids(path)
    left = [system for system in systems(number, seed, potential) if system.id not in done]
    task = PairsTask(left_out(leave_out), potential, fmax, steps)
    compute(task, [[system] for system in left], path, workers or os.cpu_count() or 1, len(left))
    write_table(out / TABLE, sorted(records(path), key=lambda record: int(record["id"])))
    typer.echo(f"wrote {out / TABLE}")


if __name__ == "__main__":
    typer.run(main)
