"""What one worker process does for the reference hull: single points and relaxations of known phases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pymatgen.core import Structure

from experiments.reference_selection import Phase, VolumeScaling

Record = dict[str, Any]


@dataclass(frozen=True)
class SinglePointTask:
    """Energies at the database geometry. Picklable; called with a few phases at a time.

    A cell not known to be PBE-relaxed is evaluated as given and with its volume rescaled from r2SCAN to PBE. The
    lower energy is kept: by the variational principle it is the nearer to the potential's own minimum.
    """

    potential: str
    device: str
    scaling: VolumeScaling

    def __call__(self, phases: Sequence[Phase]) -> list[Record]:
        from materials.potential import load_potential

        potential = load_potential(self.potential, device=self.device)
        variants = [(phase, *variant) for phase in phases for variant in self._variants(phase)]
        atoms_per_batch = 128 if self.device == "cpu" else 4096
        energies = potential.evaluate([structure for *_, structure in variants], max_atoms_per_batch=atoms_per_batch)
        best: dict[str, Record] = {}
        for (phase, geometry, scale, structure), energy in zip(variants, energies.energies_per_atom, strict=True):
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

    def _variants(self, phase: Phase) -> list[tuple[str, float, Structure]]:
        structure = primitive(phase)
        if phase.pbe_cell:
            return [("pbe", 1.0, structure)]
        ratio = self.scaling.ratio(phase.formula)
        rescaled = structure.copy()
        rescaled.scale_lattice(structure.volume * ratio)
        return [("as_given", 1.0, structure), ("rescaled", ratio, rescaled)]


def primitive(phase: Phase) -> Structure:
    """The phase in its primitive cell: the same energy per atom for less work."""
    structure = phase.structure()
    if len(structure) <= phase.atoms:
        return structure
    return structure.get_primitive_structure()
