"""Crystals changed at random for training: other elements, moved atoms, another lattice, the same symmetry."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure

from generators.latent.altering import altered
from generators.latent.asking import Facts
from generators.latent.symmetry import find_symmetry
from generators.latent.tokens import ELEMENTS, crystals_of, electronegativities, position_table, tokens_of
from generators.latent.training import lesson
from generators.latent.weights import seeded

SALT = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.69), ["Na", "Cl"], [[0] * 3, [0.5] * 3])
SPINEL = Structure.from_spacegroup(
    "Fd-3m", Lattice.cubic(8.15), ["Mg", "Al", "O"], [[0] * 3, [0.625] * 3, [0.3864] * 3]
)
RUTILE = Structure.from_spacegroup(
    "P4_2/mnm", Lattice.tetragonal(4.6, 2.96), ["Ti", "O"], [[0] * 3, [0.305, 0.305, 0]]
)
CRYSTALS = [find_symmetry(structure) for structure in (SALT, SPINEL, RUTILE)]
TOKENS = tokens_of(CRYSTALS)
USUAL = torch.zeros(ELEMENTS)
USUAL[[3, 8, 9, 16, 26]] = 1.0


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32))
def test_symmetry_stays_and_all_else_may_change(seed: int) -> None:
    changed = altered(TOKENS, USUAL, seeded(seed))
    assert torch.equal(changed.group, TOKENS.group)
    assert torch.equal(changed.letter, TOKENS.letter)
    assert torch.equal(changed.filled, TOKENS.filled)
    own = TOKENS.element.unsqueeze(2) == changed.element.unsqueeze(1)
    assert bool((own.any(dim=1) | (USUAL[changed.element] > 0) | ~changed.filled).all())
    free = position_table()[2][changed.group.unsqueeze(1), changed.letter]
    assert bool((changed.parameters[~free] == TOKENS.parameters[~free]).all())
    assert bool(((changed.parameters >= 0) & (changed.parameters < 1)).all())
    for before, after in zip(CRYSTALS, crystals_of(changed), strict=True):
        assert len(after.structure()) == before.number_of_atoms


FACTS = Facts(torch.full((90, 1), 1.0), torch.ones(90, dtype=torch.bool))


@given(st.integers(0, 2**32))
def test_positions_stay_in_the_order_of_decoding(seed: int) -> None:
    changed = altered(TOKENS, USUAL, seeded(seed))
    keys = changed.letter * 10 + electronegativities()[changed.element]
    both = changed.filled[:, 1:]
    assert bool((keys[:, 1:] >= keys[:, :-1])[both].all())


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32))
def test_what_was_changed_is_copied_and_asks_nothing(seed: int) -> None:
    many = tokens_of(CRYSTALS * 30)
    taught, level, asked, changed = lesson(many, FACTS, USUAL, seeded(seed))
    same = (taught.element == many.element).all(dim=1)
    assert bool(same[changed == 0].all())
    assert float(level[changed == 1].max()) <= 0.15
    assert not bool(asked[changed == 1].any())
    assert bool((level[changed == 0] == 1).any())
    assert bool(asked[changed == 0].any())
