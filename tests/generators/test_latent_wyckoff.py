"""Crystals by their symmetry, there and back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Lattice, Structure

from generators.latent.symmetry import find_symmetry
from generators.latent.tokens import crystals_of, tokens_of
from generators.latent.wyckoff import Site, WyckoffCrystal, space_group

KNOWN = {
    "rock salt": ("Fm-3m", Lattice.cubic(4.2), ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]], 225),
    "zinc blende": ("F-43m", Lattice.cubic(5.4), ["Zn", "S"], [[0, 0, 0], [0.25, 0.25, 0.25]], 216),
    "wurtzite": (
        "P6_3mc",
        Lattice.hexagonal(3.8, 6.2),
        ["Zn", "S"],
        [[1 / 3, 2 / 3, 0], [1 / 3, 2 / 3, 0.375]],
        186,
    ),
    "rutile": ("P4_2/mnm", Lattice.tetragonal(4.6, 2.96), ["Ti", "O"], [[0, 0, 0], [0.305, 0.305, 0]], 136),
    "corundum": ("R-3c", Lattice.hexagonal(4.76, 12.99), ["Al", "O"], [[0, 0, 0.352], [0.306, 0, 0.25]], 167),
    "spinel": ("Fd-3m", Lattice.cubic(8.08), ["Mg", "Al", "O"], [[0, 0, 0], [0.625] * 3, [0.3875] * 3], 227),
    "perovskite": (
        "Pm-3m",
        Lattice.cubic(3.9),
        ["Sr", "Ti", "O"],
        [[0, 0, 0], [0.5] * 3, [0.5, 0.5, 0]],
        221,
    ),
}


@pytest.mark.parametrize("name", KNOWN)
def test_known_crystals_come_back_as_they_were(name: str) -> None:
    group, lattice, symbols, places, number = KNOWN[name]
    structure = Structure.from_spacegroup(group, lattice, symbols, places)
    crystal = find_symmetry(structure)
    assert crystal.group == number
    assert len(crystal.sites) == len(symbols)
    (back,) = crystals_of(tokens_of([crystal]))
    for found in (crystal.structure(), back.structure()):
        assert StructureMatcher().fit(structure, found)
        assert len(found) == len(structure.get_primitive_structure()) == crystal.number_of_atoms


@settings(max_examples=60, deadline=None)
@given(
    number=st.integers(1, 230),
    seed=st.integers(0, 2**20),
)
def test_every_position_of_every_group_is_found_again(number: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    group = space_group(number)
    position = group.positions[rng.integers(len(group.positions))]
    chosen = np.zeros(3)
    chosen[list(position.free)] = rng.random(len(position.free))
    atoms = position.atoms(chosen)
    assert len(atoms) == position.multiplicity
    found, fits = position.parameters(atoms[:1], 1e-4)
    assert fits.all()
    assert np.allclose((found[0] - chosen + 0.5) % 1.0, 0.5, atol=1e-6)
    x, y, z = (float(v) for v in chosen)
    crystal = WyckoffCrystal(
        number, (9.0, 9.0, 9.0), (90.0, 90.0, 90.0), (Site("Na", position.letter, (x, y, z)),)
    )
    assert len(crystal.structure()) == crystal.number_of_atoms
