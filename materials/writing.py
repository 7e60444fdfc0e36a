"""Crystals as files that `materials.reading` reads."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

from materials.base import Crystal
from materials.files import whole


def write_cif(path: Path, crystal: Crystal) -> None:
    """Writes the crystal as `cif_text` gives it."""
    path.write_text(cif_text(crystal), encoding="utf-8")


def cif_text(crystal: Crystal) -> str:
    """The crystal as CIF in P1, occupancies kept, coordinates to 8 digits."""
    from pymatgen.io.cif import CifWriter

    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message="Site labels are not unique"
        )  # species of one site share it
        return str(CifWriter(crystal.structure))


def write_extxyz(path: Path, crystals: Sequence[tuple[Crystal, Mapping[str, str | float]]]) -> None:
    """Writes ordered crystals as extended XYZ, a frame each with what is told of it beside."""
    from ase.io import write

    from materials.potential import to_atoms

    frames = []
    for crystal, told in crystals:
        atoms = to_atoms(crystal.structure)
        atoms.info.update(told)
        frames.append(atoms)
    with whole(path) as partial:
        write(partial, frames, format="extxyz")
