"""GPAW with plane waves (Mortensen et al., J. Chem. Phys. 160, 092503 (2024), doi:10.1063/5.0182685)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from materials.evaluation import FailureKind
from oracles.dft.band_edges import METAL, BandEdges, Bands, band_edges, filled_bands
from oracles.dft.codes import Code, keep_input, merged
from oracles.dft.protocols import gap_kpoints, grid_size
from oracles.one_by_one import FailedError

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import Calculator

LOG = "gpaw.txt"
KPOINTS_AT_ONCE = 24  # bounds the memory of wave functions without symmetry
EMPTY_BANDS = 4
RESIDUAL = 1e-5  # eV^2 per electron; silicon's gap moves by 2e-11 eV against GPAW's default of 4e-8
ITERATIONS = 200
ROBUST_ITERATIONS = 3  # times as many
ROBUST_SMEARING = 3.0  # times as wide
SYMMETRY_TOLERANCE = 1e-4  # of scaled positions; databases round them
MISSING = (
    "GPAW cannot be imported; run  pip install 'matloop[dft]'  "
    "(on Debian first  apt install libxc-dev libopenblas-dev)"
)


class Gpaw(Code):
    """GPAW in this process."""

    name = "gpaw"

    def calculator(self, atoms: Atoms, folder: Path, robust: bool = False) -> Calculator:
        _need_gpaw()
        from gpaw import GPAW

        parameters = self.parameters(atoms, robust)
        keep_input(parameters, atoms, folder)
        made: Calculator = GPAW(txt=str(folder / LOG), **parameters)
        return made

    def modern_calculator(self, atoms: Atoms, folder: Path, robust: bool = False) -> Calculator:
        """The same by GPAW's newer implementation, which its response tools need."""
        _need_gpaw()
        from gpaw.new.ase_interface import GPAW

        parameters = self.parameters(atoms, robust)
        del parameters["mode"]["dedecut"]
        keep_input(parameters, atoms, folder)
        made: Calculator = GPAW(txt=str(folder / LOG), **parameters)
        return made

    def parameters(self, atoms: Atoms, robust: bool) -> dict[str, Any]:
        protocol = self.protocol
        defaults = {
            "mode": {"name": "pw", "ecut": protocol.cutoff, "dedecut": "estimate"},
            "xc": "PBE",
            "kpts": {"size": grid_size(atoms, protocol.spacing), "gamma": True},
            "occupations": {"name": "fermi-dirac", "width": protocol.smearing},
            "convergence": {"energy": protocol.energy_tolerance},
            "symmetry": {"tolerance": SYMMETRY_TOLERANCE},
            "maxiter": ITERATIONS,
        }
        parameters = merged(defaults, self.arguments)
        if robust:
            parameters["maxiter"] *= ROBUST_ITERATIONS
            parameters["mixer"] = {"backend": "pulay", "beta": 0.02, "nmaxold": 5, "weight": 100}
            parameters["occupations"] = {"name": "fermi-dirac", "width": ROBUST_SMEARING * protocol.smearing}
        return parameters

    def band_edges(self, atoms: Atoms, folder: Path) -> BandEdges:
        calculator = atoms.calc
        filled = filled_bands(calculator.get_number_of_electrons(), self.moment(atoms, folder))
        if filled is None:
            return METAL
        kpoints = gap_kpoints(atoms, self.protocol.band_spacing)
        return band_edges(_bands(calculator, kpoints, max(filled), folder), filled)


def _bands(calculator: Any, kpoints: Any, filled: int, folder: Path) -> Bands:
    """Eigenvalues at `kpoints` in the fixed density of the ground state, a few k-points at a time."""
    parts = []
    for number, start in enumerate(range(0, len(kpoints), KPOINTS_AT_ONCE)):
        some = kpoints[start : start + KPOINTS_AT_ONCE]
        fixed = calculator.fixed_density(
            kpts=some,
            symmetry="off",
            nbands=filled + EMPTY_BANDS,
            convergence={"bands": filled + 1, "eigenstates": RESIDUAL},
            txt=str(folder / f"bands_{number}.txt"),
        )
        spins = range(fixed.get_number_of_spins())
        parts.append([[fixed.get_eigenvalues(kpt=k, spin=s) for k in range(len(some))] for s in spins])
    return Bands(kpoints, np.concatenate([np.asarray(part) for part in parts], axis=1))


def _need_gpaw() -> None:
    try:
        import gpaw  # noqa: F401 - whether it can be imported is the question
    except ImportError as error:
        raise FailedError(FailureKind.MISSING_PROGRAM, f"{MISSING}: {error}") from error
