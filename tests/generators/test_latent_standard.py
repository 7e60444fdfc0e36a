"""A crystal has one description, however its cell was written down."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure

from generators.latent.standard import changes_of
from generators.latent.symmetry import find_symmetry
from generators.latent.tokens import tokens_of

ROCK_SALT = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.69), ["Na", "Cl"], [[0] * 3, [0.5] * 3])
RUTILE = Structure.from_spacegroup(
    "P4_2/mnm", Lattice.tetragonal(4.6, 2.96), ["Ti", "O"], [[0] * 3, [0.305, 0.305, 0]]
)
OLIVINE = Structure.from_spacegroup(
    "Pnma",
    Lattice.orthorhombic(10.33, 6.01, 4.69),
    ["Li", "Fe", "P", "O", "O", "O"],
    [
        [0, 0, 0],
        [0.282, 0.25, 0.975],
        [0.095, 0.25, 0.418],
        [0.097, 0.25, 0.743],
        [0.457, 0.25, 0.206],
        [0.166, 0.046, 0.285],
    ],
)
WURTZITE = Structure.from_spacegroup(
    "P6_3mc", Lattice.hexagonal(3.25, 5.21), ["Zn", "O"], [[1 / 3, 2 / 3, 0], [1 / 3, 2 / 3, 0.382]]
)
CRYSTALS = {"rock salt": ROCK_SALT, "rutile": RUTILE, "olivine": OLIVINE, "wurtzite": WURTZITE}


def written_otherwise(structure: Structure, rng: np.random.Generator) -> Structure:
    """The crystal with another origin, other axes, perhaps of the other hand, and its atoms in another order."""
    axes = np.eye(3)[rng.permutation(3)] * rng.choice([-1, 1], 3)[:, None]
    order = rng.permutation(len(structure))
    places = structure.frac_coords @ np.linalg.inv(axes) + rng.random(3)
    return Structure(
        Lattice(axes @ structure.lattice.matrix), [structure[int(k)].specie for k in order], places[order]
    )


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(CRYSTALS)), st.integers(0, 2**32))
def test_however_it_is_written_a_crystal_has_one_description(name: str, seed: int) -> None:
    structure = CRYSTALS[name]
    other = written_otherwise(structure, np.random.default_rng(seed))
    one, again = tokens_of([find_symmetry(structure)]), tokens_of([find_symmetry(other)])
    assert one.group.equal(again.group)
    assert one.letter.equal(again.letter)
    assert one.element.equal(again.element)
    away = one.parameters - again.parameters
    assert float((away - away.round()).abs().max()) < 1e-3
    assert float((one.lattice - again.lattice).abs().max()) < 1e-3


def test_the_less_electronegative_of_equal_places_comes_first() -> None:
    named = {site.symbol: site.letter for site in find_symmetry(ROCK_SALT).sites}
    assert named == {"Na": "a", "Cl": "b"}


@pytest.mark.parametrize(
    ("number", "changes"), [(2, 8), (62, 8), (196, 16), (216, 8), (225, 2), (227, 2), (229, 1), (230, 1)]
)
def test_changes_are_as_many_as_the_tables_say(number: int, changes: int) -> None:
    """Indices of the groups in their normalizers, International Tables A, 3.5.2."""
    assert len(changes_of(number).changes) == changes


@pytest.mark.parametrize(
    ("number", "polar"), [(1, (0, 1, 2)), (4, (1,)), (7, (0, 2)), (186, (2,)), (225, ())]
)
def test_origins_are_free_along_polar_axes(number: int, polar: tuple[int, ...]) -> None:
    assert changes_of(number).polar == polar
