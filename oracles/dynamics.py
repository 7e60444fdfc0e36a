"""Molecular dynamics at constant volume and temperature that goes on where it was stopped.

The thermostat is stochastic velocity rescaling (Bussi, Donadio, Parrinello, J. Chem. Phys. 126, 014101 (2007),
doi:10.1063/1.2408420). It samples the canonical ensemble also in small, stiff cells, where a Nose-Hoover chain may
not be ergodic; it multiplies all momenta by one number close to 1, so it hardly disturbs diffusion, as Langevin
friction would; and its only memory is the state of a random generator, so a checkpoint is small and exact.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from materials.evaluation import FailureKind
from oracles.trajectory import (
    Checkpoint,
    Floats,
    Trajectory,
    read_checkpoint,
    read_trajectory,
    write_checkpoint,
    write_chunk,
)

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import Calculator
    from ase.md.bussi import Bussi

THERMOSTAT_TIME = 100.0  # fs, of the order of the slowest vibrations
FRAME_TIME = 50.0  # fs between frames, about; an ion vibrates many times between two hops
FRAMES_PER_CHECKPOINT = 10
HOTTEST = 5.0  # times the temperature asked for: 6 standard deviations of the smallest cell, two atoms
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


def simulate(start: Atoms, plan: Plan, calculator: Calculator, folder: Path, watch: Watch) -> Trajectory:
    """Runs the plan, or what is left of it in `folder`, and gives the whole trajectory.

    start: the atoms at rest. The trajectory does not depend on where earlier runs were stopped, bit for bit, on one
    machine with one thread count. Raises UnusableRunError, OSError (a full disk) and BrokenTrajectoryError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    found = read_checkpoint(folder)
    if found is None or found.frames < plan.frames:
        _Run(start, plan, calculator, found).go_on(folder, watch)
    return read_trajectory(folder, plan.frames, plan.interval)


class _Run:
    def __init__(self, start: Atoms, plan: Plan, calculator: Calculator, found: Checkpoint | None) -> None:
        from ase.constraints import FixCom

        self._plan = plan
        self._origin: Floats = start.get_positions()
        self._random = np.random.Generator(np.random.PCG64(plan.seed))
        self._atoms = start.copy()
        self._atoms.calc = calculator
        self._atoms.set_constraint(FixCom())  # single-precision forces do not sum to zero
        self._energy = float(self._atoms.get_potential_energy()) / len(start)
        self._frames = 0
        if found is None:
            self._give_momenta()
        else:
            self._restore(found)
        self._dynamics = self._thermostat()

    def _give_momenta(self) -> None:
        from ase.md.velocitydistribution import MaxwellBoltzmannDistribution, Stationary

        MaxwellBoltzmannDistribution(
            self._atoms, temperature_K=self._plan.temperature, rng=self._random, force_temp=True
        )
        Stationary(self._atoms, preserve_temperature=True)

    def _restore(self, found: Checkpoint) -> None:
        self._frames = found.frames
        self._random.bit_generator.state = found.random_state
        self._atoms.set_positions(found.positions, apply_constraint=False)
        self._atoms.set_momenta(found.momenta, apply_constraint=False)

    def _thermostat(self) -> Bussi:
        from ase import units
        from ase.md.bussi import Bussi

        return Bussi(
            self._atoms,
            timestep=self._plan.timestep * units.fs,
            temperature_K=self._plan.temperature,
            taut=THERMOSTAT_TIME * units.fs,
            rng=self._random,
        )

    def go_on(self, folder: Path, watch: Watch) -> None:
        while self._frames < self._plan.frames:
            chunk = self._chunk(min(FRAMES_PER_CHECKPOINT, self._plan.frames - self._frames))
            reason = watch(chunk)
            if reason is not None:
                raise UnusableRunError(FailureKind.BAD_RESULT, self._said(reason))
            write_chunk(folder, self._frames, chunk)
            self._frames += len(chunk)
            write_checkpoint(folder, self._checkpoint())

    def _chunk(self, frames: int) -> Trajectory:
        displacements, energies, temperatures = [], [], []
        for _ in range(frames):
            self._dynamics.run(self._plan.steps_per_frame)
            displacements.append((self._atoms.get_positions() - self._origin).astype(np.float32))
            energies.append(float(self._atoms.get_potential_energy()) / len(self._atoms))
            temperatures.append(float(self._atoms.get_temperature()))
            self._check(energies[-1], temperatures[-1])
        return Trajectory(
            np.array(displacements), np.array(energies), np.array(temperatures), self._plan.interval
        )

    def _check(self, energy: float, temperature: float) -> None:
        if not (np.isfinite(energy) and np.isfinite(temperature)):
            raise UnusableRunError(FailureKind.NOT_FINITE, self._said("energy or momenta are not numbers"))
        if temperature > HOTTEST * self._plan.temperature:
            raise UnusableRunError(FailureKind.EXPLODED, self._said(f"it heated to {temperature:.0f} K"))
        if energy - self._energy < LOWEST_ENERGY:
            message = f"its energy fell {self._energy - energy:.2f} eV/atom below that of the start"
            raise UnusableRunError(FailureKind.EXPLODED, self._said(message))

    def _said(self, reason: str) -> str:
        return f"{reason} within {(self._frames + 1) * self._plan.interval:.1f} ps at {self._plan.temperature:g} K"

    def _checkpoint(self) -> Checkpoint:
        state = self._random.bit_generator.state
        return Checkpoint(self._frames, self._atoms.get_positions(), self._atoms.get_momenta(), dict(state))
