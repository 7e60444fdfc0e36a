"""Relaxation with a DFT program, which goes on where a run that was stopped had come to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pymatgen.core as pmg

from materials.relaxation import Frame, Relaxation, relax
from oracles.dft.codes import Code
from oracles.dft.protocols import initial_moments

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import Calculator

FRAMES = "frames"


@dataclass
class CodeSource:
    """A DFT program as what `relax` needs; grids are chosen for `atoms` and kept while the cell changes."""

    code: Code
    atoms: Atoms
    folder: Path
    robust: bool

    @property
    def name(self) -> str:
        return self.code.name

    def calculator(self) -> Calculator:
        return self.code.calculator(self.atoms, self.folder, self.robust)

    def check_elements(self, structure: pmg.Structure) -> None:
        """The program itself says which elements it has no data for."""


def relax_with(
    code: Code, structure: pmg.Structure, folder: Path, robust: bool, fmax: float, steps: int
) -> tuple[Relaxation, Frame]:
    """Relaxes atoms and cell, and tells the first evaluation too, at the geometry given.

    Every evaluation is kept in `folder`, and none of those found there is repeated.
    """
    from materials.potential import to_atoms

    atoms = to_atoms(structure)
    moments = initial_moments(atoms)
    if moments is not None:
        structure = structure.copy(site_properties={"magmom": moments.tolist()})
        atoms = to_atoms(structure)
    place = folder / FRAMES
    place.mkdir(exist_ok=True)
    begun = _read(place)

    def keep(_: int, moved: Atoms) -> None:
        frame = Frame.of(moved)
        if all(frame.place != known.place for known in begun):
            begun.append(frame)
            _write(frame, place / f"{len(begun):04}.npz")

    source = CodeSource(code, atoms, folder, robust)
    found = relax(structure, source, fmax=fmax, steps=steps, observe=keep, begun=tuple(begun))
    return found, begun[0]


def _write(frame: Frame, path: Path) -> None:
    part = path.with_suffix(".part")
    with part.open("wb") as handle:
        np.savez(handle, place=np.frombuffer(frame.place, dtype=np.uint8), **frame.results)
    part.replace(path)


def _read(place: Path) -> list[Frame]:
    frames = []
    for path in sorted(place.glob("*.npz")):
        with np.load(path, allow_pickle=False) as data:
            results = {name: data[name] for name in data.files if name != "place"}
            frames.append(Frame(data["place"].tobytes(), results))
    return frames
