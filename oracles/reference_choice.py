"""The part of a block that says which reference hull an oracle judges by, and the energy it judges."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import pymatgen.core as pmg
from pydantic import Field

from materials.base import Crystal, Measurement
from materials.corrections import CorrectionScheme
from materials.evaluation import FailureKind, Request
from materials.hull import DATA, HullDistance, MixedEnergiesError, ReferenceHull
from materials.reference_table import ReferenceFileError
from materials.settings import InputPath
from oracles.base import OracleSettings
from oracles.one_by_one import RejectedError

SHIPPED_POTENTIAL = "7net-0"
LOWEST = -1.0  # eV/atom below the hull: no reaction of known phases gives so much, so the energy is false


class ReferenceSettings(OracleSettings):
    """An oracle that compares the energy an earlier one measured with known phases."""

    reference: tuple[InputPath, ...] = ()
    """Reference files added to the hull that ships, all of its energy source."""
    correction: CorrectionScheme = Field(default=CorrectionScheme.materials_project_2020)
    """Energy corrections of candidate and reference alike."""

    @property
    def requires(self) -> tuple[str, ...]:
        return ("energy_per_atom",)

    @property
    def fidelity(self) -> str:
        return "potential"

    def model_version(self) -> str:
        return f"reference {shipped_data()}"

    def misfit(self, earlier: Sequence[OracleSettings]) -> str | None:
        """Refuses energies of another potential than the reference's, and reference files that do not fit."""
        try:
            needed = self.hull().source
        except (ReferenceFileError, MixedEnergiesError) as error:
            return str(error)
        makers = [oracle for oracle in earlier if "energy_per_atom" in oracle.measures]
        if not makers:
            return None
        if makers[-1].why_incomparable is not None:
            return (
                f"{makers[-1].kind} {makers[-1].why_incomparable}, but the reference hull holds energies of phases "
                "relaxed with their cell, without pressure or strain, and the two cannot be compared; relax freely "
                "before the hull"
            )
        if makers[-1].energy_source == needed.version:
            return None
        return (
            f"{makers[-1].kind} gives energies of {makers[-1].energy_source or 'an unknown source'}, but the "
            f"reference hull holds those of {needed.potential} ({needed.version}), and the two cannot be "
            f"compared; relax with potential: {needed.potential}"
        )

    def hull(self) -> ReferenceHull:
        """The hull of these settings. Raises ReferenceFileError and MixedEnergiesError for unusable files."""
        return ReferenceHull.shipped(self.reference, self.correction, SHIPPED_POTENTIAL)

    def provenance(self, hull: ReferenceHull) -> dict[str, Any]:
        """What the energies compared are, as JSON."""
        return {
            "potential": hull.source.potential,
            "version": hull.source.version,
            "correction": str(hull.source.correction),
            "reference": [shipped_data(), *(path.name for path in self.reference)],
        }


@lru_cache(maxsize=1)
def shipped_data() -> str:
    """A hash of the reference files that ship."""
    digest = hashlib.sha256()
    for path in sorted(DATA.glob(f"reference_{SHIPPED_POTENTIAL}_*.csv.xz")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


@dataclass(frozen=True)
class JudgedEnergy:
    """A crystal's energy on a reference hull; energies in eV/atom."""

    structure: pmg.Structure
    measured: Measurement
    correction: float
    distance: HullDistance

    @property
    def corrected(self) -> float:
        return self.measured.value + self.correction

    def provenance(self) -> Mapping[str, Any]:
        """As JSON."""
        return {"correction_per_atom": self.correction, "corrected_energy_per_atom": self.corrected}


def latest_energy(request: Request) -> Measurement:
    """The latest energy of a potential: DFT that confirmed a doubted material measured another one."""
    for measured in reversed(request.measurements):
        if measured.property == "energy_per_atom" and measured.fidelity == "potential":
            return measured
    raise ValueError(f"{request.oracle}: an earlier oracle must measure energy_per_atom with a potential")


def judged_energy(request: Request, hull: ReferenceHull) -> JudgedEnergy:
    """The energy an earlier oracle measured. Raises RejectedError where the hull cannot judge it, or it is false."""
    energy, formula = latest_energy(request), request.material.formula
    if not (isinstance(request.material, Crystal) and request.material.is_ordered):
        message = "only a crystal without partial occupancies has an energy on the hull"
        raise RejectedError(FailureKind.UNSUPPORTED_MATERIAL, f"{formula}: {message}")
    structure = request.material.structure
    correction = hull.correction_per_atom(structure)
    distance = hull.energy_above_hull(structure.composition, energy.value + correction)
    if not distance.known:
        raise RejectedError(FailureKind.UNKNOWN_REFERENCE, distance.why_unknown)
    if distance.value < LOWEST:
        raise RejectedError(
            FailureKind.BAD_RESULT,
            f"{formula}: {-distance.value:.2f} eV/atom below the hull; the potential is wrong here",
        )
    return JudgedEnergy(structure, energy, correction, distance)
