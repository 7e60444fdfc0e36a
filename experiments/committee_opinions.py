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

from loop.part_files import Record, done_ids, grouped, records
from materials.base import Crystal
from materials.potential import load_potential
from oracles.committee import CommitteeSettings, distance_to_known
from oracles.opinions import Spread

Floats = npt.NDArray[np.float64]
ATOMS_PER_GROUP = 500


@dataclass(frozen=True)
class Asked:
    """A crystal with an id."""

    id: str
    structure: pmg.Structure

    @property
    def atoms(self) -> int:
        """How many it has."""
        return len(self.structure)


@dataclass(frozen=True)
class Judged:
    """What is told of one crystal by the committee's members, in their order.

    energies: [members], total, eV/atom. forces: [members, n, 3], eV/angstrom; None where only energies were asked.
    """

    id: str
    energies: Floats
    distance: float
    forces: Floats | None = None

    @property
    def energy_spread(self) -> float:
        """As the oracle measures it, eV/atom."""
        return float(np.std(self.energies, ddof=1))

    @property
    def force_spreads(self) -> Floats:
        """[n], eV/angstrom."""
        assert self.forces is not None, f"{self.id} was asked for energies only"
        return np.asarray(np.linalg.norm(np.std(self.forces, axis=0, ddof=1), axis=1))

    @property
    def force_spread(self) -> float:
        """As the oracle measures it, eV/angstrom."""
        return float(self.force_spreads.max())

    @property
    def doubted(self) -> bool:
        """By the limits that are the default; without forces, by the other two."""
        limits = CommitteeSettings()
        return (
            self.energy_spread > limits.largest_energy_spread
            or self.distance > limits.farthest
            or (self.forces is not None and self.force_spread > limits.largest_force_spread)
        )


def judge(crystals: Sequence[Asked], path: Path, forces: bool) -> list[Judged]:
    """Asks the default committee about crystals; those already in the part file are read from it.

    Energies alone take a fifth of the time.
    """
    done = done_ids(path)
    left = [crystal for crystal in crystals if crystal.id not in done]
    finished = 0
    with path.open("a") as out:
        for group in grouped(left, ATOMS_PER_GROUP):
            structures = [crystal.structure for crystal in group]
            opinions = _forces(structures) if forces else _energies(structures)
            for crystal, opinion in zip(group, opinions, strict=True):
                distance = distance_to_known(Crystal(crystal.structure))
                out.write(json.dumps({"id": crystal.id, "distance": distance} | opinion) + "\n")
            out.flush()
            finished += len(group)
            typer.echo(f"{path.stem}: {finished} of {len(left)}")
    found = {record["id"]: _judged(record) for record in records(path)}
    return [found[crystal.id] for crystal in crystals]


def _forces(structures: Sequence[pmg.Structure]) -> list[Record]:
    committee = CommitteeSettings().committee()
    found = []
    for structure in structures:
        opinions = committee.opinions(structure)
        forces = [opinion.forces.tolist() for opinion in opinions]
        stress_spread = Spread.of(opinions).stress
        energies = [opinion.energy for opinion in opinions]
        found.append({"energies": energies, "forces": forces, "stress_spread": stress_spread})
    return found


def _energies(structures: Sequence[pmg.Structure]) -> list[Record]:
    potentials = [load_potential(choice.potential) for choice in CommitteeSettings().potentials]
    found = [potential.evaluate(structures).energies_per_atom for potential in potentials]
    return [{"energies": energies.tolist()} for energies in np.transpose(found)]


def _judged(record: Record) -> Judged:
    forces = record.get("forces")
    return Judged(
        record["id"],
        np.array(record["energies"]),
        record["distance"],
        None if forces is None else np.array(forces),
    )
