"""Sameness: the index agrees with StructureMatcher alone, whatever was done to a structure."""

from functools import cache

import numpy as np
import pymatgen.core as pmg
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from materials.base import Composition, Crystal
from materials.identity import IdentityIndex, structure_matcher
from materials.matching import ReducedCell, may_match


def of_group(
    group: str, lattice: pmg.Lattice, species: list[str], places: list[list[float]]
) -> pmg.Structure:
    return pmg.Structure.from_spacegroup(group, lattice, species, places)


@cache
def prototypes() -> dict[str, pmg.Structure]:
    hexagonal = pmg.Lattice.hexagonal
    return {
        "rock salt": of_group("Fm-3m", pmg.Lattice.cubic(4.2), ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]]),
        "zincblende": of_group("F-43m", pmg.Lattice.cubic(4.6), ["Mg", "O"], [[0, 0, 0], [0.25, 0.25, 0.25]]),
        "wurtzite": of_group(
            "P6_3mc", hexagonal(3.3, 5.2), ["Mg", "O"], [[1 / 3, 2 / 3, 0], [1 / 3, 2 / 3, 0.375]]
        ),
        "caesium chloride": of_group(
            "Pm-3m", pmg.Lattice.cubic(2.6), ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]]
        ),
        "nickel arsenide": of_group(
            "P6_3/mmc", hexagonal(2.9, 4.9), ["Mg", "O"], [[0, 0, 0], [1 / 3, 2 / 3, 0.25]]
        ),
        "perovskite": of_group(
            "Pm-3m", pmg.Lattice.cubic(3.9), ["Sr", "Ti", "O"], [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0]]
        ),
        "spinel": of_group(
            "Fd-3m",
            pmg.Lattice.cubic(8.1),
            ["Mg", "Al", "O"],
            [[0.125, 0.125, 0.125], [0.5, 0.5, 0.5], [0.2624, 0.2624, 0.2624]],
        ).get_primitive_structure(),
        "rutile": of_group(
            "P4_2/mnm", pmg.Lattice.tetragonal(4.6, 2.95), ["Ti", "O"], [[0, 0, 0], [0.305, 0.305, 0]]
        ),
        "fluorite": of_group("Fm-3m", pmg.Lattice.cubic(4.6), ["Ti", "O"], [[0, 0, 0], [0.25, 0.25, 0.25]]),
        "anatase": of_group(
            "I4_1/amd", pmg.Lattice.tetragonal(3.78, 9.51), ["Ti", "O"], [[0, 0, 0], [0, 0, 0.208]]
        ),
    }


def altered(structure: pmg.Structure, seed: int, rattle: float, strain: float) -> pmg.Structure:
    """The structure in another cell, rattled by `rattle` times the free length per atom, strained, expanded."""
    rng = np.random.default_rng(seed)
    structure = structure * [int(n) for n in rng.permutation([1, 1, int(rng.integers(1, 3))])]
    while abs(np.linalg.det(change := rng.integers(-1, 2, (3, 3)))) != 1:
        pass
    parameters = np.array(structure.lattice.parameters)
    parameters[:3] *= 1 + strain * rng.uniform(-0.2, 0.2, 3)
    parameters[3:] += strain * rng.uniform(-5, 5, 3)
    lattice = pmg.Lattice.from_parameters(*parameters)
    steps = rng.normal(size=(len(structure), 3))
    steps *= rattle * (structure.volume / len(structure)) ** (1 / 3) / np.linalg.norm(steps, axis=1)[:, None]
    places = lattice.get_cartesian_coords(structure.frac_coords) + steps + rng.uniform(-5, 5, 3)
    order = rng.permutation(len(structure))
    return pmg.Structure(
        change @ lattice.matrix,
        [structure[i].species for i in order],
        places[order],
        coords_are_cartesian=True,
    )


def random_structure(seed: int) -> pmg.Structure:
    """Atoms at random, with the contents of one to three cells of rutile."""
    rng = np.random.default_rng(seed)
    units = int(rng.integers(1, 4))
    lattice = pmg.Lattice.from_parameters(*rng.uniform(3, 6, 3), *rng.uniform(70, 110, 3))
    return pmg.Structure(lattice, ["Ti"] * units + ["O"] * 2 * units, rng.random((3 * units, 3)))


structures = st.sampled_from(sorted(prototypes())).map(lambda name: prototypes()[name])
seeds = st.integers(0, 2**32)


@settings(deadline=None, max_examples=150)
@given(structures, structures, seeds, st.floats(0, 0.35), st.floats(0, 1.2))
def test_no_match_is_lost(
    first: pmg.Structure, other: pmg.Structure, seed: int, rattle: float, strain: float
) -> None:
    second = altered(first if seed % 4 else other, seed, rattle, strain)
    found = IdentityIndex()
    found.add("known", Crystal(first))
    assert (found.find(Crystal(second)) is not None) == structure_matcher().fit(first, second)


@settings(deadline=None, max_examples=50)
@given(seeds, st.floats(0, 0.35), st.booleans())
def test_no_match_is_lost_among_random_structures(seed: int, rattle: float, related: bool) -> None:
    first = random_structure(seed)
    second = altered(first, seed, rattle, 0.5) if related else random_structure(seed + 1)
    assume(second.volume > 1)
    if structure_matcher().fit(first, second):
        assert may_match(ReducedCell.of(first), ReducedCell.of(second))


def test_the_quick_answer_is_often_no() -> None:
    cells = [ReducedCell.of(random_structure(seed)) for seed in range(40)]
    refused = [not may_match(a, b) for a in cells for b in cells if a is not b]
    assert sum(refused) > 0.95 * len(refused)


@settings(deadline=None, max_examples=30)
@given(structures, seeds)
def test_other_settings_and_small_rattles_are_the_same(structure: pmg.Structure, seed: int) -> None:
    index = IdentityIndex()
    index.add("known", Crystal(structure))
    assert index.find(Crystal(altered(structure, seed, 0.002, 0.1))) == "known"


def test_prototypes_of_one_formula_differ() -> None:
    index = IdentityIndex()
    for name, structure in prototypes().items():
        assert index.find(Crystal(structure)) is None
        index.add(name, Crystal(structure))
    for name, structure in prototypes().items():
        assert index.find(Crystal(structure * (1, 2, 1))) == name


def test_the_first_seen_wins() -> None:
    salt = prototypes()["rock salt"]
    index = IdentityIndex()
    for k in range(3):
        index.add(f"seen {k}", Crystal(altered(salt, k, 0.02, 0.1)))
    assert index.find(Crystal(altered(salt, 9, 0.02, 0.1))) == "seen 0"
    assert index.find(Crystal(altered(salt, 2, 0.02, 0.1))) == "seen 2"


def test_elements_count_and_oxidation_states_do_not() -> None:
    salt = prototypes()["rock salt"]
    index = IdentityIndex()
    index.add("MgO", Crystal(salt))
    charged = salt.copy()
    charged.add_oxidation_state_by_element({"Mg": 2, "O": -2})
    swapped = salt.copy()
    swapped.replace_species({"Mg": "Ca"})
    assert index.find(Crystal(charged)) == "MgO"
    assert index.find(Crystal(swapped)) is None


def test_disordered_crystals_match_by_occupancy() -> None:
    def mixed(share: float, edge: float = 4.2) -> Crystal:
        salt = prototypes()["rock salt"].copy()
        salt.scale_lattice(edge**3)
        salt.replace_species({"Mg": {"Mg": share, "Zn": 1 - share}})
        return Crystal(salt)

    index = IdentityIndex()
    index.add("half", mixed(0.5))
    index.add("ordered", Crystal(prototypes()["rock salt"]))
    assert index.find(mixed(0.5, 4.3)) == "half"
    assert index.find(Crystal(mixed(0.5).structure * (2, 1, 1))) == "half"
    assert index.find(mixed(0.25)) is None
    assert index.find(mixed(0.5 + 1e-6)) == "half"


def test_compositions_are_the_same_by_reduced_formula() -> None:
    index = IdentityIndex()
    index.add("first", Composition("Li2O"))
    index.add("second", Composition("O2Li4"))
    assert index.find(Composition("Li4O2")) == "first"
    assert index.find(Composition("LiO")) is None
    assert index.find(Crystal(prototypes()["rock salt"])) is None


@pytest.mark.parametrize("count", [1, 60])
def test_one_id_may_name_several_materials(count: int) -> None:
    index = IdentityIndex()
    for _ in range(count):
        index.add("candidate", Crystal(prototypes()["rutile"]))
        index.add("candidate", Crystal(prototypes()["anatase"]))
    assert index.find(Crystal(altered(prototypes()["anatase"], 1, 0.02, 0.1))) == "candidate"
