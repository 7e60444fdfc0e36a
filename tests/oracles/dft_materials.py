"""Crystals, programs and settings for tests of the DFT oracle."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators import emt
from ase.calculators.calculator import SCFError
from pymatgen.core import Structure

from materials.base import Candidate, Crystal, Origin
from materials.evaluation import FailureKind, Outcome, Request, Status
from oracles.dft.oracle import DftSettings

COARSE: dict[str, Any] = {"mode": {"name": "pw", "ecut": 200}, "kpts": {"size": [2, 2, 2], "gamma": True}}
PSEUDOPOTENTIALS = Path("/usr/share/espresso/pseudo")
SILICON: dict[str, Any] = {
    "pseudopotentials": {"Si": "Si.pbe-rrkj.UPF"},
    "input_data": {"system": {"ecutwfc": 16, "ecutrho": 64}},
}
needs_espresso = pytest.mark.skipif(
    shutil.which("pw.x") is None or not (PSEUDOPOTENTIALS / "Si.pbe-rrkj.UPF").is_file(),
    reason="pw.x or its pseudopotentials are not installed (apt install quantum-espresso)",
)
EMT: dict[str, Any] = {"calculator": "ase.calculators.emt:EMT", "band_gap": False, "fidelity": "potential"}


def structure_of(atoms: Atoms) -> Structure:
    symbols = atoms.get_chemical_symbols()
    return Structure(atoms.cell.array, symbols, atoms.positions, coords_are_cartesian=True)


def silicon(displacement: float = 0.0) -> Structure:
    atoms = bulk("Si", a=5.469)
    atoms.positions[1] += [displacement, 0, 0]
    return structure_of(atoms)


def request_for(structure: Structure, folder: Path | None, doubt: str = "") -> Request:
    candidate = Candidate(Crystal(structure), Origin("test"))
    return Request("key", candidate, candidate.material, "dft", folder=folder, doubt=doubt)


def ask(structure: Structure, folder: Path | None = None, doubt: str = "", **options: Any) -> Outcome:
    settings = DftSettings.model_validate({"protocol": "fast", **options})
    (outcome,) = settings.build().evaluate([request_for(structure, folder, doubt)])
    return outcome


def values(outcome: Outcome) -> dict[str, float]:
    assert outcome.status is Status.DONE, outcome.failure
    return {m.property: m.value for m in outcome.measurements}


def kind_of(outcome: Outcome) -> tuple[Status, FailureKind]:
    assert outcome.failure is not None
    return outcome.status, outcome.failure.kind


def program(path: Path, text: str) -> str:
    """An executable shell script."""
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def pseudopotential(folder: Path) -> dict[str, Any]:
    (folder / "Si.UPF").write_text('<PP_HEADER functional="PBE" wfc_cutoff="20.0" rho_cutoff="80.0" />')
    return {"pseudopotentials": {"Si": "Si.UPF"}, "pseudo_dir": str(folder)}


def strained_copper() -> Structure:
    atoms = bulk("Cu", cubic=True) * (1, 1, 2)
    atoms.set_cell(atoms.cell * 1.03, scale_atoms=True)
    atoms.rattle(0.1, seed=1)
    return structure_of(atoms)


def effective_medium() -> emt.EMT:
    return emt.EMT()


class TwoBands(emt.EMT):  # type: ignore[misc]
    """ASE's effective-medium potential with a valence and a conduction band `gap` eV apart."""

    def __init__(self, gap: float) -> None:
        super().__init__()
        self._gap = gap

    def get_ibz_k_points(self) -> np.ndarray:
        return np.zeros((1, 3))

    def get_number_of_spins(self) -> int:
        return 1

    def get_eigenvalues(self, kpt: int, spin: int) -> np.ndarray:
        return np.array([0.0, self._gap])

    def get_fermi_level(self) -> float:
        return self._gap / 2


class NeverConverged(emt.EMT):  # type: ignore[misc]
    """The same, but self-consistent only `evaluations` times."""

    def __init__(self, evaluations: int) -> None:
        super().__init__()
        self._left = evaluations

    def calculate(self, *arguments: Any) -> None:
        self._left -= 1
        if self._left < 0:
            raise SCFError("200 cycles")
        super().calculate(*arguments)
