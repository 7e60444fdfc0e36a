"""Relaxes a crystal with a neural-network potential and reports its energy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import pymatgen.core as pmg
from pydantic import Field

from materials.base import Crystal, Measurement
from materials.evaluation import FailureKind, Request
from materials.potential import UnsupportedElementError
from materials.properties import property_named
from materials.relaxation import Frame, NonFiniteEnergy, Relaxation, RelaxationExploded, relax
from oracles.base import Resources
from oracles.guards import why_unphysical, why_wrong_volume
from oracles.one_by_one import Answer, OneByOneOracle, RejectedError
from oracles.potential_choice import PotentialSettings

# Coarser than a relaxation's noise; the Materials Project labels its structures so.
SYMMETRY_PRECISION = 0.1  # angstrom


class RelaxSettings(PotentialSettings):
    """Relaxation of atoms and cell with a SevenNet potential."""

    kind: Literal["relax"] = "relax"
    fmax: float = Field(default=0.03, gt=0)
    """Relaxed when no force is larger, eV/angstrom."""
    steps: int = Field(default=200, ge=1)
    """Most steps of each optimiser."""
    cell: bool = True
    """Relax the cell too."""
    keep_symmetry: bool = False
    """Hold the space group of the start."""
    resources: ClassVar[Resources] = Resources(memory=1.5)
    typical_seconds: ClassVar[float] = 10.0

    @property
    def measures(self) -> tuple[str, ...]:
        return ("energy_per_atom",)

    def build(self) -> RelaxOracle:
        return RelaxOracle(self)


class RelaxOracle(OneByOneOracle):
    """Answers with the relaxed crystal and its uncorrected energy per atom."""

    def __init__(self, settings: RelaxSettings) -> None:
        self._settings = settings
        self._potential = settings.load()

    def measure(self, request: Request) -> Answer:
        if not (isinstance(request.material, Crystal) and request.material.is_ordered):
            message = "only a crystal without partial occupancies can be relaxed; order it first"
            raise RejectedError(FailureKind.UNSUPPORTED_MATERIAL, f"{request.material.formula}: {message}")
        start = request.material.structure
        reason = why_wrong_volume(start)
        if reason is not None:
            raise RejectedError(FailureKind.UNSUPPORTED_MATERIAL, f"{request.material.formula}: {reason}")
        relaxation = self._relax(start, request.begun)
        provenance = self._provenance(start, relaxation)
        _check(request.material.formula, relaxation, self._settings, provenance)
        energy = Measurement(
            property="energy_per_atom",
            value=relaxation.energy_per_atom,
            unit=property_named("energy_per_atom").unit,
            fidelity=self._settings.fidelity,
            oracle=request.oracle,
        )
        return Answer((energy,), Crystal(relaxation.structure), provenance)

    def _relax(self, structure: pmg.Structure, begun: Sequence[Frame]) -> Relaxation:
        settings = self._settings
        try:
            return relax(
                structure,
                self._potential,
                fmax=settings.fmax,
                steps=settings.steps,
                cell=settings.cell,
                keep_symmetry=settings.keep_symmetry,
                begun=begun,
            )
        except UnsupportedElementError as error:
            raise RejectedError(FailureKind.UNSUPPORTED_ELEMENT, str(error)) from error
        except RelaxationExploded as error:
            raise RejectedError(FailureKind.EXPLODED, str(error)) from error
        except NonFiniteEnergy as error:
            raise RejectedError(FailureKind.NOT_FINITE, str(error)) from error

    def _provenance(self, start: pmg.Structure, relaxation: Relaxation) -> dict[str, Any]:
        return {
            "potential": self._potential.name,
            "version": self._potential.version,
            "correction": "none",
            "fmax": self._settings.fmax,
            "cell": self._settings.cell,
            "keep_symmetry": self._settings.keep_symmetry,
            "optimizer": relaxation.optimizer,
            "steps": relaxation.steps,
            "converged": relaxation.converged,
            "max_force": relaxation.max_force,
            "start_energy_per_atom": relaxation.start_energy_per_atom,
            "volume_change": relaxation.volume_change,
            "spacegroup_before": _spacegroup(start),
            "spacegroup_after": _spacegroup(relaxation.structure),
        }


def _check(formula: str, relaxation: Relaxation, settings: RelaxSettings, provenance: dict[str, Any]) -> None:
    """Raises RejectedError for a relaxation whose energy is not to be trusted."""
    if not relaxation.converged:
        message = (
            f"{formula}: forces on atoms and cell above fmax {settings.fmax:g} after {settings.steps} steps of "
            f"{relaxation.optimizer}; raise steps or fmax"
        )
        raise RejectedError(FailureKind.NOT_CONVERGED, message, provenance)
    reason = why_unphysical(relaxation.structure)
    if reason is not None:
        raise RejectedError(FailureKind.BAD_RESULT, f"{formula}: after relaxation {reason}", provenance)


def _spacegroup(structure: pmg.Structure) -> str | None:
    """The Hermann-Mauguin symbol; None where spglib finds none, as for overlapping atoms."""
    from pymatgen.symmetry.analyzer import SpacegroupAnalyzer, SymmetryUndeterminedError

    try:
        return str(SpacegroupAnalyzer(structure, symprec=SYMMETRY_PRECISION).get_space_group_symbol())
    except SymmetryUndeterminedError:
        return None
