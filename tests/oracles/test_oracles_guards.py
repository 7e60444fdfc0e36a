"""Real exploits of SevenNet-0: cells to which it gives energies far too low, and the guard that refuses each.

Found by relaxing and scanning squeezed simple packings of the elements. Every test first shows that the potential does
reward the cell, then that the oracles do not.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from materials.base import Candidate, Crystal, Origin
from materials.evaluation import FailureKind, Outcome, Request, Status
from materials.hull import ReferenceHull
from materials.potential import load_potential
from materials.relaxation import relax
from oracles.guards import why_repacked, why_unphysical
from oracles.hull import HullSettings
from oracles.relax import RelaxSettings


def simple_cubic(symbol: str, volume: float) -> Structure:
    return Structure(Lattice.cubic(volume ** (1 / 3)), [symbol], [[0, 0, 0]])


def diamond(symbol: str, distance: float) -> Structure:
    edge = 4 * distance / np.sqrt(3)
    vectors = Lattice(edge / 2 * np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]))
    return Structure(vectors, [symbol] * 2, [[0, 0, 0], [0.25, 0.25, 0.25]])


def ground_state(symbol: str) -> float:
    """Uncorrected energy of the element's lowest known phase, eV/atom."""
    return ReferenceHull.shipped(correction="none").known_phases(symbol)[0].energy_per_atom


def energy(structure: Structure) -> float:
    return float(load_potential().evaluate([structure]).energies_per_atom[0])


def relaxed(structure: Structure, **options: Any) -> Outcome:
    crystal = Crystal(structure)
    request = Request("r", Candidate(crystal, Origin("test")), crystal, "relax")
    (outcome,) = RelaxSettings.model_validate(options).build().evaluate([request])
    return outcome


def on_the_hull(outcome: Outcome) -> Outcome:
    assert outcome.material is not None
    candidate = Candidate(outcome.material, Origin("test"))
    request = Request("h", candidate, outcome.material, "hull", outcome.measurements)
    (judged,) = HullSettings().build().evaluate([request])
    return judged


def refused(outcome: Outcome, kind: FailureKind, said: str) -> None:
    assert outcome.status is Status.REJECTED
    assert not outcome.measurements
    assert outcome.failure is not None
    assert outcome.failure.kind is kind
    assert said in outcome.failure.message


def test_magnesium_atoms_inside_each_other_are_too_near() -> None:
    """Simple cubic magnesium at 1.55 angstrom, half a bond, lies 0.9 eV/atom below the metal."""
    squeezed = simple_cubic("Mg", 1.55**3)
    assert energy(squeezed) < ground_state("Mg") - 0.5
    refused(relaxed(squeezed, cell=False), FailureKind.BAD_RESULT, "Mg and Mg are 1.55 angstrom apart, 0.550")


def test_beryllium_below_three_cubic_angstrom_is_no_solid() -> None:
    """Simple cubic beryllium at 2.98 cubic angstrom per atom (the metal has 7.9) lies 0.6 eV/atom below the metal."""
    squeezed = simple_cubic("Be", 2.98)
    assert energy(squeezed) < ground_state("Be") - 0.5
    refused(relaxed(squeezed, cell=False), FailureKind.UNSUPPORTED_MATERIAL, "2.98 cubic angstrom per atom")


def test_silicon_whose_cell_collapsed_is_no_diamond() -> None:
    """Squeezed diamond relaxes, freely and to convergence, to 4.4 instead of 20.4 cubic angstrom per atom."""
    squeezed = diamond("Si", 1.5)
    end = relax(squeezed, load_potential())
    assert end.converged
    assert end.energy_per_atom < ground_state("Si") - 0.9
    assert "angstrom apart" in str(why_unphysical(end.structure))
    refused(relaxed(squeezed), FailureKind.BAD_RESULT, "Si and Si are 1.4")


@pytest.mark.parametrize(
    ("start", "depth"),
    [
        (simple_cubic("He", 4.3), 0.6),  # at 4.3 cubic angstrom per atom; solid helium has some 20 and more
        (diamond("Xe", 2.8), 0.001),  # a noble gas with open rings, barely below: still no stable material
    ],
    ids=["dense helium", "xenon diamond"],
)
def test_a_repacking_of_one_element_is_never_stable(start: Structure, depth: float) -> None:
    """Relaxed freely and converged, unsuspicious by distance and volume, below the element's ground state."""
    outcome = relaxed(start)
    assert outcome.status is Status.DONE
    symbol = start.composition.elements[0].symbol
    assert outcome.measurements[0].value < ground_state(symbol) - depth
    refused(on_the_hull(outcome), FailureKind.DISTRUSTED, "below the known ground state of the element")


def test_a_held_repacking_is_not_believed_either() -> None:
    """Simple cubic beryllium just above the volume limit, 0.95 eV/atom below the metal."""
    outcome = relaxed(simple_cubic("Be", 3.05), cell=False)
    assert outcome.measurements[0].value < ground_state("Be") - 0.9
    refused(on_the_hull(outcome), FailureKind.DISTRUSTED, "3.0 cubic angstrom per atom")


def test_a_collapsed_cell_is_not_excused_by_repeating_a_known_phase() -> None:
    """Phases are matched whatever their volume, so collapsed diamond still counts as silicon's ground state."""
    squeezed = diamond("Si", 1.44)
    assert ReferenceHull.shipped().matching_phase(squeezed) is not None
    refused(on_the_hull(relaxed(squeezed.copy(), cell=False)), FailureKind.DISTRUSTED, "Si: 0.2")


def test_the_ground_state_found_again_is_no_repacking() -> None:
    outcome = relaxed(diamond("Si", 2.3).perturb(0.05, seed=1))
    judged = on_the_hull(outcome)
    assert judged.status is Status.DONE
    assert judged.measurements[0].value == pytest.approx(0, abs=0.003)
    assert judged.provenance["rediscovered"] == "mp-149"


@pytest.mark.parametrize(
    ("species", "distance", "known", "believed"),
    [
        (["Si", "Si"], -0.004, "mp-149", True),
        (["Si", "Si"], -0.004, None, False),
        (["Si", "Si"], -0.006, "mp-149", False),
        (["Si", "Si"], 0.001, None, True),
        (["Si", "C"], -0.05, None, True),
    ],
)
def test_only_elements_below_their_ground_state_are_repackings(
    species: list[str], distance: float, known: str | None, believed: bool
) -> None:
    structure = Structure(diamond("Si", 2.3).lattice, species, [[0, 0, 0], [0.25, 0.25, 0.25]])
    assert (why_repacked(structure, distance, known) is None) is believed


def test_an_element_outside_the_training_has_no_energy_at_all() -> None:
    """SevenNet's own calculator refuses it too; what would run is a guess without any data behind."""
    refused(
        relaxed(Structure(Lattice.cubic(3.35), ["Po"], [[0, 0, 0]])), FailureKind.UNSUPPORTED_ELEMENT, "Po"
    )
