"""Relaxation of many crystals at once on a GPU, with the settings, limits and errors of `materials.relaxation`.

torch-sim (Cohen et al., AI for Science 2025, 1, 025003, doi:10.1088/3050-287X/ae1799) steps all cells of a batch
together; a cell that ends makes room for the next one. Its LBFGS and FIRE are set to what ASE's do, so that both ways
take the same path but for rounding. Needs torch-sim (the extra `gpu`, Python 3.12).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from math import inf, pi
from typing import Any

from pymatgen.core import Lattice, Structure

from materials.calculators import CalculatorFaultError, UnsupportedElementError
from materials.memory import is_out_of_memory
from materials.potential import Potential, has_gpu, to_atoms
from materials.relaxation import (
    GIGAPASCAL,
    SHORTEST_DISTANCE,
    STEPS_TO_DESCEND,
    VOLUME_PER_ATOM,
    Glance,
    Relaxation,
    RelaxationError,
    check_distance,
    relax,
)

log = logging.getLogger(__name__)

# Neighbour pairs (an atom and another within the potential's cutoff) that a batch starts with. SevenNet-0 has some 60
# per atom of an oxide: six thousand atoms keep a large GPU busy, and a small one halves them a few times.
PAIRS_PER_BATCH = {"cuda": 400_000.0, "cpu": 8_000.0}
ROUNDING = 1e-6

End = Relaxation | Exception


def can_batch() -> bool:
    """Whether torch-sim is installed and torch finds a GPU; torch is imported only where torch-sim is installed."""
    return find_spec("torch_sim") is not None and has_gpu()


@dataclass
class _Task:
    """A structure on its way: its place in the list, its neighbour pairs, and how far it got."""

    index: int
    structure: Structure
    pairs: float
    spent: int = 0
    """Steps of earlier optimisers."""
    steps: int = 0
    start: Glance | None = None


class BatchedRelaxation:
    """Relaxes lists of ordered structures; settings as those of `materials.relaxation.relax`.

    pairs: neighbour pairs in a batch. When memory runs out they are halved, down to one structure, and remembered.
    """

    def __init__(
        self,
        potential: Potential,
        *,
        fmax: float = 0.03,
        steps: int = 200,
        cell: bool = True,
        pressure: float = 0.0,
        pairs: float | None = None,
    ) -> None:
        self._potential = potential
        self._model = potential.batched()
        self._fmax, self._steps, self._cell, self._pressure = fmax, steps, cell, pressure
        self._sphere = 4 / 3 * pi * float(self._model.cutoff) ** 3  # angstrom^3
        self._flying: list[_Task] = []
        self._held: dict[int, _Task] = {}  # all in memory: flying, waiting, ended and not yet replaced
        self.pairs = PAIRS_PER_BATCH[self._model.device.type] if pairs is None else pairs

    def relax(self, structures: Sequence[Structure]) -> Iterator[tuple[int, End]]:
        """The place in the list of each structure and how it ended, as they end.

        An end is a Relaxation or what `relax` would have raised: UnsupportedElementError, RelaxationExploded,
        NonFiniteEnergy; or an error for which `is_out_of_memory` holds, where one structure alone does not fit.
        """
        fitting = []
        for index, structure in enumerate(structures):
            if self._fits(structure):
                fitting.append(_Task(index, structure, self.pairs_of(structure)))
            else:
                yield index, self._alone(structure)
        fitting.sort(key=lambda task: -task.pairs)  # the long ones first, so that none is left for the end
        astray = []
        for task, end in self._within_memory(fitting, "LBFGS"):
            # An input that is already broken does not get better with another optimiser.
            if isinstance(end, RelaxationError) and task.steps:
                task.spent = task.steps
                astray.append(task)
            else:
                yield task.index, end
        yield from ((task.index, end) for task, end in self._within_memory(astray, "FIRE"))

    def _fits(self, structure: Structure) -> bool:
        known = {element.symbol for element in structure.composition.elements} <= self._potential.elements
        low, high = VOLUME_PER_ATOM
        return structure.is_ordered and known and low <= structure.volume / len(structure) <= high

    def pairs_of(self, structure: Structure) -> float:
        """About how many pairs of neighbours a structure has, which decides what it takes of the memory."""
        return float(len(structure) ** 2 / structure.volume * self._sphere)

    def _alone(self, structure: Structure) -> End:
        try:
            limits: dict[str, Any] = {"fmax": self._fmax, "steps": self._steps}
            return relax(structure, self._potential, cell=self._cell, pressure=self._pressure, **limits)
        except (RelaxationError, UnsupportedElementError, CalculatorFaultError) as error:
            return error
        except (RuntimeError, MemoryError) as error:
            if is_out_of_memory(error):
                return error.with_traceback(None)
            raise

    def _within_memory(self, tasks: Sequence[_Task], optimizer: str) -> Iterator[tuple[_Task, End]]:
        """Each task and its end; what was under way when memory ran out begins again in smaller batches."""
        import torch

        left = {task.index: task for task in tasks}
        while left:
            small = [task for task in left.values() if task.pairs <= self.pairs]
            error: Exception | None = None
            try:
                for task, end in self._in_flight(small or list(left.values())[:1], optimizer):
                    del left[task.index]
                    yield task, end
            except (RuntimeError, ArithmeticError, MemoryError) as raised:
                error = raised.with_traceback(None)  # which would keep the batch in memory
            if error is None:
                continue
            if not is_out_of_memory(error):
                log.warning("a batch of relaxations failed (%s); each is done alone", error)
                for task in left.values():
                    yield task, self._alone(task.structure)
                return
            torch.cuda.empty_cache()
            if len(self._held) == 1 and self._held.keys() <= left.keys():
                [task] = self._held.values()
                del left[task.index]
                yield task, error
            else:
                self.pairs = min(self.pairs, sum(task.pairs for task in self._held.values())) / 2
                log.warning("memory ran out with %d structures in it; the batch is halved", len(self._held))

    def _in_flight(
        self, tasks: Sequence[_Task], optimizer: str
    ) -> Iterator[tuple[_Task, Relaxation | RelaxationError]]:
        """Runs one optimiser until all have ended, as many at a time as a batch holds."""
        import torch
        from torch_sim import InFlightAutoBatcher

        self._held.clear()
        init, step = _functions(optimizer, self._cell, self._pressure)
        # torch-sim counts atoms^2 / nm^3
        room = self.pairs / self._sphere * 1000 * (1 + ROUNDING)
        batcher = InFlightAutoBatcher(self._model, max_memory_scaler=room)
        batcher.load_states(self._starts(tasks, init))
        state, _ = batcher.next_batch(None, None)
        while state is not None:
            self._flying = [tasks[place] for place in batcher.current_idx]
            ends = self._judge(state, optimizer)
            if any(ends):
                ended = [(task, end) for task, end in zip(self._flying, ends, strict=True) if end is not None]
                yield from ended
                state, _ = batcher.next_batch(state, torch.tensor([end is not None for end in ends]))
                for task, _ in ended:
                    del self._held[task.index]
            else:
                state = step(state, self._model)
                for task in self._flying:
                    task.steps += 1

    def _starts(self, tasks: Sequence[_Task], init: Callable[..., Any]) -> Iterator[Any]:
        """The states before the first step, evaluated a batch at a time when the one before is used up."""
        from torch_sim import initialize_state

        place = 0
        while place < len(tasks):
            chunk, pairs = [tasks[place]], tasks[place].pairs
            for task in tasks[place + 1 :]:
                pairs += task.pairs
                if pairs > self.pairs:
                    break
                chunk.append(task)
            place += len(chunk)
            for task in chunk:
                self._held[task.index] = task
                task.steps, task.start = 0, None
            atoms = [to_atoms(task.structure) for task in chunk]
            begun = initialize_state(atoms, self._model.device, self._model.dtype)
            yield from init(begun, self._model).split()

    def _judge(self, state: Any, optimizer: str) -> list[Relaxation | RelaxationError | None]:
        """For each structure under way: how it ended, None where it goes on."""
        ends: list[Relaxation | RelaxationError | None] = []
        places = state.positions.split(state.n_atoms_per_system.tolist())
        for number, (task, sight) in enumerate(
            zip(self._flying, _sights(state, self._cell, self._pressure), strict=True)
        ):
            glance, gradient, shortest = sight
            task.start = task.start or glance
            where = f"{task.structure.composition.reduced_formula}, step {task.steps}"
            converged = gradient < self._fmax
            try:
                # An end above the start is a saddle, not a minimum.
                step = STEPS_TO_DESCEND if converged else task.steps
                glance.check(where, task.start, step, len(task.structure))
                check_distance(where, shortest)
            except RelaxationError as error:
                ends.append(error)
                continue
            if not converged and task.steps < self._steps:
                ends.append(None)
                continue
            structure = Structure(
                Lattice(state.row_vector_cell[number].cpu().numpy()),
                task.structure.species,
                places[number].cpu().numpy(),
                coords_are_cartesian=True,
            )
            work = self._pressure * GIGAPASCAL / len(structure)  # of the pressure, by volume
            end = Relaxation(
                structure=structure,
                energy_per_atom=glance.energy_per_atom - work * glance.volume,
                start_energy_per_atom=task.start.energy_per_atom - work * task.start.volume,
                steps=task.spent + task.steps,
                converged=converged,
                max_force=glance.max_force,
                optimizer=optimizer,
                volume_change=glance.volume / task.start.volume - 1.0,
                pressure=self._pressure,
            )
            ends.append(end)
        return ends


def _functions(optimizer: str, cell: bool, pressure: float) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """How a batch of states begins, and how it makes a step, as ASE's optimisers do by default."""
    from torch_sim import CellFilter
    from torch_sim.optimizers import fire_init, fire_step, lbfgs_init, lbfgs_step

    on_cell: dict[str, Any] = {}
    if cell:
        on_cell = {"cell_filter": CellFilter.frechet, "scalar_pressure": pressure * GIGAPASCAL}
    if optimizer == "LBFGS":
        start = partial(lbfgs_init, alpha=70.0, step_size=1.0, **on_cell)
        return start, partial(lbfgs_step, max_history=100, max_step=0.2)
    flavor: Any = {"fire_flavor": "ase_fire"}
    return partial(fire_init, dt_start=0.1, **flavor, **on_cell), partial(fire_step, max_step=0.2, **flavor)


def _sights(state: Any, cell: bool, pressure: float) -> Iterator[tuple[Glance, float, float]]:
    """For each structure of a batch: the glance, the largest generalised force, the shortest distance."""
    import torch

    sizes = state.n_atoms_per_system
    largest = partial(torch.segment_reduce, reduce="max", lengths=sizes)
    force = largest(state.forces.norm(dim=1))
    gradient = force
    if cell:
        on_cell = state.cell_forces.norm(dim=2).amax(dim=1)
        gradient = torch.maximum(largest(state.deform_grad_forces().norm(dim=1)), on_cell)
    volume = torch.linalg.det(state.row_vector_cell).abs()
    minimised = (state.energy + pressure * GIGAPASCAL * volume) / sizes
    columns = [minimised, force, volume, gradient, _shortest_distances(state)]
    for row in torch.stack(columns, dim=1).tolist():
        yield Glance(*row[:3]), row[3], row[4]


def _shortest_distances(state: Any) -> Any:
    """[structures], angstrom; infinite where all are above the limit."""
    import torch
    from torch_sim.neighbors import torchsim_nl

    cells = state.row_vector_cell
    cutoff = torch.tensor(SHORTEST_DISTANCE)
    pairs, owner, shifts = torchsim_nl(state.positions, cells, state.pbc, cutoff, state.system_idx)
    shifted = torch.bmm(shifts.to(cells.dtype).unsqueeze(1), cells[owner]).squeeze(1)
    distances = (state.positions[pairs[1]] - state.positions[pairs[0]] + shifted).norm(dim=1)
    shortest = torch.full((state.n_systems,), inf, dtype=cells.dtype, device=cells.device)
    return shortest.scatter_reduce(0, owner.long(), distances, "amin")
