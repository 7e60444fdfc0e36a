"""The oracle `insertion` with the real SevenNet-0: voltages of known electrodes, and what is no electrode."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from pydantic import ValidationError
from pymatgen.apps.battery.insertion_battery import InsertionElectrode
from pymatgen.core import Element, Structure
from pymatgen.entries.computed_entries import ComputedEntry, ComputedStructureEntry

from materials.base import Candidate, Composition, Crystal, Material, Measurement, Origin, material_from_dict
from materials.corrections import correction_per_atom
from materials.evaluation import FailureKind, Outcome, Request, Status
from materials.hull import ReferenceHull
from oracles.insertion import InsertionOracle, InsertionSettings
from oracles.relax import RelaxSettings


@cache
def oracle(ion: str = "Li") -> InsertionOracle:
    return InsertionSettings(mobile_ion=ion).build()


def ask(material: Structure | Material, energy: float, std: float | None = None, ion: str = "Li") -> Outcome:
    if isinstance(material, Structure):
        material = Crystal(material)
    measured = Measurement("energy_per_atom", energy, "eV/atom", "potential", "relax", std=std)
    request = Request("key", Candidate(material, Origin("test")), material, "insertion", (measured,))
    (outcome,) = oracle(ion).evaluate([request])
    return outcome


def of_phase(formula: str, id: str, std: float | None = None) -> Outcome:
    phase = next(p for p in ReferenceHull.shipped().known_phases(formula) if p.id == id)
    return ask(phase.structure(), phase.energy_per_atom, std)


def test_layered_lithium_cobalt_oxide_gives_what_is_known_of_it() -> None:
    outcome = of_phase("LiCoO2", "mp-22526", std=0.01)
    assert outcome.status is Status.DONE
    found = {m.property: m for m in outcome.measurements}
    assert tuple(found) == InsertionSettings().measures
    # GGA+U of the whole range; measured 3.9 to 4.1 V over the half that is used.
    assert 3.3 < found["average_voltage"].value < 4.2
    assert found["average_voltage"].std == pytest.approx(4 * 0.01)
    # F / (3.6 M) with M = 97.87 g/mol.
    assert found["gravimetric_capacity"].value == pytest.approx(96485.33 / 3.6 / 97.873, rel=1e-4)
    assert -0.2 < found["volume_change"].value < 0.2
    charged = material_from_dict(outcome.provenance["charged"])
    assert isinstance(charged, Crystal)
    assert charged.structure.composition.reduced_formula == "CoO2"
    assert outcome.provenance["charged_relaxation"]["converged"]
    assert outcome.material is None
    assert Outcome.from_dict(outcome.to_dict()) == outcome


@pytest.mark.parametrize(("ion", "charge"), [("Li", 1), ("Ag", 1), ("Cu", 1), ("Mg", 2), ("Al", 3)])
def test_voltage_and_capacity_count_the_ions_real_charge(ion: str, charge: int) -> None:
    """pymatgen's InsertionElectrode counts every ion with the highest oxidation state it knows (Ag 3, Cu 4)."""
    titanium_sulfide = ReferenceHull.shipped().known_phases("LiTiS2")[0].structure()
    discharged = titanium_sulfide.replace_species({"Li": ion}, in_place=False)
    outcome = ask(discharged, -5.0, ion=ion)
    assert outcome.status is Status.DONE, outcome.failure
    found = {m.property: m.value for m in outcome.measurements}
    told = outcome.provenance
    charged = material_from_dict(told["charged"])
    assert isinstance(charged, Crystal)
    pair = [
        ComputedStructureEntry(structure, (energy + correction_per_atom(structure)) * len(structure))
        for structure, energy in (
            (discharged, -5.0),
            (charged.structure, told["charged_energy_per_atom"]),
        )
    ]
    metal = ComputedEntry(ion, told["metal_energy_per_atom"])
    pymatgen = InsertionElectrode.from_entries(pair, metal)
    counted = max(Element(ion).oxidation_states) / charge
    assert found["average_voltage"] == pytest.approx(pymatgen.get_average_voltage() * counted)
    assert found["gravimetric_capacity"] == pytest.approx(pymatgen.get_capacity_grav() / counted, rel=1e-5)
    mass = Element(ion).atomic_mass + Element("Ti").atomic_mass + 2 * Element("S").atomic_mass
    assert found["gravimetric_capacity"] == pytest.approx(charge * 26801.48 / mass, rel=1e-5)


def test_an_oxide_without_its_lithium_is_no_electrode() -> None:
    phase = ReferenceHull.shipped().known_phases("Li2O")[0]
    outcome = ask(phase.structure(), phase.energy_per_atom)
    assert outcome.status is Status.REJECTED
    assert outcome.failure is not None
    assert outcome.failure.kind in (FailureKind.BAD_RESULT, FailureKind.EXPLODED, FailureKind.NOT_CONVERGED)
    assert (
        outcome.failure.message.startswith("Li2O, charged:")
        or "no insertion electrode" in outcome.failure.message
    )


def test_materials_that_cannot_be_charged_are_rejected_before_anything_is_relaxed() -> None:
    reference = ReferenceHull.shipped()
    for material in (
        reference.known_phases("MgO")[0].structure(),
        reference.known_phases("Li")[0].structure(),
        Composition("LiCoO2"),
    ):
        outcome = ask(material, -5.0)
        assert outcome.failure is not None
        assert outcome.failure.kind is FailureKind.UNSUPPORTED_MATERIAL


@pytest.mark.parametrize(
    ("options", "message"),
    [({"correction": "none"}, "needs corrected energies"), ({"mobile_ion": "Ar"}, "forms no cation")],
)
def test_settings_that_mean_nothing_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        InsertionSettings.model_validate(options)


def test_both_electrodes_come_from_one_potential() -> None:
    settings = InsertionSettings()
    assert settings.misfit([RelaxSettings()]) is None
    assert "same potential" in str(settings.misfit([RelaxSettings(potential="7net-l3i5")]))
    assert InsertionSettings(potential="7net-l3i5").relaxation().potential == "7net-l3i5"
