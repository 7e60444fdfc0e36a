"""Charge balance and what goes with it, on compounds everybody knows."""

import numpy as np
import pymatgen.core as pmg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from materials.chemistry import (
    balanced_formula_exists,
    covalent_radius,
    electronegativity,
    element_amounts,
    formula_units,
    is_charge_balanced,
    oxidation_states,
    random_cell_composition,
)

BATTERY = ["Li", "P", "S", "O", "Cl", "Br", "Si", "Al", "Y", "Zr", "N", "I"]


@pytest.mark.parametrize(
    "formula",
    [
        *("Li2O", "NaCl", "Al2O3", "NaN", "LiH", "Li3PS4", "Li6PS5Cl", "Li10GeP2S12", "LiClO4", "LiPF6"),
        *("Fe3O4", "BaBiO3", "LiMn2O4", "CsSnCl3", "FeS2", "LiCoO2", "CoO2", "NiO2", "Li4P2S6", "NH4Cl"),
        *("Li7La3Zr2O12", "Li6.4La3Zr1.4Ta0.6O12", "Li0.333La0.556TiO3"),
    ],
)
def test_known_salts_balance(formula: str) -> None:
    assert is_charge_balanced(pmg.Composition(formula))


@pytest.mark.parametrize(
    "formula", ["LiO", "Li3O", "NaCl2", "AlO", "MgAl", "Li", "O2", "Ar", "LiAr", "Li2O2"]
)
def test_others_do_not(formula: str) -> None:
    assert not is_charge_balanced(pmg.Composition(formula))


def test_written_oxidation_states_change_nothing() -> None:
    decorated = pmg.Composition({"Li+": 2, "O2-": 1})
    assert is_charge_balanced(decorated)
    assert element_amounts(decorated) == {"Li": 2.0, "O": 1.0}


@settings(deadline=None, max_examples=50)
@given(
    st.dictionaries(st.sampled_from(BATTERY), st.integers(1, 9), min_size=2, max_size=5), st.integers(2, 4)
)
def test_balance_belongs_to_the_reduced_formula(amounts: dict[str, int], times: int) -> None:
    composition = pmg.Composition(amounts)
    assert is_charge_balanced(composition) == is_charge_balanced(composition * times)


def test_many_elements_take_no_time() -> None:
    everything = {e.symbol: 1 for e in pmg.Element if e.Z <= 94}
    assert isinstance(is_charge_balanced(pmg.Composition(everything)), bool)


def test_elements_have_states_radii_and_electronegativities() -> None:
    assert oxidation_states("Li") == (1,)
    assert {2, 3} <= set(oxidation_states("Fe"))
    assert oxidation_states("Ar") == ()
    assert covalent_radius("C") == pytest.approx(0.76)
    assert 1.2 < covalent_radius("Lr") < 2.0
    assert electronegativity("F") == pytest.approx(3.98)
    assert electronegativity("Ar") == 0.0


def test_impossible_chemistry_is_recognised() -> None:
    assert not balanced_formula_exists(["Li", "Na", "Mg"], [], (1, 3), (1, 40))
    assert not balanced_formula_exists(["Al", "O"], [], (1, 2), (1, 4))
    assert balanced_formula_exists(["Al", "O"], [], (1, 2), (1, 5))
    assert not balanced_formula_exists(["Al", "O"], [], (1, 2), (6, 9))
    assert not balanced_formula_exists(["Li", "O", "F"], ["O", "F"], (2, 2), (1, 40))
    assert balanced_formula_exists(["Li", "O", "F"], ["O", "F"], (2, 3), (1, 40))
    assert not balanced_formula_exists(["Li"], [], (1, 1), (1, 40))


@pytest.mark.parametrize(
    ("atoms", "limits", "expected"),
    [(3, (1, 10), [1, 2, 3]), (3, (4, 10), [2, 3]), (5, (6, 9), []), (7, (7, 7), [1]), (8, (1, 7), [])],
)
def test_formula_units_fit_the_cell(atoms: int, limits: tuple[int, int], expected: list[int]) -> None:
    assert list(formula_units(atoms, limits)) == expected


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32), st.integers(2, 5), st.integers(0, 3), st.integers(5, 40), st.booleans())
def test_random_compositions_keep_every_limit(
    seed: int, least: int, more: int, atoms: int, charge_balanced: bool
) -> None:
    most = min(least + more, atoms)
    found = random_cell_composition(
        np.random.default_rng(seed), BATTERY, ["Li"], (min(least, most), most), (2, atoms), charge_balanced
    )
    if found is None:
        return
    assert "Li" in found
    assert min(least, most) <= len(found) <= most
    assert 2 <= found.num_atoms <= atoms
    assert is_charge_balanced(found) or not charge_balanced


def test_random_compositions_are_found_and_repeat() -> None:
    def draw() -> list[pmg.Composition | None]:
        rng = np.random.default_rng(0)
        return [random_cell_composition(rng, BATTERY, ["Li"], (2, 5), (2, 40), True) for _ in range(50)]

    first = draw()
    assert first == draw()
    assert all(first)
    assert len({c.reduced_formula for c in first if c}) > 20
