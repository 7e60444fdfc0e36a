"""Properties that are asked for: how they are told to the decoder, and which crystals are kept."""

from __future__ import annotations

import math
from itertools import islice

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from generators.latent.asking import HIGH, LOW, Wish, conditions_of, described
from generators.latent.decoding import Decoding
from generators.latent.manner import AIMED
from generators.latent.sampling import LIKELIEST, Tried, draw, invented, likeliest
from generators.latent.symmetry import find_symmetry
from generators.latent.tokens import Tokens, tokens_of
from generators.latent.weights import SHIPPED, load, seeded

MODEL = load(SHIPPED)


@given(st.lists(st.one_of(st.none(), st.floats(-10, 10)), min_size=1, max_size=3))
def test_what_is_not_asked_is_told_as_nothing(values: list[float | None]) -> None:
    told = described(torch.tensor([[math.nan if v is None else v for v in values]])).view(len(values), -1)
    for row, value in zip(told, values, strict=True):
        assert bool(row.isfinite().all())
        assert bool((row == 0).all()) == (value is None)


def test_values_are_told_apart_and_those_beyond_the_scale_are_its_end() -> None:
    told = described(torch.tensor([[0.0], [0.2], [HIGH], [HIGH + 5], [LOW - 5], [LOW]]))
    assert not torch.allclose(told[0], told[1], atol=0.1)
    assert torch.equal(told[2], told[3])
    assert torch.equal(told[4], told[5])


@settings(max_examples=20, deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=40), st.integers(0, 100))
def test_of_those_that_fit_the_likeliest_come_first(fits: list[bool], seed: int) -> None:
    kept = torch.tensor(fits)
    tokens = drawn(Wish(), len(fits), seed)
    wanted = torch.full((len(MODEL.scales),), torch.nan)
    assert likeliest(MODEL, tokens, wanted, kept) == (kept.nonzero()[:, 0].tolist(), sum(fits))
    wanted[0] = 1.0
    rows, number = likeliest(MODEL, tokens, wanted, kept)
    assert number == math.ceil(LIKELIEST * sum(fits))
    assert sorted(rows) == kept.nonzero()[:, 0].tolist()
    likelihood = MODEL.foreteller.log_likelihood(tokens, wanted)[rows, 0]
    assert bool((likelihood.diff() <= 1e-5).all())


def test_the_decoder_obeys_a_wished_gap_by_itself() -> None:
    gaps = {gap: foretold(drawn(Wish(properties={"band_gap": gap}), 256, 0)).mean() for gap in (0.0, 4.0)}
    assert float(gaps[4.0]) > float(gaps[0.0]) + 0.3


def test_what_comes_out_has_about_the_wished_gap() -> None:
    medians = {}
    for gap in (0.0, 2.0, 4.0):
        wish = Wish(properties={"band_gap": gap}, charge_balanced=gap > 0)
        crystals = list(islice(draw(MODEL, wish, AIMED, seeded(0), Tried(3000)), 24))
        medians[gap] = float(foretold(tokens_of([find_symmetry(c.structure) for c in crystals])).median())
    assert all(abs(median - gap) < 0.7 for gap, median in medians.items())


def drawn(wish: Wish, number: int, seed: int) -> Tokens:
    asked = conditions_of(wish, number, MODEL.scales).joined()
    return MODEL.autoencoder.decode(invented(MODEL, asked, seeded(seed)), Decoding(1.0), seeded(seed))


@torch.no_grad()
def foretold(tokens: Tokens) -> torch.Tensor:
    """Gaps (B), eV."""
    return MODEL.foreteller(tokens)[0][:, 0] * MODEL.scales[0].spread + MODEL.scales[0].center
