"""The hull oracle against the reference that ships, alone and after a real relaxation."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from pymatgen.core import Lattice, Structure

from materials.base import Candidate, Crystal, Measurement, Origin
from materials.evaluation import FailureKind, Outcome, Request, Status
from materials.hull import ReferenceHull
from materials.properties import property_named
from oracles.hull import HullSettings
from oracles.relax import RelaxSettings
from oracles.table import TableSettings


@pytest.fixture(scope="module")
def reference() -> ReferenceHull:
    return ReferenceHull.shipped()


def ask(structure: Structure, energy: float, std: float | None = None, **options: Any) -> Outcome:
    crystal = Crystal(structure)
    measured = Measurement("energy_per_atom", energy, "eV/atom", "potential", "relax", std=std)
    request = Request("key", Candidate(crystal, Origin("test")), crystal, "hull", (measured,))
    (outcome,) = HullSettings.model_validate(options).build().evaluate([request])
    return outcome


def values(outcome: Outcome) -> dict[str, float]:
    return {m.property: m.value for m in outcome.measurements}


@pytest.mark.parametrize("formula", ["Li2O", "LiCl", "Li3PS4", "LiAlO2"])
def test_a_ground_state_lies_on_the_hull_and_is_rediscovered(reference: ReferenceHull, formula: str) -> None:
    phase = reference.known_phases(formula)[0]
    outcome = ask(phase.structure(), phase.energy_per_atom)
    assert outcome.status is Status.DONE
    assert values(outcome)["energy_above_hull"] == pytest.approx(0, abs=1e-3)
    assert outcome.provenance["rediscovered"] == phase.id
    assert outcome.provenance["corrected_energy_per_atom"] == pytest.approx(
        reference.energy_of(phase), abs=1e-3
    )
    assert {m.unit for m in outcome.measurements} == {property_named("energy_above_hull").unit}
    assert Outcome.from_dict(outcome.to_dict()) == outcome


def test_an_energy_of_another_fidelity_is_not_put_on_the_hull(reference: ReferenceHull) -> None:
    """As after DFT has confirmed a doubted material: its energy is the latest, and no energy of the reference's."""
    phase = reference.known_phases("Li2O")[0]
    crystal = Crystal(phase.structure())
    potential = Measurement("energy_per_atom", phase.energy_per_atom, "eV/atom", "potential", "relax")
    dft = Measurement("energy_per_atom", -100.0, "eV/atom", "PBE", "dft")
    candidate = Candidate(crystal, Origin("test"))
    request = Request("key", candidate, crystal, "hull", (potential, dft))
    (outcome,) = HullSettings().build().evaluate([request])
    assert values(outcome)["energy_above_hull"] == pytest.approx(0, abs=1e-3)
    with pytest.raises(ValueError, match="with a potential"):
        list(HullSettings().build().evaluate([Request("key", candidate, crystal, "hull", (dft,))]))


def test_formation_energies_are_near_experiment(reference: ReferenceHull) -> None:
    # CODATA/NIST enthalpies of formation at 298 K: Li2O -597.9 kJ/mol, LiF -616.0 kJ/mol.
    for formula, enthalpy, atoms in (("Li2O", -597.9, 3), ("LiF", -616.0, 2)):
        phase = reference.known_phases(formula)[0]
        found = values(ask(phase.structure(), phase.energy_per_atom))["formation_energy"]
        assert found == pytest.approx(enthalpy / 96.485 / atoms, abs=0.1)


def test_the_energy_counts_one_to_one_and_its_std_adds_in_squares(reference: ReferenceHull) -> None:
    phase = reference.known_phases("LiCl")[0]
    low, high = (
        ask(phase.structure(), phase.energy_per_atom),
        ask(phase.structure(), phase.energy_per_atom + 0.2, 0.03),
    )
    assert values(high)["energy_above_hull"] - values(low)["energy_above_hull"] == pytest.approx(0.2)
    known = low.measurements[0].std or 0.0  # none where all phases are of the relaxed tier
    assert high.measurements[0].std == pytest.approx(math.hypot(known, 0.03))


def test_uncorrected_energies_are_labelled_and_form_nothing(reference: ReferenceHull) -> None:
    phase = reference.known_phases("Li2O")[0]
    outcome = ask(phase.structure(), phase.energy_per_atom, correction="none")
    assert set(values(outcome)) == {"energy_above_hull"}
    assert outcome.provenance["correction"] == "none"
    assert outcome.provenance["correction_per_atom"] == 0
    assert HullSettings(correction="none").measures == ("energy_above_hull",)


def test_where_the_reference_is_silent_nothing_is_called_stable() -> None:
    polonide = Structure(Lattice.cubic(6.0), ["Fr", "At"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    outcome = ask(polonide, -3.0)
    assert outcome.status is Status.REJECTED
    assert outcome.failure is not None
    assert outcome.failure.kind is FailureKind.UNKNOWN_REFERENCE
    assert "no elemental phase of At, Fr" in outcome.failure.message


def test_an_energy_that_cannot_be_true_is_no_discovery() -> None:
    outcome = ask(Structure(Lattice.cubic(3.2), ["Li", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]), -9.0)
    assert outcome.failure is not None
    assert outcome.failure.kind is FailureKind.BAD_RESULT


def test_a_perturbed_ground_state_relaxes_back_on_the_hull(reference: ReferenceHull) -> None:
    phase = reference.known_phases("Li2O")[0]
    start = Crystal(phase.structure().perturb(0.06, seed=4))
    candidate = Candidate(start, Origin("test"))
    (relaxed,) = RelaxSettings().build().evaluate([Request("r", candidate, start, "relax")])
    assert relaxed.material is not None
    request = Request("h", candidate, relaxed.material, "hull", relaxed.measurements)
    (outcome,) = HullSettings().build().evaluate([request])
    assert abs(values(outcome)["energy_above_hull"]) < 0.005
    assert outcome.provenance["rediscovered"] == phase.id


def test_energies_of_another_source_do_not_fit(tmp_path: Path) -> None:
    hull = HullSettings()
    assert hull.misfit([RelaxSettings()]) is None
    refused = hull.misfit([RelaxSettings(potential="7net-l3i5")])
    assert refused is not None
    assert "potential: 7net-0" in refused
    file = tmp_path / "energies.csv"
    file.write_text("formula,energy_per_atom\nLi2O,-4\n")
    table = TableSettings.model_validate({"file": file, "measures": ["energy_per_atom"]})
    assert "unknown source" in str(hull.misfit([table]))


def test_a_reference_file_that_cannot_be_used_is_named_before_the_start(tmp_path: Path) -> None:
    file = tmp_path / "mine.csv"
    file.write_text("id,formula\n")
    hull = HullSettings.model_validate({"reference": ["mine.csv"]}, context={"folder": tmp_path})
    assert "mine.csv, line 1" in str(hull.misfit([RelaxSettings()]))
