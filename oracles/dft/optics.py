"""How light sees a crystal: its dielectric function from independent particles, with GPAW.

The sum over direct transitions between PBE bands (momentum matrix elements and sum by gpaw.nlopt: Taghizadeh et al.,
Phys. Rev. B 96, 195413 (2017)). No excitons, no local fields, no phonons, and PBE's gaps: the static constant comes out
too large where the gap is much too small, and the onset too low.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import pymatgen.core as pmg
from numpy.typing import NDArray
from pydantic import Field, field_validator

from materials.base import Measurement
from materials.evaluation import FailureKind, Request
from materials.properties import property_named
from oracles.base import OracleSettings, Resources
from oracles.dft.band_edges import filled_bands
from oracles.dft.functional import check_functional
from oracles.dft.identity import code_version, meaning_of
from oracles.dft.inputs import magnetic_atoms, ordered, working_folder
from oracles.dft.kpoints import check_kpoints
from oracles.dft.protocols import (
    PROTOCOLS,
    ProtocolName,
    WeightedPoints,
    cartesian_rotations,
    gap_kpoints,
    shifted_grid,
)
from oracles.one_by_one import Answer, OneByOneOracle, RejectedError

if TYPE_CHECKING:
    from ase import Atoms

    from oracles.dft.gpaw import Gpaw

SPECTRUM = "spectrum.csv"
HIGHEST_PHOTON, PHOTON_STEP = 20.0, 0.05  # eV
LEAST_EMPTY_BANDS = 8
UNCONVERGED_BANDS = 2  # the highest ones, which only help the others to converge
WEAK = 0.01  # oscillator strength below which light does not drive a transition
DEGENERATE = 0.01  # eV; transitions this near count together
INVERSE_CENTIMETRE = 50677.307  # wave number of a photon of 1 eV, E / (hbar c)


class OpticsSettings(OracleSettings):
    """Dielectric constant, refractive index and onset of absorption from independent particles (PBE, GPAW)."""

    kind: Literal["optics"] = "optics"
    arguments: dict[str, Any] = Field(default_factory=dict)
    """GPAW's own arguments; they win over the protocol's."""
    protocol: ProtocolName = "standard"
    """How finely: fast, standard or tight."""
    broadening: float = Field(default=0.1, gt=0)
    """Half width of the spectrum's lines, eV; the measured values do not depend on it."""
    walltime: float | None = Field(default=14400.0, gt=0)
    """Seconds after which one evaluation is given up."""
    resources: ClassVar[Resources] = Resources(memory=4.0)
    typical_seconds: ClassVar[float] = 60.0

    @field_validator("arguments")
    @classmethod
    def _usable(cls, arguments: dict[str, Any]) -> dict[str, Any]:
        check_functional(arguments)
        check_kpoints(arguments)
        return arguments

    @property
    def measures(self) -> tuple[str, ...]:
        return ("dielectric_constant", "refractive_index", "absorption_onset")

    @property
    def fidelity(self) -> str:
        return "PBE"

    def meaning(self) -> dict[str, Any]:
        """The arguments without those about the machine, and the numbers behind the protocol."""
        numbers = vars(PROTOCOLS[self.protocol])
        return super().meaning() | {"arguments": meaning_of("gpaw", self.arguments), "protocol": numbers}

    def model_version(self) -> str:
        return code_version("gpaw", self.arguments)

    def build(self) -> OpticsOracle:
        return OpticsOracle(self)


@dataclass(frozen=True)
class Transitions:
    """Direct transitions: GPAW's matrix elements on the grid of the sum and where band edges are looked for, the bands
    filled in each spin, and the atoms they are of."""

    grid: Any
    edges: Any
    filled: tuple[int, ...]
    atoms: Atoms

    def dielectric(self, photons: NDArray[np.float64], broadening: float) -> NDArray[np.complex128]:
        """The tensor [3, 3, photon] at photon energies in eV, with the symmetry of the crystal."""
        from gpaw.nlopt.linear import get_chi_tensor

        chi = get_chi_tensor(self.grid, photons, eta=broadening)
        rotations = cartesian_rotations(self.atoms)
        mean = np.einsum("gai,gbj,ijw->abw", rotations, rotations, chi) / len(rotations)
        return np.asarray(np.eye(3)[:, :, None] + mean)

    def onset(self) -> float:
        """The lowest energy (eV) of a transition, with those degenerate to it, of an oscillator strength above WEAK.

        Raises RejectedError where there is none among the bands.
        """
        energies = [
            _first_strong(part.E_skn[spin, k], part.p_skvnn[spin, k], filled)
            for part in (self.grid, self.edges)
            for spin, filled in enumerate(self.filled)
            for k in range(part.E_skn.shape[1])
        ]
        if not math.isfinite(min(energies)):
            message = f"no strong transition among {self.grid.E_skn.shape[2]} bands"
            raise RejectedError(
                FailureKind.BAD_RESULT, f"{self.atoms.get_chemical_formula('metal')}: {message}"
            )
        return min(energies)


def _first_strong(energies: NDArray[np.float64], momenta: NDArray[np.complex128], filled: int) -> float:
    """The lowest strong transition (eV) at one k-point; energies [band] and momenta [3, band, band] in atomic units."""
    from ase.units import Ha

    gaps = (energies[None, filled:] - energies[:filled, None]).ravel()
    squares = (np.abs(momenta[:, :filled, filled:]) ** 2).sum(axis=0).ravel()
    strengths = 2 * squares / (3 * gaps)  # mean over directions
    for gap in np.sort(gaps):
        if strengths[np.abs(gaps - gap) * Ha < DEGENERATE].sum() > WEAK:
            return float(gap) * float(Ha)
    return math.inf


class OpticsOracle(OneByOneOracle):
    """Calculates the ground state, then the direct transitions in its density on a grid that avoids Gamma."""

    def __init__(self, settings: OpticsSettings) -> None:
        from oracles.dft.gpaw import Gpaw

        self._settings = settings
        self._code: Gpaw = Gpaw(PROTOCOLS[settings.protocol], settings.arguments)

    def measure(self, request: Request) -> Answer:
        from oracles.dft.attempts import first_converged

        structure = ordered(request)
        formula = structure.composition.reduced_formula
        with working_folder(request) as folder:
            answer, tried = first_converged(
                self._code,
                formula,
                folder / "optics",
                lambda place, robust: self._ask(structure, place, robust),
            )
            transitions, points = answer
            static = transitions.dielectric(np.zeros(1), 0.0)[:, :, 0].real
            artifacts = self._keep_spectrum(transitions, request)
        constant = float(np.trace(static)) / 3
        if not constant >= 1:
            raise RejectedError(FailureKind.BAD_RESULT, f"{formula}: a dielectric constant of {constant:g}")
        values = {
            "dielectric_constant": constant,
            "refractive_index": constant**0.5,
            "absorption_onset": transitions.onset(),
        }
        measurements = tuple(
            Measurement(name, value, property_named(name).unit, "PBE", request.oracle)
            for name, value in values.items()
        )
        provenance = self._provenance(static, points, transitions, tried)
        return Answer(measurements, provenance=provenance, artifacts=artifacts)

    def _ask(
        self, structure: pmg.Structure, folder: Path, robust: bool
    ) -> tuple[Transitions, WeightedPoints]:
        from gpaw.nlopt.matrixel import make_nlodata

        atoms = magnetic_atoms(structure)
        atoms.calc = self._code.modern_calculator(atoms, folder, robust)
        atoms.get_potential_energy()
        filled = filled_bands(atoms.calc.get_number_of_electrons(), self._code.moment(atoms, folder))
        if filled is None:
            raise _metal(structure)
        points = shifted_grid(atoms, self._code.protocol.spacing)
        extra = gap_kpoints(atoms, self._code.protocol.band_spacing)
        kept = max(filled) + max(LEAST_EMPTY_BANDS, max(filled))
        fixed = atoms.calc.fixed_density(
            kpts=np.concatenate([points.kpoints, extra]),
            symmetry="off",
            nbands=kept + UNCONVERGED_BANDS,
            convergence={"bands": kept},
            txt=str(folder / "bands.txt"),
        )
        elements = make_nlodata(fixed, nf=kept)
        for spin, number in enumerate(filled):
            elements.f_skn[spin] = np.arange(kept) < number
            if elements.E_skn[spin, :, number].min() <= elements.E_skn[spin, :, number - 1].max():
                raise _metal(structure)
        on_grid, beside = _split(elements, len(points.kpoints))
        on_grid.w_sk = elements.w_sk.sum(axis=1, keepdims=True) * points.weights
        return Transitions(on_grid, beside, filled, atoms), points

    def _keep_spectrum(self, transitions: Transitions, request: Request) -> Mapping[str, Mapping[str, str]]:
        """Writes the spectrum into the request's folder, if it has one."""
        if request.folder is None:
            return {}
        photons = np.arange(0.0, HIGHEST_PHOTON + PHOTON_STEP / 2, PHOTON_STEP)
        tensor = transitions.dielectric(photons, self._settings.broadening)
        epsilon = np.trace(tensor) / 3
        index = np.sqrt(epsilon)
        absorption = 2 * photons * index.imag * INVERSE_CENTIMETRE
        path = request.folder / SPECTRUM
        with path.open("w", newline="") as handle:
            table = csv.writer(handle)
            table.writerow(
                ["photon (eV)", "epsilon real", "epsilon imaginary", "n", "k", "absorption (1/cm)"]
            )
            columns = (photons, epsilon.real, epsilon.imag, index.real, index.imag, absorption)
            table.writerows([f"{value:.6g}" for value in row] for row in zip(*columns, strict=True))
        return {"spectrum": {"path": str(path)}}

    def _provenance(
        self, static: NDArray[np.float64], points: WeightedPoints, transitions: Transitions, tried: list[str]
    ) -> dict[str, Any]:
        return {
            "version": self._settings.model_version(),
            "protocol": {"name": self._settings.protocol, **vars(self._code.protocol)},
            "arguments": dict(self._settings.arguments),
            "picture": "independent particles, PBE, no local fields, no excitons",
            "dielectric_tensor": static.round(4).tolist(),
            "grid": list(points.size),
            "grid_shift": "half a step",
            "irreducible_kpoints": len(points.kpoints),
            "bands": int(transitions.grid.E_skn.shape[2]),
            "filled_bands": list(transitions.filled),
            "broadening": self._settings.broadening,
            "onset_strength": WEAK,
            "attempts": tried,
        }


def _split(elements: Any, first: int) -> tuple[Any, Any]:
    """The data of the first k-points, and of the others."""
    fields = ("w_sk", "f_skn", "E_skn", "p_skvnn")
    parts = (slice(None, first), slice(first, None))
    one, other = (
        replace(elements, **{name: getattr(elements, name)[:, part] for name in fields}) for part in parts
    )
    return one, other


def _metal(structure: pmg.Structure) -> RejectedError:
    formula = structure.composition.reduced_formula
    message = f"{formula}: a metal in PBE, which has no static dielectric constant of bound electrons"
    return RejectedError(FailureKind.UNSUPPORTED_MATERIAL, message)
