from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.lj import LennardJones
from pymatgen.core import Lattice, Structure

from materials.calculators import UnsupportedElementError
from materials.potential import Potential, load_potential
from materials.relaxation import Frame, NonFiniteEnergy, RelaxationExploded, relax

MAGNESIA = Structure.from_spacegroup("Fm-3m", Lattice.cubic(4.4), ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])


class Source:
    """A potential made of any ASE calculator."""

    name = "test"

    def __init__(self, calculator: Calculator) -> None:
        self._calculator = calculator

    def calculator(self) -> Calculator:
        return self._calculator

    def check_elements(self, structure: Structure) -> None:
        """Knows every element."""


class Faulty(Calculator):
    """Lennard-Jones that misbehaves from the given call on."""

    implemented_properties = ("energy", "forces", "stress")

    def __init__(self, fault: str, after: int) -> None:
        super().__init__()
        self.inner = LennardJones(epsilon=0.1, sigma=2.5, rc=6.0, smooth=True)
        self.fault, self.after, self.calls = fault, after, 0

    def calculate(
        self, atoms: Any = None, properties: Any = ("energy",), system_changes: Any = all_changes
    ) -> None:
        super().calculate(atoms, properties, system_changes)
        self.inner.calculate(atoms, ["energy", "forces", "stress"], all_changes)
        self.results = dict(self.inner.results)
        self.calls += 1
        if self.calls <= self.after:
            return
        if self.fault == "nan":
            self.results["energy"] = float("nan")
        elif self.fault == "force":
            self.results["forces"] = np.full_like(self.results["forces"], 5e3)
        elif self.fault == "climb":
            self.results["energy"] += 2.0 * self.calls * len(atoms)
        elif self.fault == "arithmetic":
            raise FloatingPointError("overflow")


@pytest.fixture(scope="module")
def potential() -> Potential:
    return load_potential("7net-0", device="cpu")


def argon(distance: float = 4.2) -> Structure:
    return Structure(Lattice.cubic(distance), ["Ar"] * 2, [[0, 0, 0], [0.47, 0.5, 0.52]])


def test_a_stretched_crystal_shrinks_to_the_minimum_from_both_sides(potential: Potential) -> None:
    wide = relax(MAGNESIA.get_primitive_structure(), potential, fmax=0.01)
    narrow_start = MAGNESIA.get_primitive_structure()
    narrow_start.scale_lattice(narrow_start.volume * 0.85)
    narrow = relax(narrow_start, potential, fmax=0.01)
    assert wide.converged
    assert narrow.converged
    assert wide.energy_per_atom < wide.start_energy_per_atom
    assert wide.energy_per_atom == pytest.approx(narrow.energy_per_atom, abs=1e-4)
    assert wide.structure.volume == pytest.approx(narrow.structure.volume, rel=5e-3)
    assert wide.volume_change < -0.05
    assert narrow.volume_change > 0.02


def test_energies_and_structure_belong_together(potential: Potential) -> None:
    start = MAGNESIA.copy()
    start.perturb(0.1)
    relaxed = relax(start, potential, steps=5)
    energies = potential.evaluate([start, relaxed.structure]).energies_per_atom
    assert relaxed.start_energy_per_atom == pytest.approx(energies[0], abs=1e-5)
    assert relaxed.energy_per_atom == pytest.approx(energies[1], abs=1e-5)
    assert [site.species_string for site in relaxed.structure] == [site.species_string for site in start]


def test_the_input_is_left_alone_and_two_runs_agree(potential: Potential) -> None:
    start = MAGNESIA.get_primitive_structure()
    before = start.as_dict()
    first, second = relax(start, potential), relax(start, potential)
    assert start.as_dict() == before
    assert first.energy_per_atom == second.energy_per_atom
    np.testing.assert_array_equal(first.structure.lattice.matrix, second.structure.lattice.matrix)


def test_a_fixed_cell_keeps_its_cell(potential: Potential) -> None:
    start = MAGNESIA.copy()
    start.perturb(0.1)
    relaxed = relax(start, potential, cell=False)
    np.testing.assert_allclose(relaxed.structure.lattice.matrix, start.lattice.matrix)
    assert relaxed.converged
    assert relaxed.volume_change == pytest.approx(0.0, abs=1e-9)


def test_running_out_of_steps_is_reported(potential: Potential) -> None:
    start = MAGNESIA.copy()
    start.perturb(0.2)
    relaxed = relax(start, potential, steps=2)
    assert not relaxed.converged
    assert relaxed.steps == 2
    assert relaxed.max_force > 0.03


def test_symmetry_is_kept_when_asked() -> None:
    """Two atoms off the special position: held they stay in their space group, free they leave it."""
    structure = Structure.from_spacegroup(
        "P4/mmm", Lattice.tetragonal(4.0, 5.0), ["Ar", "Kr"], [[0, 0, 0], [0.5, 0.5, 0.5]]
    )
    source = Source(LennardJones(epsilon=0.1, sigma=2.5, rc=6.0, smooth=True))
    held = relax(structure, source, keep_symmetry=True, fmax=0.005, steps=300)
    assert held.structure.get_space_group_info(symprec=1e-3)[1] in (123, 221, 225, 229)
    shaken = structure.copy()
    shaken.perturb(0.2)
    assert shaken.get_space_group_info(symprec=1e-3)[1] == 1
    assert relax(shaken, source, keep_symmetry=True).structure.get_space_group_info(symprec=1e-3)[1] < 123


def test_not_a_number_is_its_own_failure() -> None:
    with pytest.raises(NonFiniteEnergy, match="Ar"):
        relax(argon(), Source(Faulty("nan", after=0)))
    with pytest.raises(NonFiniteEnergy, match="step"):
        relax(argon(), Source(Faulty("nan", after=3)))


@pytest.mark.parametrize("fault", ["force", "climb", "arithmetic"])
def test_both_optimisers_astray_is_an_explosion(fault: str) -> None:
    with pytest.raises(RelaxationExploded, match="Ar"):
        relax(argon(), Source(Faulty(fault, after=3)))


def test_fire_takes_over_where_lbfgs_goes_astray() -> None:
    class OnceFaulty(Faulty):
        def calculate(self, *arguments: Any, **named: Any) -> None:
            self.fault = "force" if 3 <= self.calls < 4 else "none"
            super().calculate(*arguments, **named)

    relaxed = relax(argon(), Source(OnceFaulty("force", after=0)), steps=500)
    assert relaxed.optimizer == "FIRE"
    assert relaxed.converged


@pytest.mark.parametrize(
    ("structure", "reason"),
    [
        (Structure(Lattice.cubic(3.0), ["Li", "Li"], [[0, 0, 0], [0.1, 0, 0]]), "force|apart"),
        (Structure(Lattice.cubic(1.0), ["Li"], [[0, 0, 0]]), "per atom"),
        (Structure(Lattice.cubic(15.0), ["Li"], [[0, 0, 0]]), "per atom"),
    ],
)
def test_an_absurd_start_is_an_explosion(potential: Potential, structure: Structure, reason: str) -> None:
    with pytest.raises(RelaxationExploded, match=reason):
        relax(structure, potential)


def test_unknown_elements_and_partial_occupancies_are_refused(potential: Potential) -> None:
    with pytest.raises(UnsupportedElementError, match="Po"):
        relax(Structure(Lattice.cubic(3.4), ["Po"], [[0, 0, 0]]), potential)
    with pytest.raises(ValueError, match="partial"):
        relax(Structure(Lattice.cubic(4.0), [{"Li": 0.5, "Na": 0.5}], [[0, 0, 0]]), potential)


def test_an_observer_sees_the_energy_of_every_step(potential: Potential) -> None:
    seen: list[tuple[int, float]] = []
    stretched = Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(4.5), ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]]
    )
    found = relax(
        stretched.get_primitive_structure(),
        potential,
        observe=lambda step, atoms: seen.append((step, atoms.get_potential_energy() / len(atoms))),
    )
    assert [step for step, _ in seen] == list(range(found.steps + 1))
    assert seen[0][1] == pytest.approx(found.start_energy_per_atom)
    assert seen[-1][1] == pytest.approx(found.energy_per_atom)


class Counting:
    """A potential that counts how often it is asked."""

    def __init__(self, potential: Potential) -> None:
        self.name, self.potential, self.asked = potential.name, potential, 0

    def check_elements(self, structure: Structure) -> None:
        self.potential.check_elements(structure)

    def calculator(self) -> Calculator:
        calculator = self.potential.calculator()
        ask = calculator.calculate

        def counted(*arguments: object, **named: object) -> None:
            self.asked += 1
            ask(*arguments, **named)

        calculator.calculate = counted
        return calculator


def test_what_was_evaluated_before_is_not_asked_again_and_changes_nothing() -> None:
    stretched = Structure(
        Lattice.cubic(4.4), ["Cs", "Cl", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.48], [0.51, 0.0, 0.5]]
    )
    frames: list[Frame] = []
    relax(stretched, load_potential(), steps=6, observe=lambda _, atoms: frames.append(Frame.of(atoms)))
    alone, helped = Counting(load_potential()), Counting(load_potential())
    first = relax(stretched, alone, steps=15)
    second = relax(stretched, helped, steps=15, begun=frames)
    assert second == first
    assert helped.asked == alone.asked - len(frames)
