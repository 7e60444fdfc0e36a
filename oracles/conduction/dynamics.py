"""Molecular dynamics at constant volume and temperature that goes on where it was stopped.

The thermostat is stochastic velocity rescaling (Bussi, Donadio, Parrinello, J. Chem. Phys. 126, 014101 (2007),
doi:10.1063/1.2408420). It samples the canonical ensemble also in small, stiff cells, where a Nose-Hoover chain may
not be ergodic; it multiplies all momenta by one number close to 1, so it hardly disturbs diffusion, as Langevin
friction would; and its only memory is the state of a random generator, so a checkpoint is small and exact.

What moves the atoms is handed in: ASE here, many runs at once in `batched_dynamics`. Both draw the same noise
from each run's own generator and write the same files, so one goes on with what the other began.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from materials.evaluation import FailureKind
from oracles.conduction.trajectory import (
    Checkpoint,
    Trajectory,
    read_checkpoint,
    read_end,
    read_trajectory,
    write_checkpoint,
    write_chunk,
    write_end,
)

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import Calculator

THERMOSTAT_TIME = 100.0  # fs, of the order of the slowest vibrations
FRAME_TIME = 50.0  # fs between frames, about; an ion vibrates many times between two hops
FRAMES_PER_CHECKPOINT = 10
HOTTEST = (
    10.0  # times the temperature asked for; the smallest cell, two atoms, is so hot in one frame of 700,000
)
LOWEST_ENERGY = -0.5  # eV/atom below the start, which is at rest: only a hole in the potential is so deep

Watch = Callable[[Trajectory], str | None]
"""Looks at the frames since the last checkpoint; says why the run must not go on, or None."""


class UnusableRunError(Exception):
    """A run that ended before its time, because what it simulates is no longer the material asked about."""

    def __init__(self, kind: FailureKind, message: str) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True)
class Plan:
    """One run of `frames` frames. temperature: K; timestep: fs; seed: of all its chance."""

    temperature: float
    timestep: float
    frames: int
    seed: int

    @classmethod
    def lasting(cls, temperature: float, timestep: float, picoseconds: float, seed: int) -> Plan:
        """A run of this length, in whole frames."""
        one = cls(temperature, timestep, 1, seed)
        return replace(one, frames=max(1, round(picoseconds / one.interval)))

    @property
    def steps_per_frame(self) -> int:
        return max(1, round(FRAME_TIME / self.timestep))

    @property
    def interval(self) -> float:
        """Picoseconds between two frames."""
        return self.steps_per_frame * self.timestep / 1000.0


@dataclass(frozen=True)
class Job:
    """One run to be done: its atoms at rest, its plan, the folder of its files, and what looks after it."""

    start: Atoms
    plan: Plan
    folder: Path
    watch: Watch

    @property
    def is_finished(self) -> bool:
        """Whether nothing is left to do, because all frames are there or the run came to a bad end.

        Raises BrokenTrajectoryError.
        """
        if read_end(self.folder) is not None:
            return True
        found = read_checkpoint(self.folder)
        return found is not None and found.frames >= self.plan.frames

    def trajectory(self) -> Trajectory:
        """The whole trajectory of a finished run. Raises UnusableRunError and BrokenTrajectoryError."""
        end = read_end(self.folder)
        if end is not None:
            raise UnusableRunError(*end)
        return read_trajectory(self.folder, self.plan.frames, self.plan.interval)


class Mover(Protocol):
    """Moves the atoms of one or more runs of the same step by the thermostat above."""

    def energies(self, atoms: Sequence[Atoms]) -> list[float]:
        """Potential energies, eV."""
        ...

    def begin(self, runs: Sequence[Run]) -> None:
        """Takes these runs on, and no others, from where their atoms are."""
        ...

    def frame(self) -> list[float]:
        """Moves the atoms of each by the steps of one frame; gives their potential energies, eV."""
        ...


def finish(jobs: Sequence[Job], mover: Mover) -> None:
    """Does what is left of jobs, all together; they have the same step.

    With ASE the trajectory does not depend on where earlier runs were stopped, bit for bit, on one machine with one
    thread count. Raises OSError (a full disk), BrokenTrajectoryError, and what the potential raises.
    """
    runs = [Run(job) for job in jobs if not job.is_finished]
    for run, energy in zip(runs, mover.energies([run.job.start for run in runs]), strict=True):
        run.start_energy = energy / len(run.atoms)
    while runs:
        mover.begin(runs)
        while all(run.goes_on for run in runs):
            for run, energy in zip(runs, mover.frame(), strict=True):
                run.note(energy / len(run.atoms))
        runs = [run for run in runs if run.goes_on]


def simulate(job: Job, calculator: Calculator) -> Trajectory:
    """Does what is left of one job by ASE, and gives the whole trajectory. Raises UnusableRunError, and as `finish`."""
    if not job.is_finished:
        finish([job], _Alone(calculator))
    return job.trajectory()


class Run:
    """A run on its way, from its last checkpoint on.

    atoms: as they are now, unwrapped, without a calculator. random: of all its chance. start_energy: eV/atom.
    """

    def __init__(self, job: Job) -> None:
        from ase.constraints import FixCom

        job.folder.mkdir(parents=True, exist_ok=True)
        self.job = job
        self.goes_on = True
        self.start_energy = -np.inf
        self.random = np.random.Generator(np.random.PCG64(job.plan.seed))
        self.atoms = job.start.copy()
        self.atoms.set_constraint(FixCom())  # single-precision forces do not sum to zero
        self._frames = 0
        self._chunk: list[tuple[NDArray[np.float32], float, float]] = []
        found = read_checkpoint(job.folder)
        if found is None:
            self._give_momenta()
        else:
            self._restore(found)

    def _give_momenta(self) -> None:
        from ase.md.velocitydistribution import MaxwellBoltzmannDistribution, Stationary

        MaxwellBoltzmannDistribution(
            self.atoms, temperature_K=self.job.plan.temperature, rng=self.random, force_temp=True
        )
        Stationary(self.atoms, preserve_temperature=True)

    def _restore(self, found: Checkpoint) -> None:
        self._frames = found.frames
        self.random.bit_generator.state = found.random_state
        self.atoms.set_positions(found.positions, apply_constraint=False)
        self.atoms.set_momenta(found.momenta, apply_constraint=False)

    def note(self, energy: float) -> None:
        """Takes down the frame that the atoms are at, of this potential energy (eV/atom), and judges it."""
        temperature = float(self.atoms.get_temperature())
        moved = (self.atoms.get_positions() - self.job.start.get_positions()).astype(np.float32)
        self._chunk.append((moved, energy, temperature))
        fault = self._fault(energy, temperature)
        left = self.job.plan.frames - self._frames - len(self._chunk)
        if fault is None and (left == 0 or len(self._chunk) == FRAMES_PER_CHECKPOINT):
            fault = self._keep()
        if fault is not None:
            kind, reason = fault
            plan = self.job.plan
            passed = (self._frames + len(self._chunk)) * plan.interval
            write_end(self.job.folder, kind, f"{reason} within {passed:.1f} ps at {plan.temperature:g} K")
        self.goes_on = fault is None and left > 0

    def _fault(self, energy: float, temperature: float) -> tuple[FailureKind, str] | None:
        if not (np.isfinite(energy) and np.isfinite(temperature)):
            return FailureKind.NOT_FINITE, "energy or momenta are not numbers"
        if temperature > HOTTEST * self.job.plan.temperature:
            return FailureKind.EXPLODED, f"it heated to {temperature:.0f} K"
        if energy - self.start_energy < LOWEST_ENERGY:
            fell = self.start_energy - energy
            return FailureKind.EXPLODED, f"its energy fell {fell:.2f} eV/atom below that of the start"
        return None

    def _keep(self) -> tuple[FailureKind, str] | None:
        """Writes the frames since the last checkpoint, and the next one, unless they must not go on."""
        displacements, energies, temperatures = zip(*self._chunk, strict=True)
        interval = self.job.plan.interval
        chunk = Trajectory(np.array(displacements), np.array(energies), np.array(temperatures), interval)
        reason = self.job.watch(chunk)
        if reason is not None:
            return FailureKind.BAD_RESULT, reason
        write_chunk(self.job.folder, self._frames, chunk)
        self._frames += len(chunk)
        self._chunk = []
        state = dict(self.random.bit_generator.state)
        found = Checkpoint(self._frames, self.atoms.get_positions(), self.atoms.get_momenta(), state)
        write_checkpoint(self.job.folder, found)
        return None


class _Alone:
    """Moves one run by ASE."""

    def __init__(self, calculator: Calculator) -> None:
        self._calculator = calculator

    def energies(self, atoms: Sequence[Atoms]) -> list[float]:
        return [float(self._calculator.get_potential_energy(one)) for one in atoms]

    def begin(self, runs: Sequence[Run]) -> None:
        from ase import units
        from ase.md.bussi import Bussi

        (run,) = runs
        self._plan, self._atoms = run.job.plan, run.atoms
        self._atoms.calc = self._calculator
        self._dynamics = Bussi(
            self._atoms,
            timestep=self._plan.timestep * units.fs,
            temperature_K=self._plan.temperature,
            taut=THERMOSTAT_TIME * units.fs,
            rng=run.random,
        )

    def frame(self) -> list[float]:
        self._dynamics.run(self._plan.steps_per_frame)
        return [float(self._atoms.get_potential_energy())]
