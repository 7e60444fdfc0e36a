"""Relaxes a crystal with a neural-network potential and reports its energy."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from typing import Any, ClassVar, Literal

import numpy as np
import pymatgen.core as pmg
from pydantic import Field, model_validator

from materials.base import Crystal, Measurement
from materials.batched_relaxation import BatchedRelaxation, can_batch
from materials.calculators import CalculatorFaultError, UnsupportedElementError
from materials.evaluation import FailureKind, Outcome, Request
from materials.memory import is_out_of_memory
from materials.potential import Potential
from materials.properties import STRAINS, property_named
from materials.relaxation import Frame, NonFiniteEnergy, Relaxation, RelaxationError, relax
from oracles.base import OracleSettings
from oracles.guards import why_unphysical, why_wrong_volume
from oracles.one_by_one import (
    Answer,
    FailedError,
    NoAnswerError,
    OneByOneOracle,
    RejectedError,
    outcome_of,
    without_potential,
)
from oracles.potential_choice import PotentialSettings

# Coarser than a relaxation's noise; the Materials Project labels its structures so.
SYMMETRY_PRECISION = 0.1  # angstrom
LARGEST_STRAIN = 0.5
BATCH = 512
"""Structures handed to a GPU at once: several times what it holds at a time."""


class RelaxSettings(PotentialSettings):
    """Relaxation of atoms and cell with a potential."""

    kind: Literal["relax"] = "relax"
    fmax: float = Field(default=0.03, gt=0)
    """Relaxed when no force is larger, eV/angstrom."""
    steps: int = Field(default=200, ge=1)
    """Most steps of each optimiser."""
    cell: bool = True
    """Relax the cell too."""
    keep_symmetry: bool = False
    """Hold the space group of the start."""
    pressure: float = Field(default=0.0, ge=-20, le=1000)
    """Hydrostatic pressure, GPa, negative for tension; with one the enthalpy is minimised and measured."""
    strain: float | tuple[float, float, float, float, float, float] | None = None
    """Strain of the cell before its atoms are relaxed: one number along all axes, or xx, yy, zz, yz, xz, xy, the last
    three being twice the strain (Voigt). Needs `cell: false`."""
    memory: ClassVar[float] = 1.5
    typical_seconds: ClassVar[float] = 10.0

    @model_validator(mode="after")
    def _strain_is_held(self) -> RelaxSettings:
        if self.strain is None:
            return self
        if self.cell:
            raise ValueError("a strain would be relaxed away with the cell; add  cell: false")
        largest = float(np.abs(self.strain).max())
        if largest > LARGEST_STRAIN:
            raise ValueError(
                f"a strain of {largest:g} tears any crystal; it is a fraction, so 2 % are 0.02 (limit {LARGEST_STRAIN})"
            )
        return self

    @model_validator(mode="after")
    def _device_is_usable(self) -> RelaxSettings:
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
        return self.device != "cpu" and not self.keep_symmetry and self.is_sevennet and can_batch()

    @property
    def preferred_batch(self) -> int:
        return BATCH if self.batched else 1

    @property
    def measures(self) -> tuple[str, ...]:
        return ("energy_per_atom", *(["enthalpy_per_atom"] if self.pressure else []))

    @property
    def why_incomparable(self) -> str | None:
        if self.strain is not None:
            return "holds the cell under a strain"
        if self.pressure:
            return f"relaxes under a pressure of {self.pressure:g} GPa"
        return None if self.cell else "holds the cell"

    @property
    def conditions(self) -> dict[str, float]:
        """Under which it leaves a crystal: the pressure (GPa) and the strain, where there is one."""
        pressure = {"pressure": self.pressure} if self.pressure else {}
        if self.strain is None:
            return pressure
        if isinstance(self.strain, float):
            return pressure | {"strain": self.strain}
        components = dict(zip(STRAINS, self.strain, strict=True))
        return pressure | {name: value for name, value in components.items() if value}

    def misfit(self, earlier: Sequence[OracleSettings]) -> str | None:
        """Refuses a strain of a cell that is not at rest itself."""
        before = next((o for o in reversed(earlier) if isinstance(o, RelaxSettings)), None)
        if self.strain is None or before is None or not before.conditions:
            return None
        return f"a strain counts from a cell at rest, but the relax before it {before.why_incomparable}"

    def strained(self, structure: pmg.Structure) -> pmg.Structure:
        """The structure under `strain`, atoms following the cell; the structure itself where there is none."""
        if self.strain is None:
            return structure
        from ase.stress import voigt_6_to_full_3x3_strain

        voigt = (*[self.strain] * 3, 0, 0, 0) if isinstance(self.strain, float) else self.strain
        cell = structure.lattice.matrix @ voigt_6_to_full_3x3_strain(voigt)
        return pmg.Structure(cell, structure.species, structure.frac_coords)

    def build(self) -> RelaxOracle:
        return RelaxOracle(self)


class RelaxOracle(OneByOneOracle):
    """Answers with the relaxed crystal and its uncorrected energy per atom."""

    def __init__(self, settings: RelaxSettings) -> None:
        self._settings = settings
        self._potential = settings.load()
        self._together: BatchedRelaxation | None = None
        if settings.batched:
            assert isinstance(self._potential, Potential)
            self._together = BatchedRelaxation(
                self._potential,
                fmax=settings.fmax,
                steps=settings.steps,
                cell=settings.cell,
                pressure=settings.pressure,
            )

    def measure(self, request: Request) -> Answer:
        start = self._start_of(request)
        return self._answer(request, start, self._relax(start, request.begun))

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
        asked: list[tuple[Request, pmg.Structure]] = []
        for request in requests:
            try:
                asked.append((request, self._start_of(request)))
            except NoAnswerError as reason:
                yield outcome_of(request, reason, 0.0)
        for place, end in together.relax([start for _, start in asked]):
            request, start = asked[place]
            try:
                answer: Answer | NoAnswerError = self._answer(request, start, end)
            except NoAnswerError as reason:
                answer = reason
            yield outcome_of(request, answer, (time.perf_counter() - began) / len(requests))

    def _start_of(self, request: Request) -> pmg.Structure:
        """The structure to relax. Raises RejectedError for what cannot be relaxed."""
        if not (isinstance(request.material, Crystal) and request.material.is_ordered):
            message = "only a crystal without partial occupancies can be relaxed; order it first"
            raise RejectedError(FailureKind.UNSUPPORTED_MATERIAL, f"{request.material.formula}: {message}")
        start = self._settings.strained(request.material.structure)
        reason = why_wrong_volume(start)
        if reason is not None:
            raise RejectedError(FailureKind.UNSUPPORTED_MATERIAL, f"{request.material.formula}: {reason}")
        return start

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
                pressure=settings.pressure,
                begun=begun,
            )
        except (UnsupportedElementError, CalculatorFaultError, RelaxationError) as error:
            return error

    def _answer(self, request: Request, start: pmg.Structure, end: Relaxation | Exception) -> Answer:
        """What the end of a relaxation says. Raises NoAnswerError where its energy is not to be had or trusted."""
        formula = request.material.formula
        if isinstance(end, Exception):
            raise _reason(formula, end) from end
        provenance = self._provenance(start, end)
        _check(formula, end, self._settings, provenance)
        values = {"energy_per_atom": end.energy_per_atom, "enthalpy_per_atom": end.enthalpy_per_atom}
        measurements = tuple(
            Measurement(
                property=name,
                value=values[name],
                unit=property_named(name).unit,
                fidelity=self._settings.fidelity,
                oracle=request.oracle,
                conditions=self._settings.conditions,
            )
            for name in self._settings.measures
        )
        return Answer(measurements, Crystal(end.structure), provenance)

    def _provenance(self, start: pmg.Structure, relaxation: Relaxation) -> dict[str, Any]:
        return {
            "potential": self._potential.name,
            "version": self._potential.version,
            "correction": "none",
            "fmax": self._settings.fmax,
            "cell": self._settings.cell,
            "keep_symmetry": self._settings.keep_symmetry,
            "pressure": self._settings.pressure,
            "strain": self._settings.strain,
            "optimizer": relaxation.optimizer,
            "steps": relaxation.steps,
            "converged": relaxation.converged,
            "max_force": relaxation.max_force,
            "start_energy_per_atom": relaxation.start_energy_per_atom,
            "volume_change": relaxation.volume_change,
            "spacegroup_before": _spacegroup(start),
            "spacegroup_after": _spacegroup(relaxation.structure),
        }


def _reason(formula: str, error: Exception) -> NoAnswerError:
    """Why a relaxation has no end, in the loop's words."""
    if isinstance(error, UnsupportedElementError | CalculatorFaultError):
        return without_potential(error)
    if is_out_of_memory(error):
        message = (
            f"{formula}: too large for the memory of this GPU, even alone; try device: cpu, or a smaller cell"
        )
        return FailedError(FailureKind.OUT_OF_MEMORY, message)
    kind = FailureKind.NOT_FINITE if isinstance(error, NonFiniteEnergy) else FailureKind.EXPLODED
    return RejectedError(kind, str(error))


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
