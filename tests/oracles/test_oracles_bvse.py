"""Percolation barriers of known conductors, and everything that has none."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from pymatgen.core import Lattice, Structure

from materials.base import Bound, Candidate, Composition, Crystal, Material, Origin
from materials.evaluation import FailureKind, Outcome, Request, Status
from materials.hull import ReferenceHull
from oracles.conduction.bvse import GRID_ERROR, GRID_POINTS, BondValenceSettings, grid_spacing
from oracles.conduction.calibration import SHIPPED_FILE, shipped_calibration
from oracles.conduction.framework import framework_of, likely_charges

# Antiperovskite Li3OCl, cubic, a = 3.91 angstrom (Zhao, Daemen, J. Am. Chem. Soc. 134, 15042 (2012)).
ANTIPEROVSKITE = Structure(
    Lattice.cubic(3.91),
    ["Li", "Li", "Li", "O", "Cl"],
    [[0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5], [0.5, 0.5, 0.5], [0, 0, 0]],
)


def ask(material: Material | Structure, **options: Any) -> Outcome:
    if isinstance(material, Structure):
        material = Crystal(material)
    request = Request("key", Candidate(material, Origin("test")), material, "bvse")
    (outcome,) = BondValenceSettings.model_validate(options).build().evaluate([request])
    return outcome


def barrier(outcome: Outcome) -> float:
    return next(m.value for m in outcome.measurements if m.property == "migration_barrier")


def conductivity(outcome: Outcome) -> float:
    return next(m.value for m in outcome.measurements if m.property == "log_ionic_conductivity")


def failure(outcome: Outcome) -> FailureKind:
    assert outcome.status is Status.REJECTED
    assert outcome.failure is not None
    return outcome.failure.kind


def test_the_antiperovskite_conducts_as_published() -> None:
    outcome = ask(ANTIPEROVSKITE)
    energy, estimate = outcome.measurements
    assert energy.value == pytest.approx(0.50, abs=0.02)
    assert (energy.unit, energy.fidelity, energy.bound) == ("eV", "bond_valence", Bound.EXACT)
    assert outcome.provenance["barriers"] == {f"{i}D": energy.value for i in (1, 2, 3)}
    assert outcome.provenance["charges"] == {"Li": 1, "O": -2, "Cl": -1}
    assert estimate.unit == "log10(S/cm)"
    assert estimate.conditions == {"temperature": 300}
    assert estimate.std == shipped_calibration().std
    assert Outcome.from_dict(json.loads(json.dumps(outcome.to_dict()))) == outcome


@pytest.mark.parametrize(
    ("formula", "low", "high"), [("Li2O", 0.2, 0.6), ("Li3N", 0.05, 0.4), ("Li2S", 0.2, 0.6)]
)
def test_binary_lithium_compounds_have_plausible_barriers(formula: str, low: float, high: float) -> None:
    phase = ReferenceHull.shipped().known_phases(formula)[0]
    assert low < barrier(ask(phase.structure())) < high


@pytest.mark.slow
def test_a_sulfide_conductor_of_forty_atoms_is_no_trouble() -> None:
    phase = ReferenceHull.shipped().known_phases("Li3PS4")[0]
    assert 0.2 < barrier(ask(phase.structure())) < 0.7


def test_wider_networks_never_cost_less() -> None:
    layered = ReferenceHull.shipped().known_phases("Li3N")[0].structure()
    energies = [barrier(ask(layered, dimensions=d)) for d in (1, 2, 3)]
    assert energies == sorted(energies)
    assert energies[0] < energies[2]


def test_neither_the_choice_of_cell_nor_lithium_order_matters() -> None:
    supercell = ANTIPEROVSKITE.copy().make_supercell([[1, 1, 0], [0, 1, 0], [0, 0, 2]])
    vacancies = ANTIPEROVSKITE.copy()
    vacancies.replace_species({"Li": {"Li": 0.99}})
    plain = barrier(ask(ANTIPEROVSKITE))
    assert barrier(ask(supercell)) == pytest.approx(plain, abs=GRID_ERROR)
    assert barrier(ask(vacancies)) == pytest.approx(plain, abs=GRID_ERROR)


def test_hotter_is_faster_and_the_barrier_stays() -> None:
    cold, hot = ask(ANTIPEROVSKITE), ask(ANTIPEROVSKITE, temperature=600)
    assert conductivity(hot) > conductivity(cold)
    assert barrier(hot) == barrier(cold)


def test_an_estimate_below_anything_possible_is_a_limit() -> None:
    """At 8 K the law says less than 1e-60 S/cm, which nobody could tell from none."""
    estimate = ask(ANTIPEROVSKITE, temperature=8).measurements[1]
    assert (estimate.value, estimate.bound) == (-60.0, Bound.UPPER)


def test_what_does_not_percolate_is_known_to_be_a_bad_conductor() -> None:
    # Squeezed to two thirds of its volume, with a ceiling just below its barrier.
    outcome = ask(ANTIPEROVSKITE.copy().apply_strain(-0.12), ceiling=0.5)
    assert outcome.status is Status.DONE
    energy, estimate = outcome.measurements
    assert (energy.value, energy.bound) == (0.5, Bound.LOWER)
    assert estimate.bound is Bound.UPPER
    assert outcome.provenance["barriers"]["3D"] is None


@pytest.mark.parametrize(
    ("material", "kind", "word"),
    [
        (Structure(Lattice.cubic(4.2), ["Na", "Cl"], [[0] * 3, [0.5] * 3]), "unsupported_material", "no Li"),
        (Structure(Lattice.cubic(3.4), ["Li"], [[0] * 3]), "unsupported_material", "nothing but"),
        (Structure(Lattice.cubic(3.4), ["Li", "Mg"], [[0] * 3, [0.5] * 3]), "unsupported_material", "charge"),
        (
            Structure(Lattice.cubic(3.4), ["Li", {"Cl": 0.5, "Br": 0.5}], [[0] * 3, [0.5] * 3]),
            "unsupported_material",
            "partly occupied",
        ),
        (
            Structure.from_spacegroup(
                "Fm-3m", Lattice.cubic(6.0), ["Li", "Li", "P"], [[0.25] * 3, [0.5] * 3, [0] * 3]
            ),
            "unsupported_element",
            "no parameters for Li1",
        ),
        (Composition("Li2O"), "unsupported_material", "only a crystal"),
        (ANTIPEROVSKITE.copy().scale_lattice(2e4), "unsupported_material", "too large"),
    ],
    ids=["no lithium", "only lithium", "an alloy", "disorder", "a phosphide", "a formula", "a huge cell"],
)
def test_what_cannot_be_measured_is_rejected_with_its_reason(material: Any, kind: str, word: str) -> None:
    outcome = ask(material)
    assert failure(outcome) == kind
    assert outcome.failure is not None
    assert word in outcome.failure.message


def test_the_grid_stays_within_its_limit() -> None:
    framework = framework_of(ANTIPEROVSKITE.copy().scale_lattice(3000), "Li")
    spacing = grid_spacing(framework, 0.2)
    assert 0.2 < spacing < 0.5
    assert math.prod(int(a // spacing) for a in framework.structure.lattice.abc) <= GRID_POINTS


def test_another_ion_has_barriers_but_no_law_of_lithium(tmp_path: Path) -> None:
    sodium = ANTIPEROVSKITE.copy()
    sodium.replace_species({"Li": "Na"})
    sodium.scale_lattice(4.5**3)
    outcome = ask(sodium, mobile_ion="Na")
    assert [m.property for m in outcome.measurements] == ["migration_barrier"]
    assert BondValenceSettings(mobile_ion="Na").measures == ("migration_barrier",)
    law = tmp_path / "sodium.json"
    shipped = json.loads((Path(__file__).parents[2] / "oracles" / "data" / SHIPPED_FILE).read_text())
    law.write_text(json.dumps(shipped | {"mobile_ion": "Na", "intercept": -2.0}))
    measured = ask(sodium, mobile_ion="Na", calibration=str(law))
    assert conductivity(measured) < -2.0
    with pytest.raises(ValidationError, match="made for Na"):
        BondValenceSettings.model_validate({"calibration": str(law)})


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"mobile_ion": "Lithium"}, "not the symbol"),
        ({"dimensions": 4}, "1, 2 or 3"),
        ({"temperature": 0}, "greater"),
    ],
)
def test_bad_settings_are_refused(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        BondValenceSettings.model_validate(options)


@pytest.mark.parametrize(
    ("amounts", "charges"),
    [
        ({"Li": 10, "Ge": 1, "P": 2, "S": 12}, {"Li": 1, "Ge": 4, "P": 5, "S": -2}),
        ({"Li": 1, "Mn": 2, "O": 4}, {"Li": 1, "Mn": 3.5, "O": -2}),
        ({"Li": 6, "P": 1, "S": 5, "Cl": 1}, {"Li": 1, "P": 5, "S": -2, "Cl": -1}),
        ({"Li": 1, "Fe": 1, "P": 1, "O": 4}, {"Li": 1, "Fe": 2, "P": 5, "O": -2}),
        ({"Li": 1, "N": 1, "O": 3}, {"Li": 1, "N": 5, "O": -2}),
        ({"Li": 1, "Mg": 1}, None),
    ],
)
def test_charges_are_the_chemists(amounts: dict[str, float], charges: dict[str, float] | None) -> None:
    assert likely_charges(amounts) == charges
