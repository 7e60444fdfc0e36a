"""The design space: which blocks are possible, and which reason a material is refused for."""

from typing import Any

import numpy as np
import pymatgen.core as pmg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from materials.base import Composition, Crystal
from materials.chemistry import is_charge_balanced
from materials.space import Space


def rock_salt(cation: str = "Na", anion: str = "Cl", edge: float = 5.64) -> pmg.Structure:
    return pmg.Structure.from_spacegroup(
        "Fm-3m", pmg.Lattice.cubic(edge), [cation, anion], [[0, 0, 0], [0.5, 0.5, 0.5]]
    )


def space(**changes: Any) -> Space:
    return Space.model_validate({"elements": ["Li", "Na", "Cl", "O"], "charge_balanced": True} | changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"elements": ["Li", "Xq"]}, "'Xq' is no element"),
        ({"elements": ["Li", "cl"]}, "did you mean 'Cl'"),
        ({"elements": ["Li", "Li", "O"]}, "named more than once: Li"),
        ({"elements": []}, "at least 1 item"),
        ({"required": ["S"]}, "S not in elements"),
        ({"required": ["Li", "O"], "number_of_elements": 1}, "2 elements, but number_of_elements allows 1"),
        ({"number_of_elements": [4, 2]}, r"write \[smallest, largest\]"),
        ({"number_of_elements": [5, 6]}, "at least 5 wanted, but elements names 4"),
        ({"number_of_atoms": [0, 5]}, "both above zero"),
        ({"number_of_elements": [3, 3], "number_of_atoms": [2, 2]}, "fewer atoms than elements"),
        ({"volume_per_atom": [20, 10]}, r"write \[smallest, largest\]"),
        ({"elements": ["Li", "Na"]}, "no charge-balanced formula of Li, Na exists"),
        ({"elements": ["Al", "O"], "number_of_atoms": [2, 4]}, "no charge-balanced formula of Al, O exists"),
        ({"formula": "LiXx"}, "is no chemical formula"),
        ({"formula": "LiF"}, "LiF contradicts the rest of the space: element outside the space"),
        ({"formula": "NaCl2"}, "NaCl2 contradicts the rest of the space: not charge balanced"),
        ({"formula": "Li2O", "number_of_atoms": 2}, "contradicts the rest of the space: too many atoms"),
        ({"element": ["Li"]}, "Extra inputs are not permitted"),
    ],
)
def test_an_impossible_space_is_refused_with_its_reason(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        space(**changes)


def test_short_forms_are_filled_in() -> None:
    assert space(number_of_atoms=8).number_of_atoms == (8, 8)
    assert space().number_of_elements == (1, 4)
    assert space(number_of_elements=[2, 9]).number_of_elements == (2, 4)
    assert Space(formula="LiFePO4").elements == ("Li", "Fe", "P", "O")
    assert Space(formula="Li2Fe2P2O8").formula == "LiFePO4"
    assert Space.model_validate(space().model_dump(mode="json")) == space()


good = rock_salt()
half = pmg.Structure(good.lattice, [{"Na": 0.5}] * 4 + ["Cl"] * 4, good.frac_coords)
close = pmg.Structure(good.lattice, good.species, [*good.frac_coords[:-1], [0.1, 0.0, 0.0]])
lonely = pmg.Structure(
    pmg.Lattice.orthorhombic(5, 5, 16),
    ["Na", "Na", "Cl", "Cl"],
    [[0, 0, 0], [0.5, 0.5, 0], [0.5, 0.5, 0.14], [0, 0, 0.5]],
)
infinite = pmg.Structure(good.lattice, good.species, np.full((8, 3), np.nan))


@pytest.mark.parametrize(
    ("changes", "structure", "reason"),
    [
        ({}, good, None),
        ({}, rock_salt("K"), "element outside the space"),
        ({"required": ["Li"]}, good, "required element missing"),
        ({"number_of_elements": [3, 4]}, good, "too few elements"),
        (
            {"elements": ["Na", "Cl", "O"], "number_of_elements": 1, "charge_balanced": False},
            good,
            "too many elements",
        ),
        ({"formula": "Na2O"}, good, "another formula"),
        ({}, rock_salt("Na", "O"), "not charge balanced"),
        ({}, half, "partial occupancies"),
        ({}, rock_salt(edge=3.0), "volume per atom out of range"),
        ({}, rock_salt(edge=12.0), "volume per atom out of range"),
        ({}, close, "atoms too close"),
        ({}, lonely, "isolated atom"),
        ({}, infinite, "coordinates not finite"),
        ({"number_of_atoms": [3, 8]}, good, "too few atoms"),
        ({"number_of_atoms": [2, 2]}, good, None),
    ],
)
def test_a_material_is_refused_for_the_first_reason(
    changes: dict[str, Any], structure: pmg.Structure, reason: str | None
) -> None:
    assert space(**changes).why_not(Crystal(structure)) == reason


def test_the_primitive_cell_counts() -> None:
    big = good * (2, 1, 1)
    assert len(big) == 16
    assert space(number_of_atoms=[1, 2]).why_not(Crystal(big)) is None
    big.translate_sites([0], [0.05, 0, 0])
    assert space(number_of_atoms=[1, 2]).why_not(Crystal(big)) == "too many atoms"


def test_partial_occupancies_are_let_in_on_request() -> None:
    lenient = space(partial_occupancies=True, charge_balanced=False)
    assert lenient.why_not(Crystal(half)) is None
    split = pmg.Structure(good.lattice, [*good.species_and_occu[:7], {"Cl": 0.5}], good.frac_coords)
    split.append({"Cl": 0.5}, split[7].frac_coords + np.array([0.03, 0, 0]))
    assert lenient.why_not(Crystal(split)) is None
    full = split.copy()
    full[7], full[8] = {"Cl": 0.9}, {"Cl": 0.9}
    assert lenient.why_not(Crystal(full)) == "atoms too close"


def test_compositions_have_a_space_of_their_own() -> None:
    formulas = space(kind="composition", number_of_atoms=[4, 8])
    assert formulas.why_not(Composition("NaCl")) is None
    assert formulas.why_not(Composition("Na2O")) is None
    assert formulas.why_not(Composition("NaCl2")) == "not charge balanced"
    assert formulas.why_not(Composition("Li4Na4O4")) is None
    assert formulas.why_not(Composition("Li20O10Cl10")) == "not charge balanced"
    assert formulas.why_not(Crystal(good)) == "not a composition"
    assert space().why_not(Composition("NaCl")) == "not a crystal"
    assert (
        space(kind="composition", number_of_atoms=5).why_not(Composition("NaCl"))
        == "number of atoms out of reach"
    )
    assert space(kind="composition", number_of_atoms=5).why_not(Composition("Li4OCl2")) == "too many atoms"


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32))
def test_skewed_cells_are_judged_by_true_distances(seed: int) -> None:
    rng = np.random.default_rng(seed)
    while abs(np.linalg.det(change := rng.integers(-2, 3, (3, 3)))) != 1:
        pass
    skewed = pmg.Structure(
        change @ good.lattice.matrix, good.species, good.cart_coords, coords_are_cartesian=True
    )
    elsewhere = skewed.frac_coords + rng.integers(-3, 4, (8, 3))
    skewed = pmg.Structure(skewed.lattice, good.species, elsewhere)
    assert space().why_not(Crystal(skewed)) is None
    near = skewed.copy()
    near.append("Cl", skewed[0].coords + rng.integers(-3, 4, 3) @ skewed.lattice.matrix + 0.5, True)
    assert space(charge_balanced=False).why_not(Crystal(near)) == "atoms too close"


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 2**32))
def test_random_compositions_lie_in_the_space(seed: int) -> None:
    narrow = space(required=["Li"], number_of_elements=[2, 3], number_of_atoms=[3, 20])
    found = list(narrow.random_compositions(np.random.default_rng(seed), 10))
    assert len(found) == 10
    as_formulas = space(
        kind="composition", required=["Li"], number_of_elements=[2, 3], number_of_atoms=[3, 20]
    )
    for composition in found:
        assert 3 <= composition.num_atoms <= 20
        assert is_charge_balanced(composition)
        assert as_formulas.why_not(Composition(composition.formula)) is None


def test_a_fixed_formula_gives_whole_cells_of_it() -> None:
    fixed = Space(formula="Li2O", number_of_atoms=(4, 12))
    found = list(fixed.random_compositions(np.random.default_rng(0), 20))
    assert {c.reduced_formula for c in found} == {"Li2O"}
    assert {c.num_atoms for c in found} == {6, 9, 12}
