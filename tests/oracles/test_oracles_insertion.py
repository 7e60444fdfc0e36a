"""The oracle `insertion` with the real SevenNet-0: voltages of known electrodes, and what is no electrode."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from pydantic import ValidationError
from pymatgen.core import Structure

from materials.base import Candidate, Composition, Crystal, Material, Measurement, Origin, material_from_dict
from materials.evaluation import FailureKind, Outcome, Request, Status
from materials.hull import ReferenceHull
from oracles.insertion import InsertionOracle, InsertionSettings
from oracles.relax import RelaxSettings


@cache
def oracle() -> InsertionOracle:
    return InsertionSettings().build()


def ask(material: Structure | Material, energy: float, std: float | None = None) -> Outcome:
    if isinstance(material, Structure):
        material = Crystal(material)
    measured = Measurement("energy_per_atom", energy, "eV/atom", "potential", "relax", std=std)
    request = Request("key", Candidate(material, Origin("test")), material, "insertion", (measured,))
    (outcome,) = oracle().evaluate([request])
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
