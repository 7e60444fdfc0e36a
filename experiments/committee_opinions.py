"""What the default committee says of many crystals, kept as JSON lines."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pymatgen.core as pmg
import typer

from loop.part_files import Record, done_ids, records
from materials.base import Crystal
from oracles.committee import CommitteeSettings, distance_to_known
from oracles.opinions import Committee, Spread

Floats = npt.NDArray[np.float64]
REPORT_EVERY = 100


@dataclass(frozen=True)
class Judged:
    """What is told of one crystal: opinions in the order of the committee's members, and their spread.

    energies, energies_of_elements: [members], eV/atom. forces: [members, n, 3], eV/angstrom. The rest as in
    `oracles.opinions`.
    """

    id: str
    energies: Floats
    energies_of_elements: Floats
    forces: Floats
    energy_spread: float
    force_spreads: Floats
    stress_spread: float
    distance: float

    @property
    def force_spread(self) -> float:
        """The largest of an atom, eV/angstrom."""
        return float(self.force_spreads.max())

    @property
    def formation_energies(self) -> Floats:
        """Relative to each potential's own elements, eV/atom."""
        return self.energies - self.energies_of_elements

    @property
    def doubted(self) -> bool:
        """By the limits that are the default."""
        limits = CommitteeSettings()
        return (
            self.energy_spread > limits.largest_energy_spread
            or self.force_spread > limits.largest_force_spread
            or self.distance > limits.farthest
        )


def judge(crystals: Sequence[tuple[str, pmg.Structure]], path: Path) -> list[Judged]:
    """Asks the default committee about crystals, each with an id; those already in the part file are read from it."""
    done = done_ids(path)
    left = [(name, structure) for name, structure in crystals if name not in done]
    committee = CommitteeSettings().committee()
    with path.open("a") as out:
        for number, (name, structure) in enumerate(left, start=1):
            out.write(json.dumps({"id": name} | _asked(structure, committee)) + "\n")
            out.flush()
            if number % REPORT_EVERY == 0 or number == len(left):
                typer.echo(f"{path.stem}: {number} of {len(left)}")
    found = {record["id"]: _judged(record) for record in records(path)}
    return [found[name] for name, _ in crystals]


def _asked(structure: pmg.Structure, committee: Committee) -> Record:
    opinions = committee.opinions(structure)
    elements = [member.energy_of_elements(structure.composition) for member in committee.members]
    found = Spread.of(opinions)
    return {
        "energies": [opinion.energy for opinion in opinions],
        "energies_of_elements": elements,
        "forces": [opinion.forces.tolist() for opinion in opinions],
        "energy_spread": found.energy,
        "force_spreads": found.forces.tolist(),
        "stress_spread": found.stress,
        "distance": distance_to_known(Crystal(structure)),
    }


def _judged(record: Record) -> Judged:
    return Judged(
        record["id"],
        np.array(record["energies"]),
        np.array(record["energies_of_elements"]),
        np.array(record["forces"]),
        record["energy_spread"],
        np.array(record["force_spreads"]),
        record["stress_spread"],
        record["distance"],
    )
