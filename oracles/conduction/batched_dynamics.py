"""The molecular dynamics of `oracles.conduction.dynamics`, many runs at once on a GPU.

torch-sim (Cohen et al., AI for Science 2025, 1, 025003, doi:10.1088/3050-287X/ae1799) makes the steps of all runs
together. Its own stochastic velocity rescaling is not used: it draws the noise of all from one generator, so that a
run would depend on the others of its batch, and with FixCom it takes the centre's three degrees of freedom off twice
(torch-sim 0.6.2). Here each run has its own noise, the same as by ASE; the paths part by rounding alone, which chaos
makes grow. Needs torch-sim (the extra `gpu`, Python 3.12).
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence
from math import exp
from typing import TYPE_CHECKING, Any

import numpy as np

from materials.potential import Potential
from oracles.conduction.dynamics import THERMOSTAT_TIME, Job, Run, finish
from oracles.conduction.trajectory import Floats

if TYPE_CHECKING:
    from ase import Atoms

log = logging.getLogger(__name__)


class BatchedDynamics:
    """Does jobs together on the potential's device."""

    def __init__(self, potential: Potential) -> None:
        self._model = potential.batched()
        self._runs: Sequence[Run] = ()
        self._state: Any = None

    def finish(self, jobs: Sequence[Job]) -> None:
        """Does what is left of jobs, those of the same step together.

        Where a batch fails, as for lack of memory, each half of it is tried, down to one; what fails alone is left as
        it was, for `simulate` to say why. Raises OSError (a full disk) and BrokenTrajectoryError.
        """
        same_step: defaultdict[float, list[Job]] = defaultdict(list)
        for job in jobs:
            same_step[job.plan.timestep].append(job)
        for those in same_step.values():
            self._finish(those)

    def _finish(self, jobs: Sequence[Job]) -> None:
        import torch

        try:
            finish(jobs, self)
        except (RuntimeError, ArithmeticError, ValueError, MemoryError) as error:
            fault = str(error)  # the error itself would keep the batch in memory
        else:
            return
        self._state = None
        torch.cuda.empty_cache()
        log.warning("%d runs of molecular dynamics failed together (%s)", len(jobs), fault)
        if len(jobs) > 1:
            half = len(jobs) // 2
            self._finish(jobs[:half])
            self._finish(jobs[half:])

    def energies(self, atoms: Sequence[Atoms]) -> list[float]:
        energies: list[float] = self._model(self._at_rest(atoms))["energy"].tolist() if atoms else []
        return energies

    def _at_rest(self, atoms: Sequence[Atoms]) -> Any:
        from torch_sim import initialize_state

        bare = [one.copy() for one in atoms]
        for one in bare:
            one.set_constraint()
        return initialize_state(bare, self._model.device, self._model.dtype)

    def begin(self, runs: Sequence[Run]) -> None:
        import torch
        from ase import units
        from torch_sim.constraints import FixCom
        from torch_sim.integrators import MDState

        self._runs = runs
        start = self._at_rest([run.atoms for run in runs])
        told = self._model(start)
        self._state = MDState.from_state(
            start,
            momenta=self._tensor(np.concatenate([run.atoms.get_momenta() for run in runs])),
            energy=told["energy"],
            forces=told["forces"],
        )
        self._state.constraints = FixCom(torch.arange(len(runs), device=self._model.device))
        self._timestep = runs[0].job.plan.timestep
        self._freedom = self._state.get_number_of_degrees_of_freedom()
        self._target = self._freedom / 2 * units.kB * self._tensor([run.job.plan.temperature for run in runs])

    def frame(self) -> list[float]:
        from ase import units
        from torch_sim.integrators.md import velocity_verlet_step

        step = self._timestep * units.fs
        for normal, chi_squared in self._tensor(self._noise()):
            self._rescale(normal, chi_squared)
            self._state = velocity_verlet_step(self._state, step, self._model)
        places, momenta = self._state.positions.cpu().numpy(), self._state.momenta.cpu().numpy()
        begin = 0
        for run in self._runs:
            mine = slice(begin, begin + len(run.atoms))
            run.atoms.set_positions(places[mine], apply_constraint=False)
            run.atoms.set_momenta(momenta[mine], apply_constraint=False)
            begin = mine.stop
        energies: list[float] = self._state.energy.tolist()
        return energies

    def _noise(self) -> Floats:
        """[steps of a frame, 2, runs]: a normal number, and a chi-squared one of all but one degree of freedom."""
        steps = self._runs[0].job.plan.steps_per_frame
        shapes = (self._freedom.cpu().numpy() - 1) / 2
        draws = [
            [(run.random.standard_normal(), 2 * run.random.standard_gamma(shape)) for _ in range(steps)]
            for run, shape in zip(self._runs, shapes, strict=True)
        ]
        return np.array(draws).transpose(1, 2, 0)

    def _rescale(self, normal: Any, chi_squared: Any) -> None:
        """Equation A7 of Bussi, Donadio, Parrinello, J. Chem. Phys. 126, 014101 (2007)."""
        from torch_sim import calc_kinetic_energy

        state = self._state
        kinetic = calc_kinetic_energy(masses=state.masses, momenta=state.momenta, system_idx=state.system_idx)
        kept = exp(-self._timestep / THERMOSTAT_TIME)
        given = (1 - kept) * self._target / kinetic / self._freedom
        squared = kept + given * (chi_squared + normal**2) + 2 * normal * (kept * given).sqrt()
        state.momenta = state.momenta * squared.sqrt()[state.system_idx].unsqueeze(-1)

    def _tensor(self, values: Any) -> Any:
        import torch

        return torch.as_tensor(np.asarray(values), device=self._model.device, dtype=self._model.dtype)
