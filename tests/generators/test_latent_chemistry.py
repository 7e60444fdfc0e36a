"""Whether what the decoder is asked for comes at the first try, without draws that are thrown away."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from generators.latent.asking import Wish, conditions_of, element_counts
from generators.latent.chemistry import Chemistry
from generators.latent.manner import Manner
from generators.latent.model import Shape
from generators.latent.sampling import decoding_of, invented, met
from generators.latent.weights import SHIPPED, Model, load, new_model, seeded

UNTRAINED = new_model(Shape(latent=8, width=24, heads=2, encoder_layers=1, decoder_layers=1), [])
CHOICE = ("H", "Li", "C", "O", "F", "Na", "Mg", "Al", "Si", "P", "S", "Cl", "Ti", "Fe", "La", "Xe")


def decoded(model: Model, wish: Wish, number: int, most_atoms: int = 20) -> torch.Tensor:
    """Whether each of `number` crystals, as first decoded, is what is wished for."""
    asked = conditions_of(wish, number, model.scales).joined()
    how = decoding_of(wish, Manner(), most_atoms)
    return met(model.autoencoder.decode(invented(model, asked, seeded(1)), how, seeded(2)), wish)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.sampled_from(CHOICE), min_size=1, max_size=5, unique=True),
    st.integers(0, 2),
    st.integers(12, 30),
)
def test_weights_that_know_nothing_meet_the_chemistry(names: list[str], more: int, most_atoms: int) -> None:
    others = tuple(name for name in CHOICE if name not in names)[:more]
    wish = Wish(elements=(*names, *others), required=tuple(names), number_of_elements=len(names) + more)
    assert float(decoded(UNTRAINED, wish, 32, most_atoms).float().mean()) == 1


def test_the_shipped_weights_meet_four_required_elements() -> None:
    wish = Wish(elements=("Li", "P", "S", "Cl"), required=("Li", "P", "S", "Cl"))
    assert float(decoded(load(SHIPPED), wish, 64).float().mean()) == 1


def test_more_elements_than_are_required_come_only_where_they_are_asked_for() -> None:
    wish = Wish(required=("Li", "O"), number_of_elements=3)
    asked = conditions_of(wish, 64, UNTRAINED.scales).joined()
    tokens = UNTRAINED.autoencoder.decode(
        invented(UNTRAINED, asked, seeded(1)), decoding_of(wish, Manner(), 20), seeded(2)
    )
    assert set((element_counts(tokens) > 0).sum(dim=1).tolist()) == {3}


def test_groups_without_room_are_closed() -> None:
    wish = Wish(required=("Li", "P", "S", "Cl"))
    chemistry = Chemistry(conditions_of(wish, 1, []).joined(), UNTRAINED.autoencoder.decoder.positions, 4)
    possible = chemistry.groups()[0].nonzero()[:, 0].tolist()
    assert {1, 216} <= set(possible)  # P1 takes any number; F-43m has four positions of one atom
    assert not {225, 229} & set(possible)  # Fm-3m: one, one and two atoms; Im-3m: one and three
    room = chemistry.room(torch.tensor([216, 225]), torch.tensor([0.0, 0.0]))
    assert room[0, :4].tolist() == [3, 2, 1, 0]
    assert room[1, :3].tolist() == [2, 1, 0]
