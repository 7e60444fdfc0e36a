"""Whether DFT believes a geometry that a potential calls relaxed: its forces, and its energy at other volumes.

By symmetry forces vanish on the atoms of rock salt at any lattice constant, so the volume is judged too. Energies at
one cutoff are compared, not stresses: a stress at a small cutoff is wrong by the plane waves that a larger cell would
add (-6 GPa for MgO at 500 eV), while they are part of the energies of both cells.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ase import Atoms

    from oracles.dft.codes import Code

VOLUMES = (0.92, 1.08)  # of the volume given; potentials and PBE differ by 1 % in crystals that are known
LARGEST_FALL = 0.02  # eV/atom; at small cutoffs energies are rough by up to 0.01, as plane waves come and go


def energies_beside(code: Code, atoms: Atoms, folder: Path, robust: bool) -> tuple[float, ...]:
    """Energies (eV) of the same atoms, their cell scaled to each of VOLUMES, on the k-points of the cell given.

    Works in folders below `folder`. Raises what the calculator raises.
    """
    energies = []
    for share in VOLUMES:
        place = folder / f"volume_{share:g}"
        place.mkdir(exist_ok=True)
        scaled = atoms.copy()
        scaled.set_cell(atoms.cell * share ** (1 / 3), scale_atoms=True)
        scaled.calc = code.calculator(atoms, place, robust)
        energies.append(float(scaled.get_potential_energy()))
        if not np.isfinite(energies[-1]):
            raise ValueError(f"an energy of {energies[-1]} eV at {share:g} of the volume")
    return tuple(energies)


def doubt_left(max_force: float, limit: float, falls: tuple[float, ...]) -> str:
    """Why the geometry is not the minimum it was taken for; empty where it is one.

    max_force and limit: eV/angstrom. falls: by how much the energy (eV/atom) falls to each of VOLUMES.
    """
    reasons = []
    if max_force > limit:
        reasons.append(f"a force of {max_force:.2f} eV/angstrom, more than {limit:g}")
    for share, fall in zip(VOLUMES, falls, strict=True):
        if fall > LARGEST_FALL:
            found = f"an energy {fall * 1000:.0f} meV/atom lower at {share:g} of the volume"
            reasons.append(f"{found}, more than {LARGEST_FALL * 1000:g}")
    if not reasons:
        return ""
    return f"DFT finds {' and '.join(reasons)}: this geometry is not the minimum that it was taken for"
