"""The committee oracle with real potentials: what it doubts, what it does not, and every typed failure."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sevenn
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from pymatgen.core import Lattice, Structure
from scipy.spatial.transform import Rotation

from materials.base import Candidate, Composition, Crystal, Material, Origin
from materials.checkpoints import SHIPPED
from materials.evaluation import FailureKind, Outcome, Request, Status
from materials.hull import ReferenceHull
from oracles.base import Oracle
from oracles.committee import CommitteeSettings
from oracles.opinions import Opinion, Spread

CHECKPOINT = Path(sevenn.__file__).parent / "pretrained_potentials" / SHIPPED["7net-mf-0"].file


@cache
def oracle(*potentials: str) -> Oracle:
    built = CommitteeSettings.model_validate({"potentials": potentials} if potentials else {}).build()
    assert isinstance(built, Oracle)
    return built


def asked(material: Material | Structure, committee: Oracle | None = None) -> Outcome:
    if isinstance(material, Structure):
        material = Crystal(material)
    request = Request("key", Candidate(material, Origin("test")), material, "committee")
    (outcome,) = (committee or oracle()).evaluate([request])
    return outcome


def known(formula: str) -> Structure:
    return ReferenceHull.shipped().known_phases(formula)[0].structure()


def value(outcome: Outcome, name: str) -> float:
    return next(m.value for m in outcome.measurements if m.property == name)


def failure_of(outcome: Outcome) -> FailureKind:
    assert outcome.status is Status.REJECTED
    assert outcome.failure is not None
    assert not outcome.measurements
    assert outcome.doubt is None
    return outcome.failure.kind


@pytest.mark.parametrize("formula", ["NaCl", "Li3PS4", "MgO", "GaAs"])
def test_a_known_phase_is_not_doubted(formula: str) -> None:
    outcome = asked(known(formula))
    assert outcome.status is Status.DONE
    assert outcome.doubt is None
    assert outcome.material is None
    names = {m.property: m.unit for m in outcome.measurements}
    assert names == {"energy_spread": "eV/atom", "force_spread": "eV/angstrom"}
    found = outcome.provenance
    assert found["potentials"] == ["7net-0", "7net-l3i5"]
    assert abs(np.subtract(*found["energies"])) / np.sqrt(2) == pytest.approx(value(outcome, "energy_spread"))
    assert found["distance"] < 1
    assert Outcome.from_dict(json.loads(json.dumps(outcome.to_dict()))) == outcome


# SevenNet-0 finds this compound of helium 0.37 eV/atom more stable than the elements.
HELIUM_SODIUM = Structure.from_spacegroup("Fm-3m", Lattice.cubic(4.6), ["He", "Na"], [[0, 0, 0], [0.5, 0, 0]])
COLLAPSED_SALT = Structure.from_spacegroup(
    "Fm-3m", Lattice.cubic(3.8), ["Na", "Cl"], [[0, 0, 0], [0.5, 0, 0]]
)
PRESSED_HYDRIDE = Structure.from_spacegroup(
    "Im-3m", Lattice.cubic(3.6), ["Y", "H"], [[0, 0, 0], [0.25, 0.5, 0]]
)


@pytest.mark.parametrize("exploit", [HELIUM_SODIUM, COLLAPSED_SALT, PRESSED_HYDRIDE])
def test_where_potentials_are_led_astray_they_disagree(exploit: Structure) -> None:
    outcome = asked(exploit.get_primitive_structure())
    assert outcome.status is Status.DONE
    assert outcome.doubt is not None
    assert "potentials disagree on the energy" in outcome.doubt
    assert value(outcome, "energy_spread") > 0.1


def test_a_potential_of_one_mind_with_itself_can_be_far_from_anything_known() -> None:
    atoms_alone = Structure(Lattice.cubic(40), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    outcome = asked(atoms_alone)
    assert outcome.doubt is not None
    assert outcome.doubt.startswith("far from anything known")


def test_forces_alone_can_raise_a_doubt() -> None:
    moved = known("Li3PS4").copy().perturb(0.2, seed=1)
    strict = CommitteeSettings(largest_energy_spread=100, largest_force_spread=0.05, farthest=1e9).build()
    assert "disagree on the forces" in (asked(moved, strict).doubt or "")
    patient = CommitteeSettings(largest_energy_spread=100, largest_force_spread=100, farthest=1e9).build()
    assert asked(moved, patient).doubt is None


def test_energies_with_different_zeros_are_compared_relative_to_the_elements() -> None:
    """7net-mf-0 speaks r2SCAN here, whose total energies lie 9 eV/atom from PBE's for gallium arsenide."""
    outcome = asked(known("GaAs"), oracle("7net-0", "7net-mf-0:R2SCAN"))
    assert outcome.provenance["relative_to_elements"]
    assert value(outcome, "energy_spread") < 0.2
    first, second = outcome.provenance["energies"]
    assert -0.7 < second < first < 0, "r2SCAN binds it more strongly than PBE"


def test_potentials_that_learned_the_same_energies_are_compared_as_they_are() -> None:
    outcome = asked(known("GaAs"), oracle("7net-0", "7net-mf-0:PBE"))
    assert not outcome.provenance["relative_to_elements"]
    assert outcome.provenance["energies"][0] == pytest.approx(-4.18, abs=0.01)


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_spreads_do_not_depend_on_orientation_order_or_choice_of_cell(seed: int) -> None:
    rng = np.random.default_rng(seed)
    crystal = known("LiF").copy().perturb(0.1, seed=int(rng.integers(1000)))
    turned = Structure(
        crystal.lattice.matrix @ Rotation.random(rng=rng).as_matrix(), crystal.species, crystal.frac_coords
    )
    order = rng.permutation(len(crystal))
    reordered = Structure.from_sites([turned[int(i)] for i in order])
    larger = reordered.make_supercell([int(n) for n in rng.permutation([1, 1, 2])], in_place=False)
    before, after = asked(crystal), asked(larger)
    for name, noise in (("energy_spread", 2e-6), ("force_spread", 1e-4)):
        assert value(after, name) == pytest.approx(value(before, name), rel=1e-3, abs=noise)
    assert after.provenance["distance"] == pytest.approx(before.provenance["distance"], rel=1e-2)


numbers = st.floats(-100, 100)


@given(st.lists(numbers, min_size=13, max_size=13), st.integers(2, 5))
def test_equal_opinions_have_no_spread(values: list[float], count: int) -> None:
    opinion = Opinion(values[0], np.reshape(values[1:7], (2, 3)), np.array(values[7:]))
    found = Spread.of([opinion] * count)
    assert found.energy == pytest.approx(0, abs=1e-12)
    assert found.largest_force == pytest.approx(0, abs=1e-12)
    assert found.stress == pytest.approx(0, abs=1e-9)


@given(numbers, numbers, st.tuples(numbers, numbers, numbers))
def test_two_opinions_spread_by_their_difference_over_the_root_of_two(
    first: float, second: float, push: tuple[float, float, float]
) -> None:
    forces = np.zeros((2, 3))
    pushed = np.array([[0, 0, 0], push])
    found = Spread.of([Opinion(first, forces, None), Opinion(second, pushed, None)])
    assert found.energy == pytest.approx(abs(first - second) / np.sqrt(2), abs=1e-9)
    assert found.forces[0] == 0
    assert found.largest_force == pytest.approx(np.linalg.norm(push) / np.sqrt(2), abs=1e-9)
    assert found.stress is None


def test_an_element_that_a_member_does_not_know_is_named() -> None:
    outcome = asked(Structure(Lattice.cubic(4), ["Po", "Cl"], [[0, 0, 0], [0.5, 0, 0]]))
    assert failure_of(outcome) is FailureKind.UNSUPPORTED_ELEMENT
    assert "Po" in outcome.failure.message  # type: ignore[union-attr]


def test_any_calculator_of_ase_can_be_a_member() -> None:
    committee = oracle("7net-0", "ase.calculators.emt:EMT")
    alloy = asked(known("CuAu"), committee)
    assert alloy.provenance["relative_to_elements"]
    assert alloy.provenance["energies"] == pytest.approx([-0.05, -0.05], abs=0.05)
    assert value(alloy, "energy_spread") < 0.05
    salt = asked(known("NaCl"), committee)
    assert failure_of(salt) is FailureKind.UNSUPPORTED_ELEMENT
    assert "EMT does not know Na" in salt.failure.message  # type: ignore[union-attr]


def test_atoms_in_one_place_have_no_opinion() -> None:
    outcome = asked(Structure(Lattice.cubic(4), ["Na", "Cl"], [[0, 0, 0], [0, 0, 0]]))
    assert failure_of(outcome) is FailureKind.NOT_FINITE
    assert "7net-0" in outcome.failure.message  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "material",
    [Composition("NaCl"), Crystal(Structure(Lattice.cubic(4), [{"Na": 0.5, "Li": 0.5}], [[0, 0, 0]]))],
)
def test_what_has_no_ordered_structure_is_refused(material: Material) -> None:
    assert failure_of(asked(material)) is FailureKind.UNSUPPORTED_MATERIAL


@pytest.mark.parametrize(
    ("potentials", "complaint"),
    [
        (["7net-0"], "at least two"),
        (["7net-0", "7NET-0"], "there twice"),
        (["7net-0", "7net-nine"], "7net-nine"),
        (["7net-0", str(CHECKPOINT)], "sha256"),
    ],
)
def test_a_committee_that_cannot_be_asked_is_refused(potentials: list[str], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        CommitteeSettings.model_validate({"potentials": potentials})


def test_a_member_can_be_a_file_and_counts_by_its_content() -> None:
    digest = hashlib.sha256(CHECKPOINT.read_bytes()).hexdigest()
    named: dict[str, Any] = {"potentials": ["7net-0", {"potential": str(CHECKPOINT), "sha256": digest}]}
    committee, default = CommitteeSettings.model_validate(named), CommitteeSettings()
    assert digest[:12] in committee.model_version()
    assert committee.model_version() != default.model_version()
    assert str(CHECKPOINT) not in str(committee.meaning())
