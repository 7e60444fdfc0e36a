"""What one worker process does for the reference hull: single points and relaxations of known phases."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pymatgen.core import Structure

from experiments.reference_selection import (
    BATTERY_ELEMENTS,
    POLYMORPHS_PER_FORMULA,
    REDOX_METALS,
    Phase,
    VolumeScaling,
    rows,
)
from materials.reference_table import structure_text

Record = dict[str, Any]
LARGEST_RELAXED = 40  # atoms in the primitive cell
ELEMENTAL_WINDOW = 0.02  # eV/atom
SHARED_RELAXED = "sevennet0_relaxed_mp"


@dataclass(frozen=True)
class SinglePointTask:
    """Energies at the database geometry. Picklable; called with a few phases at a time.

    A cell not known to be PBE-relaxed is evaluated as given and with its volume rescaled from r2SCAN to PBE.
    The lower energy is kept: by the variational principle it is the nearer to the potential's own minimum.
    """

    potential: str
    device: str
    scaling: VolumeScaling

    def __call__(self, phases: Sequence[Phase]) -> list[Record]:
        from materials.potential import load_potential

        potential = load_potential(self.potential, device=self.device)
        tried = [(phase, *variant) for phase in phases for variant in variants(phase, self.scaling)]
        atoms_per_batch = 128 if self.device == "cpu" else 4096
        energies = potential.evaluate(
            [structure for *_, structure in tried], max_atoms_per_batch=atoms_per_batch
        )
        best: dict[str, Record] = {}
        for (phase, geometry, scale, structure), energy in zip(
            tried, energies.energies_per_atom, strict=True
        ):
            if phase.id not in best or energy < best[phase.id]["energy_per_atom"]:
                best[phase.id] = {
                    "id": phase.id,
                    "formula": phase.formula,
                    "nsites": len(structure),
                    "spacegroup": phase.spacegroup,
                    "energy_per_atom": round(float(energy), 6),
                    "geometry": geometry,
                    "volume_scale": round(scale, 5),
                    "potential": potential.version,
                }
        return list(best.values())


def variants(phase: Phase, scaling: VolumeScaling) -> list[tuple[str, float, Structure]]:
    """(geometry, volume scale, primitive structure): as given, and rescaled where perhaps r2SCAN-relaxed."""
    structure = primitive(phase)
    if phase.pbe_cell:
        return [("pbe", 1.0, structure)]
    ratio = scaling.ratio(phase.formula)
    rescaled = structure.copy()
    rescaled.scale_lattice(structure.volume * ratio)
    return [("as_given", 1.0, structure), ("rescaled", ratio, rescaled)]


def primitive(phase: Phase) -> Structure:
    """The phase in its primitive cell: the same energy per atom for less work."""
    structure = phase.structure()
    if len(structure) <= phase.atoms:
        return structure
    return structure.get_primitive_structure()


def to_relax(data: Path, near_hull: Sequence[Phase], points: Mapping[str, float]) -> list[Phase]:
    """What the shared relaxed table lacks, in order of use to a battery campaign.

    First elements, as every formation energy needs them: those whose single point (points: id to eV/atom)
    lies within ELEMENTAL_WINDOW of their lowest. Then near-hull phases of the battery elements and Co, Ni,
    Mn, Fe up to 40 atoms, at most two per formula: battery elements alone before the rest, small before
    large. Last the table's compounds that did not converge, from where they stopped: they are slow, and what
    they gain is a few meV/atom.
    """
    shared = list(rows(data, SHARED_RELAXED))
    relaxed = {row["material_id"] for row in shared if row["converged"] == "True"}
    unconverged = {phase.id: phase for phase in map(_as_phase, shared) if phase.id not in relaxed}
    elements = [phase for phase in _low_elements(near_hull, points) if phase.id not in relaxed]
    per_formula = Counter(row["formula"] for row in shared)
    wanted = [
        phase
        for phase in near_hull
        if phase.id not in relaxed
        and phase.id not in unconverged
        and len(phase.elements) > 1
        and phase.near_hull
        and phase.atoms <= LARGEST_RELAXED
        and phase.elements <= BATTERY_ELEMENTS | REDOX_METALS
    ]
    wanted.sort(
        key=lambda phase: (not phase.elements <= BATTERY_ELEMENTS, phase.atoms, phase.label or 0.0, phase.id)
    )
    additions = []
    for phase in wanted:
        per_formula[phase.formula] += 1
        if per_formula[phase.formula] <= POLYMORPHS_PER_FORMULA:
            additions.append(phase)
    started = {phase.id for phase in elements}
    return elements + additions + [phase for phase in unconverged.values() if phase.id not in started]


def _low_elements(near_hull: Sequence[Phase], points: Mapping[str, float]) -> list[Phase]:
    """Elemental phases near the lowest single point of their element, small before large."""
    elemental = [phase for phase in near_hull if len(phase.elements) == 1 and phase.id in points]
    lowest: dict[str, float] = {}
    for phase in elemental:
        lowest[phase.formula] = min(lowest.get(phase.formula, np.inf), points[phase.id])
    low = [phase for phase in elemental if points[phase.id] <= lowest[phase.formula] + ELEMENTAL_WINDOW]
    return sorted(low, key=lambda phase: (phase.atoms, phase.id))


def _as_phase(row: Mapping[str, str]) -> Phase:
    """A row of the shared relaxed table as a phase to start from."""
    spacegroup, atoms = int(row["spacegroup"]), int(row["nsites"])
    return Phase(row["material_id"], row["formula"], 0.0, True, spacegroup, row["cell"], row["sites"], atoms)


@dataclass(frozen=True)
class RelaxTask:
    """Relaxations of known phases. Picklable; a failed relaxation is a record with the key `failure`."""

    potential: str
    fmax: float
    steps: int
    scaling: VolumeScaling

    def __call__(self, phases: Sequence[Phase]) -> list[Record]:
        return [self._relax(phase) for phase in phases]

    def _relax(self, phase: Phase) -> Record:
        from materials.potential import load_potential
        from materials.relaxation import RelaxationError, relax

        potential = load_potential(self.potential, device="cpu")
        starts = variants(phase, self.scaling)
        energies = potential.evaluate([structure for *_, structure in starts]).energies_per_atom
        geometry, _, start = starts[int(energies.argmin())]
        record: Record = {
            "id": phase.id,
            "formula": phase.formula,
            "spacegroup": phase.spacegroup,
            "geometry": geometry,
        }
        try:
            relaxed = relax(start, potential, fmax=self.fmax, steps=self.steps)
        except RelaxationError as error:
            return record | {"failure": f"{type(error).__name__}: {error}"}
        cell, sites = structure_text(relaxed.structure)
        return record | {
            "nsites": len(relaxed.structure),
            "energy_per_atom": round(relaxed.energy_per_atom, 6),
            "e_start": round(relaxed.start_energy_per_atom, 6),
            "steps": relaxed.steps,
            "converged": relaxed.converged,
            "max_force": round(relaxed.max_force, 4),
            "optimizer": relaxed.optimizer,
            "volume_change": round(relaxed.volume_change, 5),
            "fmax": self.fmax,
            "potential": potential.version,
            "cell": cell,
            "sites": sites,
        }
