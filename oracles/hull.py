"""How far a relaxed crystal lies above the convex hull of known phases, and whether it is one of them."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

from materials.base import Measurement
from materials.corrections import CorrectionScheme
from materials.evaluation import FailureKind, Request
from materials.properties import property_named
from oracles.guards import why_repacked
from oracles.one_by_one import Answer, OneByOneOracle, RejectedError
from oracles.reference_choice import ReferenceSettings, judged_energy


class HullSettings(ReferenceSettings):
    """Energy above the reference hull, from the energy an earlier oracle measured.

    With `correction: none` it gives no formation energy.
    """

    kind: Literal["hull"] = "hull"
    typical_seconds: ClassVar[float] = 0.1

    @property
    def measures(self) -> tuple[str, ...]:
        # Formation energies compare different anions, which only corrected energies allow.
        corrected = self.correction is not CorrectionScheme.none
        return ("energy_above_hull", *(["formation_energy"] if corrected else []))

    def build(self) -> HullOracle:
        return HullOracle(self)


class HullOracle(OneByOneOracle):
    """Answers with the signed energy above the hull and, where corrected, the formation energy."""

    def __init__(self, settings: HullSettings) -> None:
        self._settings = settings
        self._hull = settings.hull()

    def measure(self, request: Request) -> Answer:
        energy = judged_energy(request, self._hull)
        structure, distance = energy.structure, energy.distance
        provenance = {
            **self._settings.provenance(self._hull),
            **energy.provenance(),
            "decomposition": [vars(phase) for phase in distance.decomposition],
            "rediscovered": self._hull.matching_phase(structure),
        }
        repacked = why_repacked(structure, distance.value, provenance["rediscovered"])
        if repacked is not None:
            message = f"{request.material.formula}: {repacked}"
            raise RejectedError(FailureKind.DISTRUSTED, message, provenance)
        values = {"energy_above_hull": distance.value}
        if "formation_energy" in self._settings.measures:
            values["formation_energy"] = self._hull.formation_energy(structure.composition, energy.corrected)
        std = math.hypot(distance.std, energy.measured.std or 0.0)
        measurements = tuple(
            Measurement(
                property=name,
                value=value,
                unit=property_named(name).unit,
                fidelity=energy.measured.fidelity,
                oracle=request.oracle,
                std=std or None,  # the relaxed tier has no error of its own that is known
            )
            for name, value in values.items()
        )
        return Answer(measurements, provenance=provenance)
