"""How far a relaxed crystal lies above the convex hull of known phases, and whether it is one of them."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, ClassVar, Literal

import pymatgen.core as pmg
from pydantic import Field

from materials.base import Crystal, Measurement
from materials.corrections import CorrectionScheme
from materials.evaluation import FailureKind, Request
from materials.hull import DATA, HullDistance, MixedEnergiesError, ReferenceHull
from materials.properties import property_named
from materials.reference_table import ReferenceFileError
from materials.settings import InputPath
from oracles.base import OracleSettings
from oracles.one_by_one import Answer, OneByOneOracle, RejectedError

SHIPPED_POTENTIAL = "7net-0"
LOWEST = -1.0  # eV/atom below the hull: no reaction of known phases gives so much, so the energy is false


class HullSettings(OracleSettings):
    """Energy above the reference hull, from the energy an earlier oracle measured."""

    kind: Literal["hull"] = "hull"
    reference: tuple[InputPath, ...] = ()
    """Reference files added to the hull that ships, all of its energy source."""
    correction: CorrectionScheme = Field(default=CorrectionScheme.materials_project_2020)
    """Energy corrections of candidate and reference alike; `none` gives no formation energy."""
    typical_seconds: ClassVar[float] = 0.1

    @property
    def requires(self) -> tuple[str, ...]:
        return ("energy_per_atom",)

    @property
    def measures(self) -> tuple[str, ...]:
        # Formation energies compare different anions, which only corrected energies allow.
        corrected = self.correction is not CorrectionScheme.none
        return ("energy_above_hull", *(["formation_energy"] if corrected else []))

    @property
    def fidelity(self) -> str:
        return "potential"

    def model_version(self) -> str:
        return f"reference {_shipped_data()}"

    def misfit(self, earlier: Sequence[OracleSettings]) -> str | None:
        """Refuses energies of another potential than the reference's, and reference files that do not fit."""
        try:
            needed = self.hull().source
        except (ReferenceFileError, MixedEnergiesError) as error:
            return str(error)
        makers = [oracle for oracle in earlier if "energy_per_atom" in oracle.measures]
        if not makers or makers[-1].energy_source == needed.version:
            return None
        return (
            f"{makers[-1].kind} gives energies of {makers[-1].energy_source or 'an unknown source'}, but the "
            f"reference hull holds those of {needed.potential} ({needed.version}), and the two cannot be "
            f"compared; relax with potential: {needed.potential}"
        )

    def hull(self) -> ReferenceHull:
        """The hull of these settings. Raises ReferenceFileError and MixedEnergiesError for unusable files."""
        return ReferenceHull.shipped(self.reference, self.correction, SHIPPED_POTENTIAL)

    def build(self) -> HullOracle:
        return HullOracle(self)


@lru_cache(maxsize=1)
def _shipped_data() -> str:
    digest = hashlib.sha256()
    for path in sorted(DATA.glob(f"reference_{SHIPPED_POTENTIAL}_*.csv.xz")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


class HullOracle(OneByOneOracle):
    """Answers with the signed energy above the hull and, where corrected, the formation energy."""

    def __init__(self, settings: HullSettings) -> None:
        self._settings = settings
        self._hull = settings.hull()

    def measure(self, request: Request) -> Answer:
        energy = _latest_energy(request, self._settings.fidelity)
        if not (isinstance(request.material, Crystal) and request.material.is_ordered):
            message = "only a crystal without partial occupancies has an energy on the hull"
            raise RejectedError(FailureKind.UNSUPPORTED_MATERIAL, f"{request.material.formula}: {message}")
        structure = request.material.structure
        correction = self._hull.correction_per_atom(structure)
        corrected = energy.value + correction
        distance = self._hull.energy_above_hull(structure.composition, corrected)
        _check(request.material.formula, distance)
        provenance = self._provenance(structure, distance) | {
            "correction_per_atom": correction,
            "corrected_energy_per_atom": corrected,
        }
        values = {"energy_above_hull": distance.value}
        if "formation_energy" in self._settings.measures:
            values["formation_energy"] = self._hull.formation_energy(structure.composition, corrected)
        std = math.hypot(distance.std, energy.std or 0.0)
        measurements = tuple(
            Measurement(
                property=name,
                value=value,
                unit=property_named(name).unit,
                fidelity=energy.fidelity,
                oracle=request.oracle,
                std=std or None,  # the relaxed tier has no error of its own that is known
            )
            for name, value in values.items()
        )
        return Answer(measurements, provenance=provenance)

    def _provenance(self, structure: pmg.Structure, distance: HullDistance) -> dict[str, Any]:
        source = self._hull.source
        return {
            "potential": source.potential,
            "version": source.version,
            "correction": str(source.correction),
            "reference": [_shipped_data(), *(path.name for path in self._settings.reference)],
            "decomposition": [vars(phase) for phase in distance.decomposition],
            "rediscovered": self._hull.matching_phase(structure),
        }


def _latest_energy(request: Request, fidelity: str) -> Measurement:
    """The latest energy of the reference's fidelity: DFT that confirmed a doubted material measured another one."""
    for measured in reversed(request.measurements):
        if measured.property == "energy_per_atom" and measured.fidelity == fidelity:
            return measured
    raise ValueError(
        f"{request.oracle}: an earlier oracle must measure energy_per_atom of fidelity {fidelity}"
    )


def _check(formula: str, distance: HullDistance) -> None:
    """Raises RejectedError where the distance is unknown or cannot be true."""
    if not distance.known:
        raise RejectedError(FailureKind.UNKNOWN_REFERENCE, distance.why_unknown)
    if distance.value < LOWEST:
        raise RejectedError(
            FailureKind.BAD_RESULT,
            f"{formula}: {-distance.value:.2f} eV/atom below the hull; the potential is wrong here",
        )
