"""What the default committee says of many crystals, kept as JSON lines."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pymatgen.core as pmg
import typer

from loop.part_files import Record, done_ids, records
from materials.base import Crystal
from oracles.committee import CommitteeSettings, distance_to_known
from oracles.disagreement import Disagreement, Member

Floats = npt.NDArray[np.float64]
REPORT_EVERY = 100


@dataclass(frozen=True)
class Judged:
    """What is told of one crystal: opinions in the order of the committee's members, and their disagreement."""

    id: str
    formation_energies: tuple[float, ...]
    energies_per_atom: tuple[float, ...]
    forces: Floats
    energy_spread: float
    force_spreads: Floats
    stress_spread: float
    distance: float

    @property
    def force_spread(self) -> float:
        return float(self.force_spreads.max())

    @property
    def raw_energy_spread(self) -> float:
        """Of the total energies, not relative to the elements."""
        return float(np.std(self.energies_per_atom, ddof=1))

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
    members = [Member(choice.load()) for choice in CommitteeSettings().potentials] if left else []
    with path.open("a") as out:
        for number, (name, structure) in enumerate(left, start=1):
            out.write(json.dumps({"id": name} | _asked(structure, members)) + "\n")
            out.flush()
            if number % REPORT_EVERY == 0 or number == len(left):
                typer.echo(f"{path.stem}: {number} of {len(left)}")
    found = {record["id"]: _judged(record) for record in records(path)}
    return [found[name] for name, _ in crystals]


def _asked(structure: pmg.Structure, members: Iterable[Member]) -> Record:
    opinions = [member.opinion(structure) for member in members]
    found = Disagreement.of(opinions)
    return {
        "formation_energies": [opinion.formation_energy for opinion in opinions],
        "energies_per_atom": [opinion.energy_per_atom for opinion in opinions],
        "forces": [opinion.forces.tolist() for opinion in opinions],
        "energy_spread": found.energy,
        "force_spreads": found.forces.tolist(),
        "stress_spread": found.stress,
        "distance": distance_to_known(Crystal(structure)),
    }


def _judged(record: Record) -> Judged:
    return Judged(
        record["id"],
        tuple(record["formation_energies"]),
        tuple(record["energies_per_atom"]),
        np.array(record["forces"]),
        record["energy_spread"],
        np.array(record["force_spreads"]),
        record["stress_spread"],
        record["distance"],
    )
