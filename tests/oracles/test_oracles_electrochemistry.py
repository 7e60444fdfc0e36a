"""The oracle `electrochemistry` against the reference that ships: values, provenance, refusals."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError
from pymatgen.core import Lattice, Structure

from loop.config import CampaignConfig
from materials.base import Candidate, Composition, Crystal, Material, Measurement, Origin
from materials.evaluation import FailureKind, Outcome, Request, Status
from materials.hull import ReferenceHull
from materials.properties import property_named
from oracles.electrochemistry import ElectrochemistrySettings
from oracles.relax import RelaxSettings


@pytest.fixture(scope="module")
def reference() -> ReferenceHull:
    return ReferenceHull.shipped()


def ask(material: Structure | Material, energy: float, std: float | None = None, **options: Any) -> Outcome:
    if isinstance(material, Structure):
        material = Crystal(material)
    measured = Measurement("energy_per_atom", energy, "eV/atom", "potential", "relax", std=std)
    request = Request("key", Candidate(material, Origin("test")), material, "electrochemistry", (measured,))
    (outcome,) = ElectrochemistrySettings.model_validate(options).build().evaluate([request])
    return outcome


def of_phase(reference: ReferenceHull, formula: str, shift: float = 0.0, **options: Any) -> Outcome:
    phase = reference.known_phases(formula)[0]
    return ask(phase.structure(), phase.energy_per_atom + shift, **options)


def values(outcome: Outcome) -> dict[str, float]:
    assert outcome.status is Status.DONE
    return {m.property: m.value for m in outcome.measurements}


def test_a_known_electrolyte_has_its_window_and_reacts_with_both_electrodes(reference: ReferenceHull) -> None:
    outcome = of_phase(reference, "Li3PS4")
    found = values(outcome)
    assert tuple(found) == ElectrochemistrySettings().measures
    assert found["reduction_potential"] == pytest.approx(1.71, abs=0.1)
    assert found["oxidation_potential"] == pytest.approx(2.31, abs=0.1)
    assert found["electrochemical_window"] == pytest.approx(
        found["oxidation_potential"] - found["reduction_potential"]
    )
    interfaces = {i["electrode"]: i for i in outcome.provenance["interfaces"]}
    assert set(interfaces) == {"Li", "LiCoO2"}
    assert found["interface_reaction_energy"] == min(i["reaction_energy"] for i in interfaces.values())
    assert {p["formula"] for p in interfaces["Li"]["products"]} == {"Li2S", "Li3P"}
    assert outcome.provenance["reduction"]["Li"] == pytest.approx(-1)
    assert all(m.unit == property_named(m.property).unit for m in outcome.measurements)
    assert {m.fidelity for m in outcome.measurements} == {"potential"}
    assert Outcome.from_dict(outcome.to_dict()) == outcome


def test_the_electrodes_and_their_potential_can_be_chosen(reference: ReferenceHull) -> None:
    alone = of_phase(reference, "Li3PS4", electrodes=[])
    assert "interface_reaction_energy" not in values(alone)
    closed = of_phase(reference, "Li3PS4", electrodes=["LiCoO2"])
    charged = of_phase(reference, "Li3PS4", electrodes=["LiCoO2"], voltage=4.2)
    assert values(charged)["interface_reaction_energy"] < values(closed)["interface_reaction_energy"] < 0
    held = of_phase(reference, "LiF", voltage=4.2)
    assert values(held)["interface_reaction_energy"] == pytest.approx(0, abs=1e-3)
    assert ElectrochemistrySettings(mobile_ion="Na").touched == ("Na",)
    sodium = of_phase(reference, "NaCl", mobile_ion="Na")
    assert values(sodium)["oxidation_potential"] == pytest.approx(4.0, abs=0.3)


def test_reference_energies_at_database_geometry_make_it_uncertain(reference: ReferenceHull) -> None:
    # Both ends of its window are single-point phases: Li2Ti2(PO4)3 and Ti2(PO4)3.
    outcome = of_phase(reference, "LiTi2(PO4)3", electrodes=[])
    assert any(m.std for m in outcome.measurements)
    sure = of_phase(reference, "LiF", electrodes=["Li"])
    assert all(m.std is None for m in sure.measurements)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"correction": "none"}, "needs corrected energies"),
        ({"mobile_ion": "Xx"}, "not the symbol of an element"),
        ({"mobile_ion": "Ar"}, "forms no cation"),
        ({"electrodes": ["graphite!"]}, "not a formula"),
        ({"electrodes": ["Li", ""]}, "not a formula"),
        ({"voltage": -1}, "greater than or equal to 0"),
        ({"electrode": ["Li"]}, "Extra inputs"),
    ],
)
def test_settings_that_mean_nothing_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ElectrochemistrySettings.model_validate(options)


def test_materials_that_cannot_be_judged_are_rejected_with_a_kind(reference: ReferenceHull) -> None:
    salt = Structure(Lattice.cubic(5.0), ["Li", "F"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    refused = [
        (of_phase(reference, "MgO"), FailureKind.UNSUPPORTED_MATERIAL, "holds no Li"),
        (ask(Composition("LiF"), -5.0), FailureKind.UNSUPPORTED_MATERIAL, "partial occupancies"),
        (ask(salt, -20.0), FailureKind.BAD_RESULT, "below the hull"),
        (of_phase(reference, "LiF", electrodes=["FrCl"]), FailureKind.UNKNOWN_REFERENCE, "Fr"),
    ]
    for outcome, kind, message in refused:
        assert outcome.status is Status.REJECTED
        assert outcome.failure is not None
        assert outcome.failure.kind is kind
        assert message in outcome.failure.message


def test_energies_of_another_source_do_not_fit() -> None:
    settings = ElectrochemistrySettings()
    assert settings.misfit([RelaxSettings()]) is None
    assert "potential: 7net-0" in str(settings.misfit([RelaxSettings(potential="7net-l3i5")]))


def test_a_battery_campaign_can_constrain_it() -> None:
    campaign = {
        "name": "stable",
        "space": {"elements": ["Li", "P", "S", "Cl"], "required": ["Li"]},
        "generators": [{"kind": "random"}],
        "objectives": [{"property": "energy_above_hull", "goal": "minimize"}],
        "constraints": [
            {"property": "oxidation_potential", "at_least": 2.0},
            {"property": "interface_reaction_energy", "at_least": -0.3},
        ],
        "oracles": [
            {"kind": "relax"},
            {"kind": "hull", "gate": {"energy_above_hull": {"at_most": 0.1}}},
            {"kind": "electrochemistry", "gate": {"oxidation_potential": {"at_least": 1.5}}},
        ],
    }
    config = CampaignConfig.model_validate(campaign)
    assert "oxidation_potential" in config.oracles[2].measures
    without = campaign | {"space": {"elements": ["Li", "P", "S", "Cl"]}}
    with pytest.raises(ValidationError, match="needs Li in every material"):
        CampaignConfig.model_validate(without)
