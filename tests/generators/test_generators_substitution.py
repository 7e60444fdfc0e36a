from __future__ import annotations

from pathlib import Path

import pytest
from generator_cases import ELEMENTS, Evaluated, crystal, propose
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from pymatgen.core import Lattice, Structure

from generators.base import Generator
from generators.substitution import SubstitutionSettings
from materials.archive import Archive
from materials.base import Crystal
from materials.identity import IdentityIndex
from materials.space import Space
from materials.writing import write_cif


@pytest.fixture(scope="module")
def generator(space: Space) -> Generator:
    return SubstitutionSettings().build(space)


def test_every_candidate_lies_in_the_space_and_no_two_are_the_same(
    generator: Generator, space: Space, empty: Archive
) -> None:
    candidates = propose(generator, 120, empty)
    assert len(candidates) == 120
    assert [space.why_not(c.material) for c in candidates] == [None] * 120
    index = IdentityIndex()
    for candidate in candidates:
        assert index.find(candidate.material) is None
        index.add(candidate.id, candidate.material)
    assert len({c.formula for c in candidates}) > 60
    assert len({c.origin.note.split(":")[0] for c in candidates}) > 40


def test_a_seed_decides_the_proposals(generator: Generator, space: Space, empty: Archive) -> None:
    first = [c.id for c in propose(generator, 25, empty, seed=7)]
    assert [c.id for c in propose(generator, 25, empty, seed=7)] == first
    assert [c.id for c in propose(SubstitutionSettings().build(space), 25, empty, seed=7)] == first
    assert [c.id for c in propose(generator, 25, empty, seed=8)] != first


def test_what_the_archive_holds_is_not_proposed_again(
    generator: Generator, empty: Archive, evaluated: Evaluated
) -> None:
    first = propose(generator, 30, empty)
    known = IdentityIndex()
    for candidate in first:
        known.add(candidate.id, candidate.material)
    again = propose(generator, 30, evaluated(first))
    assert len(again) == 30
    assert all(known.find(c.material) is None for c in again)


def test_the_campaigns_best_become_templates(
    generator: Generator, empty: Archive, evaluated: Evaluated
) -> None:
    first = propose(generator, 10, empty)
    children = [c for c in propose(generator, 60, evaluated(first)) if c.origin.parents]
    assert 5 <= len(children) <= 30
    assert {p for c in children for p in c.origin.parents} <= {c.id for c in first}
    sizes = {c.id: len(crystal(c).structure) for c in first}
    assert all(len(crystal(c).structure) <= sizes[c.origin.parents[0]] for c in children)


def test_structures_of_the_user_become_templates(tmp_path: Path, empty: Archive) -> None:
    rock_salt = Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]
    )
    write_cif(tmp_path / "salt.cif", Crystal(rock_salt))
    space = Space(elements=["Li", "K", "Br", "O"], number_of_elements=2, charge_balanced=True)
    generator = SubstitutionSettings(prototypes=False, structures=(tmp_path,)).build(space)
    candidates = propose(generator, 50, empty)
    assert sorted(c.formula for c in candidates) == ["KBr", "LiBr"]
    assert all(c.origin.note.startswith("salt: ") for c in candidates)
    volumes = {c.formula: crystal(c).structure.volume for c in candidates}
    # Measured at room temperature: a = 5.50 (LiBr) and 6.60 angstrom (KBr), four formula units.
    assert volumes["LiBr"] == pytest.approx(5.50**3 / 4, rel=0.1)
    assert volumes["KBr"] == pytest.approx(6.60**3 / 4, rel=0.1)


def test_a_fixed_formula_is_kept(empty: Archive) -> None:
    space = Space(formula="Li3PS4", number_of_atoms=(8, 40), charge_balanced=True)
    candidates = propose(SubstitutionSettings().build(space), 20, empty)
    assert len(candidates) >= 5
    assert {c.formula for c in candidates} == {"Li3PS4"}
    assert all(space.why_not(c.material) is None for c in candidates)


def test_a_space_without_charge_balance_takes_alloys(empty: Archive) -> None:
    space = Space(elements=["Cu", "Au", "Pd"], number_of_elements=(2, 3), number_of_atoms=(2, 8))
    candidates = propose(SubstitutionSettings().build(space), 30, empty)
    assert len(candidates) == 30
    assert all(space.why_not(c.material) is None for c in candidates)


def test_an_exhausted_space_ends_the_proposals(empty: Archive) -> None:
    space = Space(elements=["Li", "Cl"], number_of_elements=2, number_of_atoms=(2, 4), charge_balanced=True)
    candidates = propose(SubstitutionSettings().build(space), 1000, empty)
    assert 3 < len(candidates) < 60


def test_without_any_source_the_settings_are_refused() -> None:
    with pytest.raises(ValidationError, match="nothing to substitute into"):
        SubstitutionSettings(prototypes=False, parents=0)


@settings(max_examples=8, deadline=None)
@given(
    elements=st.lists(
        st.sampled_from([*ELEMENTS, "Na", "Mg", "Zn", "Ti"]), min_size=3, max_size=6, unique=True
    ),
    most_elements=st.integers(2, 4),
    most_atoms=st.integers(6, 16),
    seed=st.integers(0, 2**32),
)
def test_any_space_is_kept(elements: list[str], most_elements: int, most_atoms: int, seed: int) -> None:
    try:
        space = Space(
            elements=elements,
            required=elements[:1],
            number_of_elements=(2, most_elements),
            number_of_atoms=(3, most_atoms),
            charge_balanced=True,
        )
    except ValidationError:
        return
    archive = Archive([])
    candidates = propose(SubstitutionSettings().build(space), 5, archive, seed)
    assert [space.why_not(c.material) for c in candidates] == [None] * len(candidates)
    assert all(elements[0] in c.formula for c in candidates)


@pytest.mark.slow
def test_two_thousand_candidates_of_twelve_elements_can_be_reached(empty: Archive) -> None:
    space = Space(
        elements=ELEMENTS,
        required=["Li"],
        number_of_elements=(2, 5),
        number_of_atoms=(2, 40),
        charge_balanced=True,
    )
    assert len(propose(SubstitutionSettings().build(space), 2000, empty)) == 2000
