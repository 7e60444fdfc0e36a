"""Average voltage, capacity and volume change of an electrode from which the mobile ion is taken out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal

import pymatgen.core as pmg
from pydantic import Field, field_validator, model_validator

from materials.base import Candidate, Crystal, Measurement, Origin
from materials.corrections import CorrectionScheme, correction_per_atom, require_corrected
from materials.electrochemistry import ion_charge
from materials.evaluation import FailureKind, Outcome, Request, Status
from materials.hull import ReferenceHull
from materials.properties import property_named
from oracles.base import Oracle, OracleSettings
from oracles.one_by_one import Answer, FailedError, OneByOneOracle, RejectedError
from oracles.potential_choice import PotentialSettings
from oracles.reference_choice import latest_energy
from oracles.relax import RelaxSettings

FARADAY = 96485.33212 / 3.6  # mAh/mol (CODATA 2018)
RATTLE = 0.02  # angstrom; a start with all its symmetry would hide that the framework collapses
VOLUME_CHANGE = (-0.4, 0.5)  # beyond it the framework is another one, even if its atoms lie alike


class InsertionSettings(PotentialSettings):
    """An insertion electrode: the material is the discharged one, and its framework without the ion the charged one."""

    kind: Literal["insertion"] = "insertion"
    mobile_ion: str = "Li"
    """The element that is taken out."""
    fmax: float = Field(default=0.03, gt=0)
    """The charged framework is relaxed when no force is larger, eV/angstrom."""
    steps: int = Field(default=400, ge=1)
    """Most steps of each optimiser."""
    correction: CorrectionScheme = Field(default=CorrectionScheme.materials_project_2020)
    """Energy corrections of both electrodes; `none` is refused."""
    memory: ClassVar[float] = 1.5
    typical_seconds: ClassVar[float] = 15.0

    @field_validator("mobile_ion")
    @classmethod
    def _forms_a_cation(cls, symbol: str) -> str:
        ion_charge(symbol)
        return symbol

    @model_validator(mode="after")
    def _corrected(self) -> InsertionSettings:
        require_corrected(self.correction, "a voltage")
        return self

    @property
    def needed_elements(self) -> tuple[str, ...]:
        return (self.mobile_ion,)

    @property
    def requires(self) -> tuple[str, ...]:
        return ("energy_per_atom",)

    @property
    def measures(self) -> tuple[str, ...]:
        return ("average_voltage", "gravimetric_capacity", "volume_change")

    def misfit(self, earlier: Sequence[OracleSettings]) -> str | None:
        """Refuses a discharged electrode whose energy comes from another potential."""
        makers = [oracle for oracle in earlier if "energy_per_atom" in oracle.measures]
        if not makers:
            return None
        if makers[-1].why_incomparable is not None:
            return (
                f"{makers[-1].kind} {makers[-1].why_incomparable}, and the charged electrode would be relaxed with its "
                "cell, without pressure or strain; relax freely before it"
            )
        if makers[-1].energy_source == self.model_version():
            return None
        return (
            f"{makers[-1].kind} gives energies of {makers[-1].energy_source or 'an unknown source'}, but the charged "
            f"electrode would be relaxed with {self.model_version()}; name the same potential in both blocks"
        )

    def relaxation(self) -> RelaxSettings:
        """How the charged framework and the metal are relaxed."""
        shared = set(PotentialSettings.model_fields) - set(OracleSettings.model_fields)
        return RelaxSettings(
            fmax=self.fmax, steps=self.steps, **{name: getattr(self, name) for name in shared}
        )

    def build(self) -> InsertionOracle:
        return InsertionOracle(self)


class InsertionOracle(OneByOneOracle):
    """Answers with the pair's voltage against the metal, its capacity and its change of volume.

    Source of the voltage: Aydinol, Kohan, Ceder, Cho, Joannopoulos, Phys. Rev. B 1997, 56, 1354
    (doi:10.1103/PhysRevB.56.1354). It agrees with pymatgen's InsertionElectrode, which counts silver as Ag3+ and
    copper as Cu4+, the highest states it knows, and so cannot be asked here.
    """

    def __init__(self, settings: InsertionSettings) -> None:
        self._settings = settings
        self._relaxation: Oracle = settings.relaxation().build()
        self._metal = self._energy_of_metal()

    def measure(self, request: Request) -> Answer:
        energy = latest_energy(request)
        discharged, framework = self._framework(request)
        outcome = self._relaxed(framework, request)
        assert isinstance(outcome.material, Crystal)
        charged = outcome.material.structure
        _check_kept(discharged, framework, charged)
        charged_energy = outcome.measurements[0].value
        ions = discharged.composition[self._settings.mobile_ion]
        electrons = ions * ion_charge(self._settings.mobile_ion)
        gained = (
            self._corrected(charged, charged_energy)
            + ions * self._metal
            - self._corrected(discharged, energy.value)
        )
        values = {
            "average_voltage": gained / electrons,
            "gravimetric_capacity": electrons * FARADAY / discharged.composition.weight,
            "volume_change": charged.volume / discharged.volume - 1,
        }
        stds = {"average_voltage": (energy.std or 0.0) * len(discharged) / electrons}
        measurements = tuple(
            Measurement(
                property=name,
                value=float(value),
                unit=property_named(name).unit,
                fidelity=self._settings.fidelity,
                oracle=request.oracle,
                std=stds.get(name) or None,
            )
            for name, value in values.items()
        )
        return Answer(measurements, provenance=self._provenance(charged, charged_energy, outcome))

    def _framework(self, request: Request) -> tuple[pmg.Structure, pmg.Structure]:
        """The discharged electrode, and what is left of it without the ion, not yet relaxed."""
        material, ion = request.material, self._settings.mobile_ion
        if not (isinstance(material, Crystal) and material.is_ordered):
            message = "only a crystal without partial occupancies can be charged; order it first"
            raise RejectedError(FailureKind.UNSUPPORTED_MATERIAL, f"{material.formula}: {message}")
        framework = material.structure.copy()
        framework.remove_species([ion])
        framework.perturb(RATTLE, seed=0)
        if not 0 < len(framework) < len(material.structure):
            message = f"an electrode holds {ion} and other elements"
            raise RejectedError(FailureKind.UNSUPPORTED_MATERIAL, f"{material.formula}: {message}")
        return material.structure, framework

    def _relaxed(self, framework: pmg.Structure, request: Request) -> Outcome:
        asked = replace(request, material=Crystal(framework), begun=())
        (outcome,) = self._relaxation.evaluate([asked])
        if outcome.failure is not None:
            message = f"{request.material.formula}, charged: {outcome.failure.message}"
            ended = FailedError if outcome.status is Status.FAILED else RejectedError
            raise ended(outcome.failure.kind, message, outcome.provenance)
        return outcome

    def _corrected(self, electrode: pmg.Structure, per_atom: float) -> float:
        """Corrected energy of the whole cell, eV, from the uncorrected one in eV/atom."""
        return (per_atom + correction_per_atom(electrode, self._settings.correction)) * len(electrode)

    def _energy_of_metal(self) -> float:
        """Of the metal's known ground state with the same potential, eV/atom; elements carry no correction."""
        ion = self._settings.mobile_ion
        phases = ReferenceHull.shipped().known_phases(ion)
        metal = Crystal(phases[0].structure())
        request = Request("metal", Candidate(metal, Origin("reference")), metal, "insertion")
        (outcome,) = self._relaxation.evaluate([request])
        if outcome.failure is not None:
            raise RuntimeError(f"the metal {ion} could not be relaxed: {outcome.failure.message}")
        return outcome.measurements[0].value

    def _provenance(self, charged: pmg.Structure, energy: float, outcome: Outcome) -> dict[str, Any]:
        return {
            "mobile_ion": self._settings.mobile_ion,
            "correction": str(self._settings.correction),
            "metal_energy_per_atom": self._metal,
            "charged": Crystal(charged).to_dict(),
            "charged_energy_per_atom": energy,
            "charged_correction_per_atom": correction_per_atom(charged, self._settings.correction),
            "charged_relaxation": dict(outcome.provenance),
        }


def _check_kept(discharged: pmg.Structure, framework: pmg.Structure, charged: pmg.Structure) -> None:
    """Raises RejectedError where the framework became another structure, so that no ion could be put back."""
    from pymatgen.analysis.structure_matcher import StructureMatcher

    change = charged.volume / discharged.volume - 1
    low, high = VOLUME_CHANGE
    matcher = StructureMatcher(ltol=0.2, stol=0.3, angle_tol=5, primitive_cell=False)
    if not (low <= change <= high and matcher.fit(framework, charged)):
        message = (
            f"{discharged.composition.reduced_formula}: without the ion the framework becomes another structure "
            f"(volume {change:+.0%}), so it is no insertion electrode"
        )
        raise RejectedError(FailureKind.BAD_RESULT, message)
