"""The oracle `md`: trajectories at several temperatures, what they tell of diffusion, and when they tell nothing."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from materials.base import Crystal, content_hash
from materials.calculators import UnsupportedElementError
from materials.evaluation import FailureKind, Outcome, Request
from materials.memory import is_out_of_memory
from materials.potential import Potential, to_atoms
from oracles.conduction.arrhenius import arrhenius, conduction
from oracles.conduction.batched_dynamics import BatchedDynamics
from oracles.conduction.diffusion import FEWEST_FRAMES, Diffusion, diffusion_of, why_too_short
from oracles.conduction.dynamics import Job, Plan, UnusableRunError, simulate
from oracles.conduction.md import (
    FEWEST_TEMPERATURES,
    TIMESTEP,
    TIMESTEP_WITH_HYDROGEN,
    MolecularDynamicsSettings,
)
from oracles.conduction.melting import why_not_held
from oracles.conduction.simulation_cell import SimulationCell, simulation_cell
from oracles.conduction.trajectory import BrokenTrajectoryError, Trajectory
from oracles.one_by_one import Answer, FailedError, NoAnswerError, OneByOneOracle, RejectedError

LARGEST_DRIFT = 0.1  # of the mean temperature; its sampling error is smaller in any run that diffuses


class MolecularDynamicsOracle(OneByOneOracle):
    """Answers with the ion's diffusivity and conductivity at one temperature, and its activation energy."""

    def __init__(self, settings: MolecularDynamicsSettings) -> None:
        self._settings = settings
        self._potential = settings.load()
        self._together: BatchedDynamics | None = None
        if settings.batched:
            assert isinstance(self._potential, Potential)
            self._together = BatchedDynamics(self._potential)

    def evaluate(self, requests: Sequence[Request]) -> Iterator[Outcome]:
        """On a GPU all runs are made beforehand, together; each answer costs its share of their time."""
        if self._together is None:
            yield from super().evaluate(requests)
            return
        began = time.perf_counter()
        with ExitStack() as folders:
            placed = [replace(r, folder=folders.enter_context(work_folder(r))) for r in requests]
            self._together.finish([job for request in placed for job in self._left_of(request)])
            share = (time.perf_counter() - began) / len(requests)
            for outcome in super().evaluate(placed):
                yield replace(outcome, seconds=outcome.seconds + share)

    def _left_of(self, request: Request) -> list[Job]:
        """The runs of a request that can be begun or gone on with; `measure` says what is wrong with the others."""
        assert request.folder is not None
        try:
            cell = self.cell_of(request)
            jobs = [self.job(request, cell, t, request.folder) for t in reversed(self._settings.temperatures)]
            return [job for job in jobs if not job.is_finished]
        except (NoAnswerError, UnsupportedElementError, BrokenTrajectoryError):
            return []

    def cell_of(self, request: Request) -> SimulationCell:
        """The supercell that is simulated. Raises RejectedError."""
        settings = self._settings
        if not isinstance(request.material, Crystal):
            message = f"{request.material.formula}: only a crystal has a trajectory"
            raise RejectedError(FailureKind.UNSUPPORTED_MATERIAL, message)
        self._potential.check_elements(request.material.structure)
        structure = request.material.structure
        return simulation_cell(structure, settings.mobile_ion, settings.supercell, settings.most_atoms)

    def trajectory(
        self, request: Request, cell: SimulationCell, temperature: float, folder: Path
    ) -> Trajectory:
        """The trajectory at one temperature (K), with its equilibration, gone on with where `folder` holds a part.

        Raises UnusableRunError, BrokenTrajectoryError, and FailedError for lack of memory.
        """
        job = self.job(request, cell, temperature, folder)
        try:
            return simulate(job, self._potential.calculator())
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            message = (
                f"{request.material.formula}: {len(job.start)} atoms are too many for the memory, even alone; lower "
                "supercell, or try device: cpu"
            )
            raise FailedError(FailureKind.OUT_OF_MEMORY, message) from None

    def job(self, request: Request, cell: SimulationCell, temperature: float, folder: Path) -> Job:
        """The run at one temperature (K), whose files are in `folder`."""
        plan, start = self.plan(request, cell, temperature), to_atoms(cell.structure)
        return Job(start, plan, folder / f"{temperature:g}K", lambda part: why_not_held(cell, part))

    def plan(self, request: Request, cell: SimulationCell, temperature: float) -> Plan:
        """The run at one temperature (K); its seed follows from candidate, temperature and replicate."""
        settings = self._settings
        hydrogen = "H" in cell.symbols
        timestep = settings.timestep or (TIMESTEP_WITH_HYDROGEN if hydrogen else TIMESTEP)
        seed = int(content_hash(["md", request.candidate.id, temperature, request.replicate]), 16)
        return Plan.lasting(temperature, timestep, settings.equilibration + settings.picoseconds, seed)

    def measure(self, request: Request) -> Answer:
        settings = self._settings
        cell = self.cell_of(request)
        with work_folder(request) as folder:
            points, unusable = self._points(request, cell, folder)
        provenance = self._provenance(request, cell, points, unusable)
        if len(points) < FEWEST_TEMPERATURES:
            raise self._rejection(request, unusable, provenance)
        law = arrhenius(points, self.plan(request, cell, settings.temperature).seed)
        if law.activation_energy <= law.activation_energy_std:
            told = f"activation energy of {law.activation_energy:.2f} +- {law.activation_energy_std:.2f} eV"
            message = f"the diffusivities give an {told}; take temperatures further apart, or longer runs"
            raise RejectedError(
                FailureKind.NOT_CONVERGED, f"{request.material.formula}: {message}", provenance
            )
        provenance["misfit"] = law.misfit
        measurements = conduction(law, cell, settings.temperature, settings.fidelity, request.oracle)
        return Answer(tuple(measurements), provenance=provenance)

    def _points(
        self, request: Request, cell: SimulationCell, folder: Path
    ) -> tuple[list[Diffusion], dict[float, _Unusable]]:
        """The diffusivities, and by temperature why there is none. Hottest first.

        A run too short when it is hot is too short when it is colder; and three are needed, so it ends when they
        cannot be had.
        """
        points: list[Diffusion] = []
        unusable: dict[float, _Unusable] = {}
        for temperature in reversed(self._settings.temperatures):
            found = self._point(request, cell, temperature, folder)
            if isinstance(found, Diffusion):
                points.append(found)
                continue
            unusable[temperature] = found
            left = len(self._settings.temperatures) - len(unusable)
            if found.kind is FailureKind.NOT_CONVERGED or left < FEWEST_TEMPERATURES:
                break
        return points, unusable

    def _point(
        self, request: Request, cell: SimulationCell, temperature: float, folder: Path
    ) -> Diffusion | _Unusable:
        try:
            whole = self.trajectory(request, cell, temperature, folder)
        except UnusableRunError as error:
            return _Unusable(error.kind, str(error))
        except BrokenTrajectoryError as error:
            raise FailedError(FailureKind.BAD_RESULT, str(error)) from error
        plan = self.plan(request, cell, temperature)
        equilibration = round(self._settings.equilibration / plan.interval)
        counted = whole.since(min(equilibration, plan.frames - FEWEST_FRAMES))
        found = diffusion_of(cell, counted, temperature, plan.seed)
        reason = why_too_short(found)
        if reason is not None:
            return _Unusable(FailureKind.NOT_CONVERGED, reason)
        drifted = abs(counted.temperatures.mean() / temperature - 1)
        if drifted > LARGEST_DRIFT:
            message = (
                f"at {temperature:g} K the mean temperature was off by {100 * drifted:.0f} %; halve timestep"
            )
            return _Unusable(FailureKind.BAD_RESULT, message)
        return found

    def _rejection(
        self, request: Request, unusable: Mapping[float, _Unusable], provenance: dict[str, Any]
    ) -> RejectedError:
        kinds = {reason.kind for reason in unusable.values()}
        kind = kinds.pop() if len(kinds) == 1 else FailureKind.NOT_CONVERGED
        reasons = "; ".join(reason.message for reason in unusable.values())
        message = (
            f"{request.material.formula}: fewer than {FEWEST_TEMPERATURES} temperatures tell a diffusivity: {reasons}. "
            "Raise picoseconds, or choose other temperatures"
        )
        return RejectedError(kind, message, provenance)

    def _provenance(
        self,
        request: Request,
        cell: SimulationCell,
        points: list[Diffusion],
        unusable: Mapping[float, _Unusable],
    ) -> dict[str, Any]:
        plan = self.plan(request, cell, self._settings.temperature)
        return {
            "potential": self._potential.name,
            "version": self._potential.version,
            "ensemble": "NVT, Bussi-Donadio-Parrinello",
            "timestep": plan.timestep,
            "frame_interval": plan.interval,
            "repeats": list(cell.repeats),
            "atoms": len(cell.structure),
            "charge": cell.charge,
            "haven_ratio": 1.0,
            "runs": [point.to_dict() for point in points],
            "unusable": {f"{temperature:g}": reason.message for temperature, reason in unusable.items()},
            "kinisi": version("kinisi"),
        }


@dataclass(frozen=True)
class _Unusable:
    """Why a temperature gives no diffusivity."""

    kind: FailureKind
    message: str


@contextmanager
def work_folder(request: Request) -> Iterator[Path]:
    """The folder that outlives an attempt, or a temporary one outside of an executor."""
    if request.folder is not None:
        yield request.folder
    else:
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder)
