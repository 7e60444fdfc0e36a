"""Relaxation of atoms and cell with a potential, through ASE.

LBFGS on a FrechetCellFilter (ASE; Larsen et al., J. Phys.: Condens. Matter 2017, 29, 273002), and FIRE
(Bitzek et al., Phys. Rev. Lett. 2006, 97, 170201) from the same start where LBFGS goes astray. Bounded by
steps, never by time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from pymatgen.core import Lattice, Structure

from materials.calculators import CalculatorFaultError, CalculatorMaker
from materials.evaluation import FailureKind
from materials.memory import is_out_of_memory
from materials.potential import to_atoms

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import Calculator

SHORTEST_DISTANCE = 0.5  # angstrom; below it atoms have collapsed into one another (H-H in H2 is 0.74)
LARGEST_FORCE = 1e3  # eV/angstrom
VOLUME_PER_ATOM = (1.5, 500.0)  # angstrom^3; caesium, the largest element, has 115
LARGEST_EXPANSION = 5.0  # final over initial volume
LARGEST_ENERGY_RISE = 1.0  # eV/atom above the start: no minimiser should climb that far
STEPS_TO_DESCEND = 20
LARGEST_LATE_RISE = 0.01  # eV/atom above the start, once there was time to descend
SYMMETRY_PRECISION = 0.01  # angstrom
GIGAPASCAL = 0.006241509074460763  # eV/angstrom^3 (CODATA 2018)


class RelaxationError(ValueError):
    """A relaxation that gave no usable structure."""


class RelaxationExploded(RelaxationError):  # noqa: N818 - named for what happened
    """Atoms collapsed, the cell flew apart or the forces ran away, with both optimisers."""


class NonFiniteEnergy(RelaxationError):  # noqa: N818 - named for what happened
    """The potential returned an energy or force that is not a finite number."""


Observer = Callable[[int, "Atoms"], None]


@dataclass(frozen=True)
class Frame:
    """An evaluation on the way of a relaxation.

    place: where atoms and cell were, to the last bit. results: ASE's energy and free_energy in eV, forces in
    eV/angstrom and stress in eV/angstrom^3.
    """

    place: bytes
    results: Mapping[str, Any]

    @classmethod
    def of(cls, atoms: Atoms) -> Frame:
        """Of atoms that were just evaluated."""
        wanted = ("energy", "free_energy", "forces", "stress")
        return cls(cls.place_of(atoms), {name: np.copy(atoms.calc.results[name]) for name in wanted})

    @staticmethod
    def place_of(atoms: Atoms) -> bytes:
        """Positions and cell."""
        return bytes(atoms.positions.tobytes() + atoms.cell.array.tobytes())


@dataclass(frozen=True)
class Relaxation:
    """The end of a relaxation under a pressure in GPa.

    Energies in eV/atom, uncorrected, without pressure times volume; max_force, the largest force on an atom, in
    eV/angstrom; volume_change is final over initial volume minus one; steps counts those of every optimiser tried.
    converged is false where the steps ran out: the structure is then the last one, and its energy is above the minimum
    by an unknown amount.
    """

    structure: Structure
    energy_per_atom: float
    start_energy_per_atom: float
    steps: int
    converged: bool
    max_force: float
    optimizer: str
    volume_change: float
    pressure: float = 0.0

    @property
    def enthalpy_per_atom(self) -> float:
        """energy_per_atom plus pressure times volume, eV/atom."""
        volume = float(self.structure.volume) / len(self.structure)
        return self.energy_per_atom + self.pressure * GIGAPASCAL * volume


@dataclass(frozen=True)
class Glance:
    """What tells whether a relaxation goes astray: eV/atom, eV/angstrom on an atom, angstrom^3 of the cell.

    The energy is what is minimised: under pressure the enthalpy.
    """

    energy_per_atom: float
    max_force: float
    volume: float

    def check(self, where: str, start: Glance, step: int, atoms: int) -> None:
        """Raises RelaxationError where the state is unphysical; `start` is the glance before the first step."""
        energy, force, volume = self.energy_per_atom, self.max_force, self.volume
        if not (np.isfinite(energy) and np.isfinite(force)):
            raise NonFiniteEnergy(f"{where}: energy {energy} eV/atom, largest force {force} eV/angstrom")
        if force > LARGEST_FORCE:
            raise RelaxationExploded(f"{where}: a force of {force:.3g} eV/angstrom (limit {LARGEST_FORCE:g})")
        # Where the curvature is negative, LBFGS can jump to and fro for ever, over the start's energy.
        rise = LARGEST_ENERGY_RISE if step < STEPS_TO_DESCEND else LARGEST_LATE_RISE
        if energy > start.energy_per_atom + rise:
            raise RelaxationExploded(
                f"{where}: energy {energy - start.energy_per_atom:.2f} eV/atom above the start"
            )
        if (
            not VOLUME_PER_ATOM[0] <= volume / atoms <= VOLUME_PER_ATOM[1]
            or volume > LARGEST_EXPANSION * start.volume
        ):
            raise RelaxationExploded(
                f"{where}: {volume / atoms:.3g} angstrom^3 per atom, {volume / start.volume:.2f} times the start"
            )


def check_distance(where: str, shortest: float) -> None:
    """Raises RelaxationExploded where two atoms are nearer than any bond."""
    if shortest < SHORTEST_DISTANCE:
        raise RelaxationExploded(
            f"{where}: two atoms {shortest:.2f} angstrom apart (limit {SHORTEST_DISTANCE})"
        )


def relax(
    structure: Structure,
    potential: CalculatorMaker,
    *,
    fmax: float = 0.03,
    steps: int = 200,
    cell: bool = True,
    keep_symmetry: bool = False,
    pressure: float = 0.0,
    observe: Observer | None = None,
    begun: Sequence[Frame] = (),
) -> Relaxation:
    """Relaxes an ordered structure in the cell as given (no reduction to a primitive cell).

    fmax: largest force component norm at the end, eV/angstrom (cell forces likewise, as ASE's filter scales
    them). steps: bound for each optimiser. cell: relax the cell too. keep_symmetry: hold the space group
    found within 0.01 angstrom. pressure: hydrostatic, GPa; what is minimised is then the enthalpy. observe: called with
    the step's number and the atoms, at the start (0) and after every step; a second optimiser begins at 0 again. begun:
    evaluations that an earlier beginning of this relaxation left; they are not repeated, and change nothing else.
    Raises UnsupportedElementError, RelaxationExploded, NonFiniteEnergy, CalculatorFaultError for a calculator that
    fails (ASE's CalculatorError for one that the maker does not check), and ValueError for partial occupancies.
    """
    from ase.optimize import FIRE, LBFGS

    potential.check_elements(structure)
    if not structure.is_ordered:
        raise ValueError(
            f"{structure.formula}: partial occupancies cannot be relaxed; order the structure first"
        )
    calculator = potential.calculator()
    if cell and "stress" not in calculator.implemented_properties:
        raise CalculatorFaultError(
            FailureKind.BAD_RESULT,
            f"{potential.name} computes no stress, so it can relax no cell; add  cell: false",
        )
    if begun:
        from materials.replay import Replay

        calculator = Replay(calculator, begun)
    spent = 0
    failure: RelaxationError | CalculatorFaultError | None = None
    for name, optimizer in (("LBFGS", LBFGS), ("FIRE", FIRE)):
        run = _Run(structure, calculator, cell, keep_symmetry, pressure, observe)
        try:
            converged = run.minimize(optimizer, fmax, steps)
        except (RelaxationError, CalculatorFaultError) as error:
            failure = error
            spent += run.steps
            # An input that is already broken does not get better with another optimiser, nor does the machine.
            if not run.started or (isinstance(error, CalculatorFaultError) and error.mendable):
                break
            continue
        return run.result(name, converged, spent + run.steps)
    assert failure is not None
    raise failure


class _Run:
    """One optimiser on one copy of the structure, watched at every step."""

    def __init__(
        self,
        structure: Structure,
        calculator: Calculator,
        cell: bool,
        keep_symmetry: bool,
        pressure: float,
        observe: Observer | None,
    ) -> None:
        self.label = structure.composition.reduced_formula
        self.steps = 0
        self.started = False
        self.cell, self.pressure, self.observe = cell, pressure, observe
        self.atoms: Atoms = to_atoms(structure)
        self.atoms.calc = calculator
        if keep_symmetry:
            from ase.constraints import FixSymmetry

            self.atoms.set_constraint(FixSymmetry(self.atoms, symprec=SYMMETRY_PRECISION, verbose=False))

    def minimize(self, optimizer: Callable[..., Any], fmax: float, steps: int) -> bool:
        """True when converged within the steps; raises RelaxationError at the first sign of going astray."""
        from ase.calculators.calculator import CalculatorError
        from ase.filters import FrechetCellFilter

        converged = False
        try:
            self.start_energy = self._energy_per_atom()
            self.start = self._glance()
            self._watch()
            self.started = True
            self._tell()
            target = self.atoms
            if self.cell:
                target = FrechetCellFilter(self.atoms, scalar_pressure=self.pressure * GIGAPASCAL)
            dynamics = optimizer(target, logfile=None)
            for state in dynamics.irun(fmax=fmax, steps=steps):
                converged, self.steps = bool(state), dynamics.nsteps
                self._watch(ended=converged)
                if self.steps:
                    self._tell()
        except (ArithmeticError, RuntimeError, np.linalg.LinAlgError) as error:
            # A program that fails says nothing of the structure, though ASE's errors are RuntimeErrors too.
            if is_out_of_memory(error) or isinstance(error, CalculatorError):
                raise
            # FixSymmetry refuses large cell steps, and a matrix logarithm fails on an inverted cell.
            raise RelaxationExploded(
                f"{self.label}: {type(error).__name__} after {self.steps} steps: {error}"
            ) from error
        return converged

    def result(self, optimizer: str, converged: bool, steps: int) -> Relaxation:
        structure = Structure(
            Lattice(self.atoms.cell.array),
            self.atoms.get_chemical_symbols(),
            self.atoms.get_positions(),
            coords_are_cartesian=True,
        )
        return Relaxation(
            structure=structure,
            energy_per_atom=self._energy_per_atom(),
            start_energy_per_atom=self.start_energy,
            steps=steps,
            converged=converged,
            max_force=self._max_force(),
            optimizer=optimizer,
            volume_change=float(self.atoms.get_volume()) / self.start.volume - 1.0,
            pressure=self.pressure,
        )

    def _tell(self) -> None:
        if self.observe is not None:
            self.observe(self.steps, self.atoms)

    def _energy_per_atom(self) -> float:
        return float(self.atoms.get_potential_energy()) / len(self.atoms)

    def _max_force(self) -> float:
        return float(np.linalg.norm(self.atoms.get_forces(), axis=1).max())

    def _glance(self) -> Glance:
        volume = float(self.atoms.get_volume())
        work = self.pressure * GIGAPASCAL * volume / len(self.atoms)
        return Glance(self._energy_per_atom() + work, self._max_force(), volume)

    def _watch(self, ended: bool = False) -> None:
        """Raises where the present state is unphysical, or the end and above the start: a saddle, not a minimum."""
        step = STEPS_TO_DESCEND if ended else self.steps
        where = f"{self.label}, step {self.steps}"
        self._glance().check(where, self.start, step, len(self.atoms))
        check_distance(where, _shortest_distance(self.atoms))


def _shortest_distance(atoms: Atoms) -> float:
    """Shortest distance in angstrom between two atoms or an atom and its image; infinite above the limit."""
    from matscipy.neighbours import neighbour_list

    distances = neighbour_list("d", atoms, SHORTEST_DISTANCE)
    return float(distances.min()) if len(distances) else float("inf")
