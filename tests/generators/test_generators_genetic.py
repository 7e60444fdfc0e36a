from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from generator_cases import Evaluated, crystal, propose
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure

from generators.fingerprint import distance, fingerprint
from generators.genetic import Genetic, GeneticSettings
from generators.operators import heredity, permutation, strain, transmutation
from generators.substitution import SubstitutionSettings
from materials.archive import Archive
from materials.base import Candidate, Crystal, Origin
from materials.space import Space

SALT = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.1), ["Li", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
FLUORITE = Structure.from_spacegroup(
    "Fm-3m", Lattice.cubic(4.6), ["O", "Li"], [[0, 0, 0], [0.25, 0.25, 0.25]]
)
ANTIPEROVSKITE = Structure(
    Lattice.cubic(3.9),
    ["Li", "Li", "Li", "O", "Cl"],
    [[0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5], [0.5, 0.5, 0.5], [0, 0, 0]],
)
seeds = st.integers(0, 2**32).map(np.random.default_rng)


@pytest.fixture(scope="module")
def parents(space: Space) -> list[Candidate]:
    generator = SubstitutionSettings().build(space)
    return list(generator.propose(12, Archive([]), np.random.default_rng(5)))


def symbols(structure: Structure) -> Counter[str]:
    return Counter(site.specie.symbol for site in structure)


def test_without_parents_there_are_no_children(space: Space, empty: Archive) -> None:
    assert propose(GeneticSettings().build(space), 10, empty) == []


def test_children_lie_in_the_space_and_name_their_parents(
    space: Space, parents: list[Candidate], evaluated: Evaluated
) -> None:
    children = propose(GeneticSettings().build(space), 60, evaluated(parents))
    assert len(children) == 60
    assert [space.why_not(c.material) for c in children] == [None] * 60
    assert {c.origin.note for c in children} == {"heredity", "transmutation", "permutation", "strain"}
    known = {c.id for c in parents}
    for child in children:
        assert set(child.origin.parents) <= known
        assert len(child.origin.parents) == (2 if child.origin.note == "heredity" else 1)


def test_a_seed_decides_the_children(space: Space, parents: list[Candidate], evaluated: Evaluated) -> None:
    generator, archive = GeneticSettings().build(space), evaluated(parents)
    first = [c.id for c in propose(generator, 15, archive, seed=2)]
    assert [c.id for c in propose(generator, 15, archive, seed=2)] == first
    assert [c.id for c in propose(generator, 15, archive, seed=3)] != first


def test_better_parents_have_more_children(
    space: Space, parents: list[Candidate], evaluated: Evaluated
) -> None:
    children = propose(GeneticSettings().build(space), 80, evaluated(parents))
    uses = Counter(p for c in children for p in c.origin.parents)
    half = len(parents) // 2
    assert sum(uses[c.id] for c in parents[:half]) > sum(uses[c.id] for c in parents[half:])


def test_a_niche_has_one_parent_its_best(evaluated: Evaluated) -> None:
    shaken = [SALT.copy().perturb(0.01) for _ in range(5)]
    structures = [SALT, *shaken, FLUORITE]
    candidates = [Candidate(Crystal(s), Origin("test")) for s in structures]
    found = Genetic(Space(elements=["Li", "O", "Cl"]), parents=10).niches(evaluated(candidates))
    assert [record.id for record, _ in found] == [candidates[0].id, candidates[-1].id]


def test_the_fingerprint_sees_no_choice_of_cell_and_tells_crystals_apart() -> None:
    primitive = SALT.get_primitive_structure()
    moved = primitive.copy().make_supercell([2, 1, 1]).translate_sites(range(4), [0.1, 0.2, 0.3])
    assert distance(fingerprint(SALT), fingerprint(moved)) < 1e-6
    assert distance(fingerprint(SALT), fingerprint(SALT.copy().perturb(0.02))) < 0.03
    wurtzite = Structure.from_spacegroup(
        "P6_3mc", Lattice.hexagonal(4.0, 6.5), ["Li", "Cl"], [[1 / 3, 2 / 3, 0], [1 / 3, 2 / 3, 0.375]]
    )
    assert distance(fingerprint(SALT), fingerprint(wurtzite)) > 0.1
    assert distance(fingerprint(SALT), fingerprint(FLUORITE)) > 0.3


@settings(max_examples=25, deadline=None)
@given(seeds)
def test_strain_keeps_atoms_and_volume(rng: np.random.Generator) -> None:
    child = strain(ANTIPEROVSKITE, rng)
    assert child.volume == pytest.approx(ANTIPEROVSKITE.volume)
    assert symbols(child) == symbols(ANTIPEROVSKITE)
    assert not np.allclose(child.lattice.matrix, ANTIPEROVSKITE.lattice.matrix, atol=1e-3)


@settings(max_examples=25, deadline=None)
@given(seeds)
def test_permutation_keeps_the_composition_and_the_places(rng: np.random.Generator) -> None:
    child = permutation(ANTIPEROVSKITE, rng)
    assert child is not None
    assert symbols(child) == symbols(ANTIPEROVSKITE)
    assert np.allclose(child.frac_coords, ANTIPEROVSKITE.frac_coords)
    # The two anions are the ions of one sign that differ; lithium has nothing to change places with.
    assert [s.specie.symbol for s in child][:3] == ["Li", "Li", "Li"]


def test_an_element_has_nothing_to_permute() -> None:
    assert permutation(Structure(Lattice.cubic(3), ["Li"], [[0, 0, 0]]), np.random.default_rng(0)) is None


@settings(max_examples=25, deadline=None)
@given(seeds)
def test_transmutation_keeps_places_and_the_rules_of_the_space(rng: np.random.Generator) -> None:
    space = Space(elements=["Li", "Na", "O", "S", "Cl", "Br", "F"], required=["Li"], charge_balanced=True)
    child = transmutation(ANTIPEROVSKITE, space, rng)
    if child is None:
        return
    assert space.why_not(Crystal(child)) is None
    assert symbols(child) != symbols(ANTIPEROVSKITE)
    assert np.allclose(child.frac_coords, ANTIPEROVSKITE.frac_coords)
    assert 0.4 < child.volume / ANTIPEROVSKITE.volume < 2.5


@settings(max_examples=25, deadline=None)
@given(seeds)
def test_children_of_two_keep_the_rules_of_the_space(rng: np.random.Generator) -> None:
    space = Space(elements=["Li", "O", "Cl"], required=["Li"], number_of_atoms=(2, 24), charge_balanced=True)
    child = heredity(SALT, FLUORITE, space, rng)
    if child is None:
        return
    assert space.why_not(Crystal(child)) not in (
        "not charge balanced",
        "required element missing",
        "too many atoms",
    )
    assert 5 < child.volume / len(child) < 30


def test_children_keep_a_fixed_formula(evaluated: Evaluated) -> None:
    space = Space(formula="Li3ClO", number_of_atoms=(5, 10))
    tilted = strain(ANTIPEROVSKITE, np.random.default_rng(1))
    double = ANTIPEROVSKITE.copy().make_supercell([2, 1, 1]).perturb(0.4)
    candidates = [Candidate(Crystal(s), Origin("test")) for s in (ANTIPEROVSKITE, tilted, double)]
    children = propose(GeneticSettings().build(space), 25, evaluated(candidates))
    assert len(children) == 25
    assert {c.formula for c in children} == {"Li3ClO"}
    assert {"heredity", "strain"} <= {c.origin.note for c in children}
    assert {len(crystal(c).structure) for c in children} <= {5, 10}
