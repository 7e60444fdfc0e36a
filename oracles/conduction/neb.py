"""Migration barriers by nudged elastic bands with a potential: which hops a vacancy must make to cross the crystal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar, Literal

import pymatgen.core as pmg
from pydantic import Field

from materials.base import Crystal, Measurement
from materials.evaluation import FailureKind, Request
from materials.properties import property_named
from oracles.base import OracleSettings
from oracles.conduction.hop_survey import Survey
from oracles.conduction.mobile_ion import MobileIonSettings
from oracles.one_by_one import Answer, OneByOneOracle, RejectedError
from oracles.potential_choice import PotentialSettings


class NebSettings(MobileIonSettings, PotentialSettings):
    """Migration barriers of a vacancy by climbing-image nudged elastic bands with a potential."""

    kind: Literal["neb"] = "neb"
    dimensions: Literal[1, 2, 3] = 3
    """Independent directions in which its hops must reach to infinity."""
    image_spacing: float = Field(default=0.8, gt=0.1)
    """A hop gets as many images that they are no farther apart than this, angstrom; one is always on its middle."""
    fmax: float = Field(default=0.05, gt=0)
    """Largest force on a converged band, eV/angstrom; ends are relaxed to half of it, the crystal to a fifth."""
    steps: int = Field(default=300, ge=1)
    """Most steps of one relaxation and of one band."""
    image_distance: float = Field(default=9.0, ge=5)
    """Least distance of a vacancy from its periodic images, angstrom."""
    longest_hop: float = Field(default=6.0, gt=0)
    """Longest hop, angstrom."""
    most_hops: int = Field(default=12, ge=1)
    """Most symmetry-distinct hops to compute; a material that needs more is rejected."""
    most_atoms: int = Field(default=200, ge=2)
    """Most atoms of the supercell; a material that needs more is rejected."""
    walltime: float | None = Field(default=7200, gt=0)
    """Seconds after which one evaluation is given up; asked again, it continues behind the last finished hop."""
    typical_seconds: ClassVar[float] = 600.0

    @property
    def continues(self) -> bool:
        return True

    @property
    def measures(self) -> tuple[str, ...]:
        return ("migration_barrier",)

    def misfit(self, earlier: Sequence[OracleSettings]) -> str | None:
        return self.why_strained(earlier)

    def build(self) -> NebOracle:
        return NebOracle(self)


class NebOracle(OneByOneOracle):
    """Measures the lowest barrier at which a vacancy of the mobile ion crosses the whole crystal."""

    def __init__(self, settings: NebSettings) -> None:
        self._settings = settings
        self._potential = settings.load()

    def measure(self, request: Request) -> Answer:
        settings = self._settings
        structure = self._checked(request)
        survey = Survey(structure, settings, self._potential, request.folder)
        found = survey.run()
        energy = found.barriers[settings.dimensions - 1]
        measurement = Measurement(
            property="migration_barrier",
            value=energy,
            unit=property_named("migration_barrier").unit,
            fidelity=settings.fidelity,
            oracle=request.oracle,
            std=found.std,
        )
        provenance = {
            "potential": self._potential.name,
            "version": self._potential.version,
            "mechanism": "vacancy",
            "dimensions": settings.dimensions,
            "barriers": {f"{i}D": e if math.isfinite(e) else None for i, e in enumerate(found.barriers, 1)},
            **found.provenance,
        }
        return Answer((measurement,), provenance=provenance, artifacts={"path": {"path": str(found.path)}})

    def _checked(self, request: Request) -> pmg.Structure:
        material, ion = request.material, self._settings.mobile_ion
        if not isinstance(material, Crystal):
            raise _unsupported(f"{material.formula}: only a crystal has sites between which an ion hops")
        structure = material.structure
        elements = {element.symbol for element in structure.composition.elements}
        if not material.is_ordered:
            raise _unsupported(
                f"{material.formula}: sites are partly occupied; order them first, or use bvse"
            )
        if ion not in elements:
            raise _unsupported(f"{material.formula}: it holds no {ion}, so nothing moves")
        if len(elements) == 1:
            raise _unsupported(f"{material.formula}: it holds nothing but the mobile ion")
        self._potential.check_elements(structure)
        return structure


def _unsupported(message: str) -> RejectedError:
    return RejectedError(FailureKind.UNSUPPORTED_MATERIAL, message)
