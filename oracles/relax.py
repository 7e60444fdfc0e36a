"""Relaxes a crystal with a neural-network potential and reports its energy."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from typing import Any, ClassVar, Literal

import pymatgen.core as pmg
from pydantic import Field, model_validator

from materials.base import Crystal, Measurement
from materials.batched_relaxation import BatchedRelaxation, can_batch
from materials.evaluation import FailureKind, Outcome, Request
from materials.memory import is_out_of_memory
from materials.potential import UnsupportedElementError
from materials.properties import property_named
from materials.relaxation import (
    Frame,
    NonFiniteEnergy,
    Relaxation,
    RelaxationError,
    RelaxationExploded,
    relax,
)
from oracles.base import Resources
from oracles.guards import why_unphysical, why_wrong_volume
from oracles.one_by_one import (
    Answer,
    FailedError,
    NoAnswerError,
    OneByOneOracle,
    RejectedError,
    outcome_of,
)
from oracles.potential_choice import PotentialSettings

# Coarser than a relaxation's noise; the Materials Project labels its structures so.
SYMMETRY_PRECISION = 0.1  # angstrom
BATCH = 512
"""Structures handed to a GPU at once: enough for several times what it holds at a time."""


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
    typical_seconds: ClassVar[float] = 10.0

    @model_validator(mode="after")
    def _device_usable(self) -> RelaxSettings:
        if self.device == "cuda" and find_spec("torch_sim") is None:
            python = ".".join(map(str, sys.version_info[:2]))
            raise ValueError(
                "device: cuda relaxes in batches and needs torch-sim, which is not installed; on Python 3.12 or newer "
                f"(this is {python}) run  pip install 'matloop[gpu]'  or leave out `device`"
            )
        return self

    @property
    def batched(self) -> bool:
        """Whether many structures are relaxed at once, on a GPU; with a kept symmetry each is relaxed alone."""
        return self.device != "cpu" and not self.keep_symmetry and can_batch()

    @property
    def preferred_batch(self) -> int:
        return BATCH if self.batched else 1

    @property
    def resources(self) -> Resources:  # type: ignore[override]  # depends on the machine
        return Resources(memory=1.5, gpus=int(self.batched))

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
        self._together: BatchedRelaxation | None = None
        if settings.batched:
            self._together = BatchedRelaxation(
                self._potential, fmax=settings.fmax, steps=settings.steps, cell=settings.cell
            )

    def measure(self, request: Request) -> Answer:
        return self._answer(request, self._relax(_start_of(request), request.begun))

    def evaluate(self, requests: Sequence[Request]) -> Iterator[Outcome]:
        if self._together is None:
            yield from super().evaluate(requests)
        else:
            yield from self._evaluate_together(requests, self._together)

    def _evaluate_together(
        self, requests: Sequence[Request], together: BatchedRelaxation
    ) -> Iterator[Outcome]:
        """As `evaluate`; each answer costs its share of the time since the batch began."""
        began = time.perf_counter()
        asked, starts = [], []
        for request in requests:
            try:
                starts.append(_start_of(request))
                asked.append(request)
            except NoAnswerError as reason:
                yield outcome_of(request, reason, 0.0)
        for place, end in together.relax(starts):
            try:
                answer: Answer | NoAnswerError = self._answer(asked[place], end)
            except NoAnswerError as reason:
                answer = reason
            yield outcome_of(asked[place], answer, (time.perf_counter() - began) / len(requests))

    def _relax(self, structure: pmg.Structure, begun: Sequence[Frame]) -> Relaxation | Exception:
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
        except (UnsupportedElementError, RelaxationError) as error:
            return error

    def _answer(self, request: Request, end: Relaxation | Exception) -> Answer:
        """What the end of a relaxation says. Raises NoAnswerError where its energy is not to be had or trusted."""
        if isinstance(end, Exception):
            raise _reason(request.material.formula, end) from end
        provenance = self._provenance(_start_of(request), end)
        _check(request.material.formula, end, self._settings, provenance)
        energy = Measurement(
            property="energy_per_atom",
            value=end.energy_per_atom,
            unit=property_named("energy_per_atom").unit,
            fidelity=self._settings.fidelity,
            oracle=request.oracle,
        )
        return Answer((energy,), Crystal(end.structure), provenance)

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


def _start_of(request: Request) -> pmg.Structure:
    """The structure to relax. Raises RejectedError for what cannot be relaxed."""
    if not (isinstance(request.material, Crystal) and request.material.is_ordered):
        message = "only a crystal without partial occupancies can be relaxed; order it first"
        raise RejectedError(FailureKind.UNSUPPORTED_MATERIAL, f"{request.material.formula}: {message}")
    start = request.material.structure
    reason = why_wrong_volume(start)
    if reason is not None:
        raise RejectedError(FailureKind.UNSUPPORTED_MATERIAL, f"{request.material.formula}: {reason}")
    return start


def _reason(formula: str, error: Exception) -> NoAnswerError:
    """Why a relaxation has no end, in the loop's words."""
    if isinstance(error, UnsupportedElementError):
        return RejectedError(FailureKind.UNSUPPORTED_ELEMENT, str(error))
    if isinstance(error, RelaxationExploded):
        return RejectedError(FailureKind.EXPLODED, str(error))
    if isinstance(error, NonFiniteEnergy):
        return RejectedError(FailureKind.NOT_FINITE, str(error))
    if is_out_of_memory(error):
        message = (
            f"{formula}: too large for the memory of this GPU, even alone; try device: cpu, or a smaller cell"
        )
        return FailedError(FailureKind.OUT_OF_MEMORY, message)
    raise error


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
