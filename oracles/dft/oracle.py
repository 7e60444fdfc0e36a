"""Density-functional theory: energy, band gap and forces of a crystal, by any program that ASE can ask."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import pymatgen.core as pmg
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, field_validator, model_validator

from materials.base import Crystal, Measurement
from materials.calculators import IMPORT_PATH, imported_calculator
from materials.evaluation import FailureKind, Request
from materials.properties import property_named
from oracles.base import OracleSettings, Resources
from oracles.dft.band_edges import BandEdges
from oracles.dft.functional import check_functional
from oracles.dft.identity import code_version, meaning_of
from oracles.dft.inputs import magnetic_atoms, ordered, working_folder
from oracles.dft.judging import VOLUMES, doubt_left, energies_beside
from oracles.dft.kpoints import check_kpoints
from oracles.dft.protocols import PROTOCOLS, ProtocolName
from oracles.one_by_one import Answer, OneByOneOracle, RejectedError

if TYPE_CHECKING:
    from materials.relaxation import Frame, Relaxation
    from oracles.dft.codes import Code

CODES = ("gpaw", "espresso", "vasp", "cp2k")
PBE = "PBE"
EIGENVALUES = ("get_eigenvalues", "get_ibz_k_points", "get_number_of_spins", "get_fermi_level")
"""How ASE's calculators tell of bands."""
LARGEST_GAP = 30.0  # eV


class DftSettings(OracleSettings):
    """A density-functional calculation (PBE, without +U) of energy, largest force and band gap."""

    # The base declares `fidelity` as a property, so the field needs a name of its own.
    model_config = ConfigDict(serialize_by_alias=True)

    kind: Literal["dft"] = "dft"
    calculator: str = "gpaw"
    """gpaw, espresso, vasp, cp2k, or an ASE calculator's import path `module:Class`."""
    level: str | None = Field(default=None, alias="fidelity")
    """Of what an import path's calculator gives (PBE, r2SCAN, potential, ...), which only you know; needed there. The
    four programs are asked for PBE."""
    arguments: dict[str, Any] = Field(default_factory=dict)
    """The calculator's own arguments; they win over the protocol's."""
    protocol: ProtocolName = "standard"
    """How finely: fast, standard or tight."""
    band_gap: bool = True
    """Measure the band gap too."""
    relax: bool = False
    """Relax atoms and cell first; what follows gets the relaxed crystal."""
    fmax: float = Field(default=0.05, gt=0)
    """Relaxed when no force is larger, eV/angstrom."""
    steps: int = Field(default=60, ge=1)
    """Most steps of each optimiser."""
    confirms: float = Field(default=0.3, gt=0)
    """A doubted material that is not relaxed here is believed where no force is larger, eV/angstrom, and its energy
    falls by no more than 0.02 eV/atom when its volume is changed by 8 %."""
    walltime: float | None = Field(default=14400.0, gt=0)
    """Seconds after which one evaluation is given up."""
    resources: ClassVar[Resources] = Resources(memory=4.0)
    typical_seconds: ClassVar[float] = 60.0

    @model_validator(mode="after")
    def _loadable(self) -> DftSettings:
        if self.calculator not in CODES:
            imported_calculator(self.calculator, self.arguments).check()
        return self

    @model_validator(mode="after")
    def _has_eigenvalues(self) -> DftSettings:
        if not self.band_gap:
            return self
        if self.calculator == "cp2k":
            raise ValueError("ASE reads no eigenvalues of CP2K; set band_gap: false")
        if self.calculator not in CODES:
            made = imported_calculator(self.calculator, self.arguments).factory
            if isinstance(made, type) and not all(hasattr(made, name) for name in EIGENVALUES):
                raise ValueError(f"{self.calculator} gives no eigenvalues; set band_gap: false")
        return self

    @model_validator(mode="after")
    def _honest_label(self) -> DftSettings:
        if self.calculator in CODES:
            if self.level not in (None, PBE):
                raise ValueError(f"fidelity: {self.calculator} is asked for PBE; leave {self.level} out")
            check_functional(self.arguments)
            return self
        if self.level is None:
            raise ValueError(
                f"fidelity: nobody but you knows what {self.calculator} computes; write fidelity: PBE if that is its "
                "functional, the name of another, or fidelity: potential for what is no density functional"
            )
        for name in self.measures:
            ladder = property_named(name).fidelities
            if self.level not in ladder:
                raise ValueError(f"{name} has no fidelity {self.level!r}; it has {', '.join(ladder)}")
        if self.level == PBE:
            check_functional(self.arguments)
        return self

    @field_validator("calculator")
    @classmethod
    def _known(cls, calculator: str) -> str:
        if calculator in CODES or IMPORT_PATH.fullmatch(calculator):
            return calculator
        raise ValueError(
            f"{calculator!r} is none of {', '.join(CODES)}, and no import path such as package.module:Class"
        )

    @field_validator("arguments")
    @classmethod
    def _points(cls, arguments: dict[str, Any]) -> dict[str, Any]:
        check_kpoints(arguments)
        return arguments

    @property
    def continues(self) -> bool:
        return self.relax

    @property
    def judges_doubt(self) -> bool:
        """A relaxation moves to another geometry and says nothing about the one that was doubted."""
        return not self.relax

    @property
    def measures(self) -> tuple[str, ...]:
        gaps = ("band_gap", "direct_band_gap") if self.band_gap else ()
        return ("energy_per_atom", "max_force", *gaps)

    @property
    def fidelity(self) -> str:
        return self.level or PBE

    def meaning(self) -> dict[str, Any]:
        """The arguments without those about the machine, and the numbers behind the protocol."""
        numbers = vars(PROTOCOLS[self.protocol])
        return super().meaning() | {
            "arguments": meaning_of(self.calculator, self.arguments),
            "protocol": numbers,
        }

    def model_version(self) -> str:
        return code_version(self.calculator, self.arguments)

    @property
    def energy_source(self) -> str | None:
        """Total energies of one program, protocol and set of arguments are no other's."""
        return f"{self.model_version()} {self.protocol} {self.fingerprint()}"

    def build(self) -> DftOracle:
        return DftOracle(self)


@dataclass(frozen=True)
class GroundState:
    """Energy in eV, moment in Bohr magnetons of the cell, and the gap if asked.

    forces: [atom, 3] in eV/angstrom, at the geometry that was given, whatever was relaxed after.
    structure: what it is of; relaxation: how it was found, where it was relaxed. falls: by how much the energy
    (eV/atom) falls at other volumes, where a doubt was judged.
    """

    structure: pmg.Structure
    relaxation: Relaxation | None
    energy: float
    forces: NDArray[np.float64]
    moment: float | None
    edges: BandEdges | None
    falls: tuple[float, ...] | None

    @property
    def max_force(self) -> float:
        return float(np.linalg.norm(self.forces, axis=1).max())


class DftOracle(OneByOneOracle):
    """Calculates the ground state of a crystal at the geometry given."""

    def __init__(self, settings: DftSettings) -> None:
        from oracles.dft.codes import code_for

        self._settings = settings
        self._code: Code = code_for(settings.calculator, PROTOCOLS[settings.protocol], settings.arguments)

    def measure(self, request: Request) -> Answer:
        from oracles.dft.attempts import first_converged

        structure = ordered(request)
        formula = structure.composition.reduced_formula
        judged = bool(request.doubt) and self._settings.judges_doubt
        with working_folder(request) as folder:
            state, tried = first_converged(
                self._code,
                formula,
                folder / "ground_state",
                lambda place, robust: self._ground_state(structure, place, robust, judged),
            )
        values = {"energy_per_atom": state.energy / len(structure), "max_force": state.max_force}
        if state.edges is not None:
            values |= {"band_gap": state.edges.gap, "direct_band_gap": state.edges.direct_gap}
        measurements = tuple(
            Measurement(name, value, property_named(name).unit, self._settings.fidelity, request.oracle)
            for name, value in values.items()
        )
        return Answer(
            measurements,
            None if state.relaxation is None else Crystal(state.structure),
            self._provenance(state, tried),
            doubt=self._doubt(state),
        )

    def _ground_state(
        self, structure: pmg.Structure, folder: Path, robust: bool, judged: bool
    ) -> GroundState:
        relaxed = self._relaxed(structure, folder, robust) if self._settings.relax else None
        structure = structure if relaxed is None else relaxed[0].structure
        atoms = magnetic_atoms(structure)
        atoms.calc = self._code.calculator(atoms, folder, robust)
        energy = float(atoms.get_potential_energy())
        forces = np.asarray(atoms.get_forces(), dtype=float)
        _check(energy, forces, len(atoms))
        moment = self._code.moment(atoms, folder)
        edges = self._code.band_edges(atoms, folder) if self._settings.band_gap else None
        if edges is not None and not edges.gap <= LARGEST_GAP:
            raise ValueError(f"a band gap of {edges.gap} eV")
        falls = None
        if judged:
            beside = energies_beside(self._code, atoms, folder, robust)
            falls = tuple((energy - other) / len(atoms) for other in beside)
        if relaxed is None:
            return GroundState(structure, None, energy, forces, moment, edges, falls)
        relaxation, first = relaxed
        return GroundState(structure, relaxation, energy, first.results["forces"], moment, edges, falls)

    def _relaxed(self, structure: pmg.Structure, folder: Path, robust: bool) -> tuple[Relaxation, Frame]:
        """The relaxation and its first evaluation. Raises RejectedError where no minimum is reached."""
        from materials.relaxation import RelaxationError
        from oracles.dft.relaxation import relax_with

        settings, formula = self._settings, structure.composition.reduced_formula
        place = folder / "relaxation"
        place.mkdir(exist_ok=True)
        try:
            found, first = relax_with(self._code, structure, place, robust, settings.fmax, settings.steps)
        except RelaxationError as error:
            raise RejectedError(FailureKind.EXPLODED, str(error)) from error
        if not found.converged:
            message = f"{formula}: forces above fmax {settings.fmax:g} after {settings.steps} steps"
            raise RejectedError(FailureKind.NOT_CONVERGED, f"{message}; raise steps or fmax")
        return found, first

    def _provenance(self, state: GroundState, tried: list[str]) -> dict[str, Any]:
        polarised = bool(magnetic_atoms(state.structure).get_initial_magnetic_moments().any())
        edges = {} if state.edges is None else {"band_edges": state.edges.to_dict()}
        found = state.relaxation
        relaxed = {} if found is None else {"steps": found.steps, "volume_change": found.volume_change}
        judged = (
            {}
            if state.falls is None
            else {"energy_falls": dict(zip(map(str, VOLUMES), state.falls, strict=True))}
        )
        return {
            "version": self._settings.model_version(),
            "protocol": {"name": self._settings.protocol, **vars(self._code.protocol)},
            "arguments": dict(self._settings.arguments),
            "correction": "none",
            "magnetic_order": "ferromagnetic start" if polarised else "paired spins",
            "magnetic_moment": state.moment,
            "attempts": tried,
            **edges,
            **relaxed,
            **judged,
        }

    def _doubt(self, state: GroundState) -> str | None:
        """None where nothing was doubted, or nothing judged."""
        if state.falls is None:
            return None
        return doubt_left(state.max_force, self._settings.confirms, state.falls)


def _check(energy: float, forces: NDArray[np.float64], atoms: int) -> None:
    """Raises ValueError for what is no energy and no forces."""
    if not np.isfinite(energy):
        raise ValueError(f"an energy of {energy} eV")
    if forces.shape != (atoms, 3) or not np.all(np.isfinite(forces)):
        raise ValueError(f"forces of shape {forces.shape} that are not all numbers, for {atoms} atoms")
