"""Quantum ESPRESSO's pw.x (Giannozzi et al., J. Phys.: Condens. Matter 29, 465901 (2017))."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from oracles.dft.band_edges import METAL, BandEdges, Bands, band_edges, filled_bands
from oracles.dft.codes import Code, keep_input, merged
from oracles.dft.faults import need_program
from oracles.dft.identity import command_of, meaning_of, pseudopotential_folder
from oracles.dft.protocols import gap_kpoints, grid_size
from oracles.dft.pseudopotentials import check_pseudopotentials, suggested_cutoffs

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import Calculator

REMEDY = (
    "install Quantum ESPRESSO (on Debian  apt install quantum-espresso) or name it under arguments: command"
)
SAVE = "save"  # wave functions and density, deleted at the end
OUTPUT = "espresso.pwo"
EMPTY_BANDS = 4
DENSITY_CUTOFF = 8  # times that of the wave functions, as ultrasoft and PAW data need
SMALLEST_TOLERANCE = 1e-10  # Ry
ROBUST: Mapping[str, Mapping[str, Any]] = {
    "electrons": {"mixing_beta": 0.1, "electron_maxstep": 300, "mixing_mode": "local-TF"}
}
ROBUST_SMEARING = 3.0


class Espresso(Code):
    """pw.x as a program of its own.

    Of the arguments `command`, `pseudo_dir` and `pseudopotentials` (element -> file) say where things are; `input_data`
    and the rest go into pw.x's input. Cutoffs that a pseudopotential asks for belong into input_data.
    """

    name = "espresso"

    def calculator(self, atoms: Atoms, folder: Path, robust: bool = False) -> Calculator:
        need_program(command_of(self.name, self.arguments), REMEDY)
        data = self._input_data(atoms, robust)
        size = grid_size(atoms, self.protocol.spacing)
        grid = {"kpts": size, "koffset": (0, 0, 0)}
        grid |= {key: value for key, value in self.arguments.items() if key in grid}
        return self._calculator(atoms, folder, data, grid)

    def _calculator(
        self, atoms: Atoms, folder: Path, input_data: Mapping[str, Any], kpoints: Mapping[str, Any]
    ) -> Calculator:
        from ase.calculators.espresso import Espresso as Calculator
        from ase.calculators.espresso import EspressoProfile

        own = dict(self.arguments)
        own.pop("input_data", None)
        command, place = command_of(self.name, own), pseudopotential_folder(own)
        own = meaning_of(self.name, own)
        own = {key: value for key, value in own.items() if key not in kpoints and key != "koffset"}
        check_pseudopotentials(atoms, place, own.get("pseudopotentials", {}))
        parameters = {"input_data": input_data, **kpoints, **own}
        keep_input(parameters, atoms, folder)
        profile = EspressoProfile(command=command, pseudo_dir=place.resolve())
        made: Calculator = Calculator(profile=profile, directory=folder, **parameters)
        return made

    def _input_data(self, atoms: Atoms, robust: bool) -> dict[str, Any]:
        from ase.units import Ry

        protocol = self.protocol
        wave, density = self._cutoffs(atoms)
        # pw.x bounds the error of the total energy; 4 valence electrons per atom are typical.
        tolerance = max(4 * len(atoms) * protocol.energy_tolerance**2, SMALLEST_TOLERANCE)
        magnetic = bool(np.any(atoms.get_initial_magnetic_moments()))
        defaults: dict[str, Any] = {
            "control": {
                "calculation": "scf",
                "outdir": SAVE,
                "tprnfor": True,
                "tstress": True,
                "verbosity": "high",
                "disk_io": "low",
            },
            "system": {
                "ecutwfc": wave,
                "ecutrho": density,
                "occupations": "smearing",
                "smearing": "fermi-dirac",
                "degauss": protocol.smearing * (ROBUST_SMEARING if robust else 1.0) / Ry,
                **({"nspin": 2} if magnetic else {}),
            },
            "electrons": {"conv_thr": min(tolerance, 1e-6)},
        }
        data = merged(defaults, self.arguments.get("input_data", {}))
        if robust:
            steps = ROBUST["electrons"]["electron_maxstep"]
            asked = data["electrons"].get("electron_maxstep")
            data = merged(data, ROBUST)
            data["electrons"]["electron_maxstep"] = 3 * asked if asked else steps
        return data

    def _cutoffs(self, atoms: Atoms) -> tuple[float, float]:
        """Of wave functions and density in Ry: the protocol's, or what the pseudopotentials ask for where that is more.

        Raises FailedError where neither they nor the arguments say what they need.
        """
        from ase.units import Ry

        own = self.arguments.get("input_data", {})
        if "ecutwfc" in own or "ecutwfc" in own.get("system", {}):
            return self.protocol.cutoff / Ry, DENSITY_CUTOFF * self.protocol.cutoff / Ry  # overridden
        named = self.arguments.get("pseudopotentials", {})
        wave, density = suggested_cutoffs(atoms, pseudopotential_folder(self.arguments), named)
        wave = max(wave, self.protocol.cutoff / Ry)
        return wave, max(density, DENSITY_CUTOFF * wave)

    def moment(self, atoms: Atoms, folder: Path) -> float | None:
        if not np.any(atoms.get_initial_magnetic_moments()):
            return None
        return _last_number(r"total magnetization\s*=\s*(\S+)", (folder / OUTPUT).read_text())

    def says_unconverged(self, folder: Path) -> bool:
        outputs = folder.rglob(OUTPUT)
        return any("convergence NOT achieved" in path.read_text(errors="replace") for path in outputs)

    def band_edges(self, atoms: Atoms, folder: Path) -> BandEdges:
        electrons = _last_number(r"number of electrons\s*=\s*(\S+)", (folder / OUTPUT).read_text())
        filled = filled_bands(electrons, self.moment(atoms, folder))
        if filled is None:
            return METAL
        kpoints = gap_kpoints(atoms, self.protocol.band_spacing)
        return band_edges(self._bands(atoms, kpoints, max(filled), folder / "bands"), filled)

    def _bands(self, atoms: Atoms, kpoints: NDArray[np.float64], filled: int, folder: Path) -> Bands:
        folder.mkdir(exist_ok=True)
        data = merged(
            self._input_data(atoms, robust=False),
            {
                "control": {
                    "calculation": "bands",
                    "outdir": f"../{SAVE}",
                    "tprnfor": False,
                    "tstress": False,
                },
                "system": {"nbnd": filled + EMPTY_BANDS},
            },
        )
        weighted = np.hstack([kpoints, np.ones((len(kpoints), 1))])
        calculator = self._calculator(atoms, folder, data, {"kpts": weighted})
        calculator.write_inputfiles(atoms, [])
        calculator.template.execute(calculator.directory, calculator.profile)
        from ase.io import read

        found = read(folder / OUTPUT, format="espresso-out").calc
        spins = range(found.get_number_of_spins())
        values = [[found.get_kpt(k, s).eps_n for k in range(len(kpoints))] for s in spins]
        return Bands(kpoints, np.asarray(values, dtype=float))

    def clean(self, folder: Path) -> None:
        for save in folder.rglob(SAVE):
            shutil.rmtree(save, ignore_errors=True)


def _last_number(pattern: str, text: str) -> float:
    """The last number that `pattern` finds. Raises ValueError where there is none."""
    found = re.findall(pattern, text)
    if not found:
        raise ValueError(f"no match of {pattern!r} in pw.x's output")
    return float(found[-1])
