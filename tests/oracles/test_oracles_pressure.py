"""Relaxation under pressure and strain: the physics, and what may not follow it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ase.calculators.emt import EMT
from ase.eos import EquationOfState
from ase.units import GPa
from pydantic import ValidationError
from pymatgen.core import Lattice, Structure

from loop.relaxed_line import relaxed_hull, why_not_screened
from materials.base import Candidate, Crystal, Measurement, Origin
from materials.evaluation import Outcome, Request, Status
from materials.potential import to_atoms
from oracles.conduction.bvse import BondValenceSettings
from oracles.hull import HullSettings
from oracles.insertion import InsertionSettings
from oracles.relax import RelaxSettings

EMT_PATH = "ase.calculators.emt:EMT"
COPPER = Structure(Lattice(1.8 * np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]])), ["Cu"], [[0, 0, 0]])
ALLOY = Structure(Lattice.tetragonal(3.9, 3.8), ["Cu", "Au"], [[0, 0, 0], [0.5, 0.5, 0.45]])


def relaxed(structure: Structure, earlier: Outcome | None = None, **options: Any) -> Outcome:
    crystal = Crystal(structure)
    settings = RelaxSettings.model_validate({"potential": EMT_PATH, "fmax": 0.001, **options})
    measured = () if earlier is None else earlier.measurements
    (outcome,) = settings.build().evaluate(
        [Request("key", Candidate(crystal, Origin("test")), crystal, "relax", measured)]
    )
    assert outcome.status is Status.DONE, outcome.failure
    return outcome


def end(outcome: Outcome) -> Structure:
    assert isinstance(outcome.material, Crystal)
    return outcome.material.structure


def values(outcome: Outcome) -> dict[str, float]:
    return {m.property: m.value for m in outcome.measurements}


def energy_of(structure: Structure) -> float:
    atoms = to_atoms(structure)
    atoms.calc = EMT()
    return float(atoms.get_potential_energy()) / len(atoms)


def test_pressure_compresses_as_the_bulk_modulus_says() -> None:
    """Murnaghan: (1 + B' p / B)^(-1/B') of the volume is left (Proc. Natl. Acad. Sci. 1944, 30, 244)."""
    volumes = np.linspace(9.5, 12.5, 13)
    energies = [
        energy_of(
            Structure(Lattice(COPPER.lattice.matrix * (v / COPPER.volume) ** (1 / 3)), ["Cu"], [[0] * 3])
        )
        for v in volumes
    ]
    fit = EquationOfState(volumes, energies, eos="murnaghan")
    fit.fit()
    _, bulk_modulus, derivative, at_rest = fit.eos_parameters
    pressed = relaxed(COPPER, pressure=10.0)
    left = (1 + derivative * 10 * GPa / bulk_modulus) ** (-1 / derivative)
    assert end(pressed).volume == pytest.approx(left * at_rest, rel=0.005)
    assert left < 0.95


def test_the_enthalpy_is_energy_plus_pressure_times_volume_at_its_minimum() -> None:
    free, pressed = relaxed(COPPER), relaxed(COPPER, pressure=10.0)
    assert set(values(free)) == {"energy_per_atom"}
    volume = end(pressed).volume
    assert values(pressed)["energy_per_atom"] == pytest.approx(energy_of(end(pressed)), abs=1e-6)
    assert values(pressed)["enthalpy_per_atom"] == pytest.approx(
        energy_of(end(pressed)) + 10 * GPa * volume, abs=1e-6
    )
    held = values(free)["energy_per_atom"] + 10 * GPa * end(free).volume
    assert values(pressed)["enthalpy_per_atom"] < held - 0.01
    assert values(pressed)["energy_per_atom"] > values(free)["energy_per_atom"]
    assert {m.property: dict(m.conditions) for m in pressed.measurements} == {
        "energy_per_atom": {"pressure": 10.0},
        "enthalpy_per_atom": {"pressure": 10.0},
    }
    assert pressed.provenance["pressure"] == 10.0


def test_climbing_energies_are_no_explosion_while_the_enthalpy_falls() -> None:
    """At 100 GPa the energy rises far above the 0.01 eV/atom that a relaxation at rest is allowed late."""
    pressed = relaxed(COPPER, pressure=100.0)
    assert values(pressed)["energy_per_atom"] > energy_of(COPPER) + 0.3
    assert pressed.provenance["volume_change"] < -0.2


def test_pressure_goes_with_a_kept_symmetry_and_with_a_held_cell() -> None:
    symmetric = relaxed(ALLOY, pressure=20.0, keep_symmetry=True)
    a, b, c, *angles = end(symmetric).lattice.parameters
    assert a == pytest.approx(b, abs=1e-9)
    assert angles == pytest.approx([90, 90, 90], abs=1e-6)
    assert c != pytest.approx(ALLOY.lattice.c, abs=0.01)
    assert symmetric.provenance["volume_change"] < -0.05
    held = relaxed(ALLOY, pressure=20.0, cell=False)
    np.testing.assert_allclose(end(held).lattice.matrix, ALLOY.lattice.matrix)
    work = values(held)["enthalpy_per_atom"] - values(held)["energy_per_atom"]
    assert work == pytest.approx(20 * GPa * ALLOY.volume / 2)


@pytest.mark.parametrize(
    ("strain", "voigt"),
    [(0.02, (0.02, 0.02, 0.02, 0, 0, 0)), ((0.01, -0.02, 0, 0.03, 0, 0.01), (0.01, -0.02, 0, 0.03, 0, 0.01))],
)
def test_a_strained_cell_has_the_energy_and_stress_of_one_made_by_hand(
    strain: Any, voigt: tuple[float, ...]
) -> None:
    xx, yy, zz, yz, xz, xy = voigt
    deformation = np.eye(3) + np.array([[xx, xy / 2, xz / 2], [xy / 2, yy, yz / 2], [xz / 2, yz / 2, zz]])
    by_hand = Structure(COPPER.lattice.matrix @ deformation, ["Cu"], [[0, 0, 0]])
    outcome = relaxed(COPPER, strain=strain, cell=False)
    np.testing.assert_allclose(end(outcome).lattice.matrix, by_hand.lattice.matrix, atol=1e-12)
    assert values(outcome)["energy_per_atom"] == pytest.approx(energy_of(by_hand), abs=1e-9)
    ours, theirs = to_atoms(end(outcome)), to_atoms(by_hand)
    ours.calc, theirs.calc = EMT(), EMT()
    np.testing.assert_allclose(ours.get_stress(), theirs.get_stress(), atol=1e-9)


def test_the_energy_of_a_small_strain_is_that_of_its_stress() -> None:
    """dE = V sigma : epsilon to first order, from a cell that is not at rest."""
    stretched = Structure(Lattice(COPPER.lattice.matrix * 1.03), ["Cu"], [[0, 0, 0]])
    atoms = to_atoms(stretched)
    atoms.calc = EMT()
    voigt = (2e-4, 0.0, 0.0, 0.0, 0.0, 0.0)
    change = values(relaxed(stretched, strain=voigt, cell=False))["energy_per_atom"] - energy_of(stretched)
    assert change == pytest.approx(stretched.volume * float(atoms.get_stress()[0]) * 2e-4, rel=0.02)


def test_atoms_move_in_a_strained_cell_and_the_cell_does_not() -> None:
    shaken = ALLOY.copy().perturb(0.1, seed=2)
    outcome = relaxed(shaken, strain=0.01, cell=False)
    np.testing.assert_allclose(end(outcome).lattice.matrix, shaken.lattice.matrix * 1.01)
    assert outcome.provenance["start_energy_per_atom"] > values(outcome)["energy_per_atom"] + 1e-4


@pytest.mark.parametrize(
    ("options", "remedy"),
    [
        ({"strain": 0.02}, "add  cell: false"),
        ({"strain": 2, "cell": False}, "so 2 % are 0.02"),
        ({"strain": [0.1, 0.1], "cell": False}, "strain"),
        ({"pressure": 1e10}, "less than or equal to 1000"),
        ({"pressure": -500}, "greater than or equal to -20"),
    ],
)
def test_what_makes_no_sense_is_refused_with_a_remedy(options: dict[str, Any], remedy: str) -> None:
    with pytest.raises(ValidationError, match=remedy):
        RelaxSettings.model_validate(options)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"pressure": 5.0}, "a pressure of 5 GPa"),
        ({"strain": 0.01, "cell": False}, "holds the cell under a strain"),
        ({"cell": False}, "holds the cell"),
    ],
)
def test_no_hull_and_no_look_after_pressure_or_strain(options: dict[str, Any], why: str) -> None:
    line = [RelaxSettings.model_validate(options), HullSettings()]
    refused = line[1].misfit(line[:1])
    assert refused is not None
    assert why in refused
    assert "relax freely before the hull" in refused
    assert why in str(InsertionSettings().misfit(line[:1]))
    assert relaxed_hull(line) is None
    assert why_not_screened(line) is not None
    assert relaxed_hull([RelaxSettings(), HullSettings()]) is not None
    assert HullSettings().misfit([RelaxSettings(keep_symmetry=True)]) is None
    assert line[0].fingerprint() != RelaxSettings().fingerprint()


def conditions_of(outcome: Outcome) -> dict[str, float]:
    return dict(outcome.measurements[0].conditions)


def test_whatever_is_measured_on_a_pressed_or_strained_crystal_carries_the_condition() -> None:
    """A band gap or barrier at 20 GPa is not one at rest, whoever measures it."""
    salt = Structure.from_spacegroup("Fm-3m", Lattice.cubic(4.1), ["Li", "F"], [[0, 0, 0], [0.5] * 3])
    pressed = Crystal(salt)
    for condition in ({"pressure": 20.0}, {"strain": 0.02}, {"strain_xx": 0.01, "strain_xy": 0.02}):
        energy = Measurement("energy_per_atom", -4.0, "eV/atom", "potential", "relax", conditions=condition)
        request = Request("key", Candidate(pressed, Origin("test")), pressed, "bvse", (energy,))
        (outcome,) = BondValenceSettings(resolution=0.5).build().evaluate([request])
        found = {m.property: dict(m.conditions) for m in outcome.measurements}
        assert found["migration_barrier"] == condition
        assert found["log_ionic_conductivity"] == {"temperature": 300.0, **condition}


def test_a_later_relaxation_of_the_cell_ends_the_pressure_and_one_of_the_atoms_does_not() -> None:
    pressed = relaxed(ALLOY, pressure=20.0)
    assert conditions_of(relaxed(end(pressed), pressed)) == {}
    assert conditions_of(relaxed(end(pressed), pressed, cell=False)) == {"pressure": 20.0}
    assert conditions_of(relaxed(end(pressed), pressed, pressure=5.0)) == {"pressure": 5.0}
    strained = relaxed(ALLOY, strain=(0.01, 0.0, 0.0, 0.0, 0.0, 0.02), cell=False)
    assert conditions_of(strained) == {"strain_xx": 0.01, "strain_xy": 0.02}
    assert conditions_of(relaxed(end(strained), strained)) == {}


def test_a_strain_counts_from_a_cell_at_rest() -> None:
    strained = RelaxSettings(strain=0.02, cell=False)
    assert "at rest" in str(strained.misfit([RelaxSettings(pressure=10)]))
    assert "at rest" in str(strained.misfit([strained]))
    assert strained.misfit([RelaxSettings()]) is None
    assert strained.misfit([RelaxSettings(pressure=10), RelaxSettings()]) is None
