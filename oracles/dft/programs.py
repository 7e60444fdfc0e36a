"""VASP, CP2K and calculators by import path: asked through ASE, by configuration."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from materials.calculators import imported_calculator
from materials.evaluation import FailureKind
from oracles.dft.band_edges import METAL, BandEdges, Bands, band_edges, filled_bands
from oracles.dft.codes import Code, keep_input, merged
from oracles.dft.faults import need_program
from oracles.dft.identity import command_of
from oracles.dft.protocols import grid_size
from oracles.one_by_one import FailedError, RejectedError

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import Calculator

ROBUST_SMEARING = 3.0
POTENTIALS = "set VASP_PP_PATH to the folder that holds potpaw_PBE, and it the elements"
LARGE_FILES = ("WAVECAR", "CHG", "CHGCAR", "PROCAR")
GRID_CUTOFF = (
    16  # CP2K's density grid needs this many times the cutoff of plane waves that describe the orbitals
)


class Vasp(Code):
    """VASP, with the command and potentials that ASE's documentation asks for (ASE_VASP_COMMAND, VASP_PP_PATH).

    The gap comes from the self-consistent grid; `tight` finds edges off the coarser grids.
    """

    name = "vasp"

    def calculator(self, atoms: Atoms, folder: Path, robust: bool = False) -> Calculator:
        from ase.calculators.vasp import Vasp as Calculator
        from ase.config import cfg

        command = command_of(self.name, self.arguments)
        need_program(command, "set ASE_VASP_COMMAND, or name it under arguments: command")
        if "VASP_PP_PATH" not in cfg:
            raise FailedError(FailureKind.MISSING_DATA, f"VASP's potentials are not found; {POTENTIALS}")
        parameters = self.parameters(atoms, robust) | {"command": command}
        made: Calculator = Calculator(directory=str(folder), **parameters)
        try:
            made.initialize(atoms)
        except RuntimeError as error:
            said = " ".join(str(error).split())
            raise FailedError(FailureKind.MISSING_DATA, f"POTCAR: {said}; {POTENTIALS}") from error
        if "encut" not in self.arguments:
            parameters["encut"] = max(parameters["encut"], *map(largest_cutoff, made.ppp_list))
            made.set(encut=parameters["encut"])
        keep_input(parameters, atoms, folder)
        return made

    def parameters(self, atoms: Atoms, robust: bool = False) -> dict[str, Any]:
        """The keywords of ASE's Vasp calculator."""
        protocol = self.protocol
        defaults: dict[str, Any] = {
            "xc": "pbe",
            "setups": "recommended",
            "prec": "Accurate",
            "encut": protocol.cutoff,
            "kpts": grid_size(atoms, protocol.spacing),
            "gamma": True,
            "ismear": 0,
            "sigma": protocol.smearing,
            "ediff": protocol.energy_tolerance * len(atoms),
            "lasph": True,
            "lwave": False,
            "lcharg": False,
        }
        if np.any(atoms.get_initial_magnetic_moments()):
            defaults["ispin"] = 2
        if robust:
            defaults |= {"algo": "All", "nelm": 200, "amix": 0.1, "bmix": 0.01}
            defaults["sigma"] *= ROBUST_SMEARING
        return merged(defaults, self.arguments)

    def says_unconverged(self, folder: Path) -> bool:
        outputs = folder.rglob("OUTCAR")
        return any("EDIFF is reached" not in path.read_text(errors="replace") for path in outputs)

    def band_edges(self, atoms: Atoms, folder: Path) -> BandEdges:
        filled = filled_bands(atoms.calc.get_number_of_electrons(), self.moment(atoms, folder))
        return METAL if filled is None else band_edges(_grid_bands(atoms.calc), filled)

    def clean(self, folder: Path) -> None:
        for name in LARGE_FILES:
            for path in folder.rglob(name):
                path.unlink()


class Cp2k(Code):
    """CP2K by its shell (cp2k_shell), with Gaussian bases; ASE reads no eigenvalues from it."""

    name = "cp2k"

    def calculator(self, atoms: Atoms, folder: Path, robust: bool = False) -> Calculator:
        from ase.calculators.cp2k import CP2K as Calculator  # noqa: N811 - its name

        command = command_of(self.name, self.arguments)
        need_program(command, "set ASE_CP2K_COMMAND, or name it under arguments: command")
        parameters = self.parameters(atoms, robust) | {"command": command}
        keep_input(parameters, atoms, folder)
        made: Calculator = Calculator(directory=str(folder), **parameters)
        return made

    def parameters(self, atoms: Atoms, robust: bool = False) -> dict[str, Any]:
        """The keywords of ASE's CP2K calculator."""

        protocol = self.protocol
        size = " ".join(str(n) for n in grid_size(atoms, protocol.spacing))
        smearing = protocol.smearing * (ROBUST_SMEARING if robust else 1.0)
        kelvin = smearing / 8.617333e-5
        mixing = "0.05" if robust else "0.3"
        lines = [
            "&FORCE_EVAL\n&DFT",
            f"&KPOINTS\nSCHEME MONKHORST-PACK {size}\n&END KPOINTS",
            f"&SCF\nADDED_MOS {4 * len(atoms)}",
            f"&SMEAR ON\nMETHOD FERMI_DIRAC\nELECTRONIC_TEMPERATURE {kelvin:.1f}\n&END SMEAR",
            f"&MIXING\nMETHOD BROYDEN_MIXING\nALPHA {mixing}\n&END MIXING\n&END SCF",
            "&END DFT\n&END FORCE_EVAL",
        ]
        defaults = {
            "xc": "PBE",
            "cutoff": GRID_CUTOFF * protocol.cutoff,
            "basis_set": "DZVP-MOLOPT-SR-GTH",
            "pseudo_potential": "GTH-PBE",
            "max_scf": 300 if robust else 100,
            "uks": bool(np.any(atoms.get_initial_magnetic_moments())),
            "inp": "\n".join(lines),
        }
        return merged(defaults, self.arguments)

    def says_unconverged(self, folder: Path) -> bool:
        outputs = folder.rglob("*.out")
        return any("SCF run NOT converged" in path.read_text(errors="replace") for path in outputs)

    def band_edges(self, atoms: Atoms, folder: Path) -> BandEdges:
        raise NotImplementedError("ASE reads no eigenvalues of CP2K; set band_gap: false")


class Imported(Code):
    """Any ASE calculator by its import path; the protocol does not reach it, only its `arguments` do.

    Its results are checked before they are believed. Raises CalculatorFaultError where it cannot be made.
    """

    def __init__(self, path: str, *settings: Any) -> None:
        super().__init__(*settings)
        self.name = path

    def calculator(self, atoms: Atoms, folder: Path, robust: bool = False) -> Calculator:
        made = imported_calculator(self.name, self.arguments).calculator()
        keep_input(self.arguments, atoms, folder)
        if hasattr(made.inner, "directory"):
            made.inner.directory = str(folder)
        return made

    def moment(self, atoms: Atoms, folder: Path) -> float | None:
        asked = atoms.copy()
        asked.calc = atoms.calc.inner
        return super().moment(asked, folder)

    def band_edges(self, atoms: Atoms, folder: Path) -> BandEdges:
        """From the calculator's own k-points; spins and bands are counted below its Fermi level."""
        calculator = atoms.calc.inner
        try:
            bands = _grid_bands(calculator)
        except (AttributeError, NotImplementedError) as error:
            message = f"{self.name} gives no eigenvalues ({error}); set band_gap: false"
            raise RejectedError(FailureKind.BAD_RESULT, message) from error
        counts = (bands.eigenvalues < calculator.get_fermi_level()).sum(axis=2)
        same = bool(np.all(counts == counts[:, :1]))
        return band_edges(bands, tuple(int(n) for n in counts[:, 0])) if same else METAL


def largest_cutoff(potential: str) -> float:
    """The cutoff (eV) that a POTCAR file asks for (ENMAX); 0 where it says nothing or is compressed."""
    text = Path(potential).read_text(errors="replace")
    return float(max(re.findall(r"ENMAX\s*=\s*([\d.]+)", text), key=float, default=0.0))


def _grid_bands(calculator: Any) -> Bands:
    """What ASE's interface gives of a calculation's own k-points."""
    kpoints = np.asarray(calculator.get_ibz_k_points(), dtype=float)
    spins = range(calculator.get_number_of_spins())
    values = [[calculator.get_eigenvalues(kpt=k, spin=s) for k in range(len(kpoints))] for s in spins]
    return Bands(kpoints, np.asarray(values, dtype=float))
