"""The electrochemical window of a material, and how it reacts with electrodes, from the reference hull."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import pymatgen.core as pmg
from pydantic import Field, field_validator, model_validator

from materials.base import Measurement
from materials.corrections import require_corrected
from materials.electrochemistry import (
    Electrochemistry,
    InterfaceReaction,
    UnknownReferenceError,
    Window,
    ion_charge,
)
from materials.evaluation import FailureKind, Request
from materials.properties import property_named
from oracles.one_by_one import Answer, OneByOneOracle, RejectedError
from oracles.reference_choice import ReferenceSettings, judged_energy

# The layered oxide that most lithium batteries began with; other ions have no electrode of its rank.
USUAL_CATHODES = {"Li": ("LiCoO2",)}


class ElectrochemistrySettings(ReferenceSettings):
    """Electrochemical window and reactions with electrodes, from the energy an earlier oracle measured."""

    kind: Literal["electrochemistry"] = "electrochemistry"
    mobile_ion: str = "Li"
    """The element whose metal potentials are measured against."""
    electrodes: tuple[str, ...] | None = None
    """Formulas of what the material touches; by default the mobile ion's metal, and LiCoO2 for Li."""
    voltage: float | None = Field(default=None, ge=0)
    """V against the metal at which other electrodes exchange the ion with a circuit; by default they do not."""
    typical_seconds: ClassVar[float] = 0.1

    @field_validator("mobile_ion")
    @classmethod
    def _forms_a_cation(cls, symbol: str) -> str:
        if not pmg.Element.is_valid_symbol(symbol):
            raise ValueError(f"{symbol!r} is not the symbol of an element, such as Li")
        ion_charge(symbol)
        return symbol

    @field_validator("electrodes")
    @classmethod
    def _are_formulas(cls, formulas: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for formula in formulas or ():
            try:
                known = bool(pmg.Composition(formula, strict=True))
            except ValueError:
                known = False
            if not known:
                raise ValueError(f"{formula!r} is not a formula, such as LiCoO2")
        return formulas

    @model_validator(mode="after")
    def _corrected(self) -> ElectrochemistrySettings:
        require_corrected(self.correction, "an electrochemical window")
        return self

    @property
    def needed_elements(self) -> tuple[str, ...]:
        return (self.mobile_ion,)

    @property
    def touched(self) -> tuple[str, ...]:
        """The formulas of all electrodes."""
        if self.electrodes is not None:
            return self.electrodes
        return (self.mobile_ion, *USUAL_CATHODES.get(self.mobile_ion, ()))

    @property
    def measures(self) -> tuple[str, ...]:
        interface = ["interface_reaction_energy"] if self.touched else []
        return ("reduction_potential", "oxidation_potential", "electrochemical_window", *interface)

    def build(self) -> ElectrochemistryOracle:
        return ElectrochemistryOracle(self)


class ElectrochemistryOracle(OneByOneOracle):
    """Answers with the window and the most negative reaction energy of all electrodes."""

    def __init__(self, settings: ElectrochemistrySettings) -> None:
        self._settings = settings
        self._hull = settings.hull()

    def measure(self, request: Request) -> Answer:
        settings = self._settings
        energy = judged_energy(request, self._hull)
        composition = energy.structure.composition
        if composition[settings.mobile_ion] == 0:
            message = f"{request.material.formula}: it holds no {settings.mobile_ion} to give off"
            raise RejectedError(FailureKind.UNSUPPORTED_MATERIAL, message)
        material = Electrochemistry(self._hull, composition, energy.corrected, energy.measured.std or 0.0)
        try:
            window = material.window(settings.mobile_ion)
            interfaces = [self._interface(material, electrode) for electrode in settings.touched]
        except UnknownReferenceError as error:
            raise RejectedError(FailureKind.UNKNOWN_REFERENCE, str(error)) from error
        measurements = tuple(
            Measurement(
                property=name,
                value=value,
                unit=property_named(name).unit,
                fidelity=energy.measured.fidelity,
                oracle=request.oracle,
                std=std or None,  # the relaxed tier has no error of its own that is known
            )
            for name, (value, std) in _values(window, interfaces).items()
        )
        provenance = {
            **settings.provenance(self._hull),
            **energy.provenance(),
            "mobile_ion": settings.mobile_ion,
            "energy_above_hull": energy.distance.value,
            "reduction": dict(window.reduction.reaction),
            "oxidation": dict(window.oxidation.reaction),
            "interfaces": [_as_json(interface) for interface in interfaces],
        }
        return Answer(measurements, provenance=provenance)

    def _interface(self, material: Electrochemistry, electrode: str) -> InterfaceReaction:
        ion = self._settings.mobile_ion
        metal = pmg.Composition(electrode).reduced_formula == pmg.Composition(ion).reduced_formula
        return material.interface(electrode, ion, None if metal else self._settings.voltage)


def _values(window: Window, interfaces: list[InterfaceReaction]) -> dict[str, tuple[float, float]]:
    """Value and std by property."""
    values = {
        "reduction_potential": (window.reduction.potential, window.reduction.std),
        "oxidation_potential": (window.oxidation.potential, window.oxidation.std),
        "electrochemical_window": (window.width, window.width_std),
    }
    if interfaces:
        worst = min(interfaces, key=lambda interface: interface.energy)
        values["interface_reaction_energy"] = (worst.energy, worst.std)
    return values


def _as_json(interface: InterfaceReaction) -> dict[str, Any]:
    return {
        "electrode": interface.electrode,
        "reaction_energy": interface.energy,
        "std": interface.std,
        "fraction": interface.fraction,
        "products": [vars(phase) for phase in interface.products],
    }
