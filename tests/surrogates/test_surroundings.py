"""How far candidates lie from training rows."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from line_of_points import Line

from surrogates.gaussian_process import GaussianProcessSurrogate
from surrogates.surroundings import Surroundings


def rows(count: int, seed: int, dimension: int = 8) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, dimension, generator=generator, dtype=torch.float64)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.integers(2, 300))
def test_training_rows_are_at_no_distance(seed: int, count: int) -> None:
    known = rows(count, seed)
    assert Surroundings.of(known).distances(known) == [0.0] * count


def test_about_one_inside_and_far_outside() -> None:
    surroundings = Surroundings.of(rows(500, 0))
    inside = torch.tensor(surroundings.distances(rows(1000, 1)))
    assert (inside < 1.0).float().mean() > 0.9
    assert inside.max() < 3.0
    assert min(surroundings.distances(rows(100, 2) + 20.0)) > 3.0  # type: ignore[type-var]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.floats(0.01, 100.0))
def test_the_scale_of_the_inputs_does_not_matter(seed: int, scale: float) -> None:
    known, asked = rows(40, seed), rows(10, seed + 1)
    expected = Surroundings.of(known).distances(asked)
    assert Surroundings.of(known * scale).distances(asked * scale) == pytest.approx(expected)


def test_equal_rows_and_rows_that_cannot_be_described() -> None:
    surroundings = Surroundings.of(torch.ones(5, 3, dtype=torch.float64))
    asked = torch.tensor([[1.0, 1.0, 1.0], [2.0, 1.0, 1.0], [torch.nan] * 3], dtype=torch.float64)
    assert surroundings.distances(asked) == [0.0, 1.0, None]


def test_predictions_carry_it_and_the_widening() -> None:
    line = Line([0.0, 0.1, 0.2, 0.3, 0.4, 0.25, 9.0])
    surrogate = GaussianProcessSurrogate(("band_gap",), line.source())
    surrogate.fit(line.archive("band_gap", [1.0, 1.1, 1.2, 1.25, 1.3]), seed=0)
    (known,), (inside,), (outside,) = surrogate.predict([line.candidates[i] for i in (0, 5, 6)])
    assert known.distance == 0.0
    assert 0.0 < inside.distance <= 1.0
    assert outside.distance > 3.0
    surrogate.widening = {"band_gap": 3.0}
    (wider,) = surrogate.predict([line.candidates[5]])[0]
    assert (wider.mean, wider.widening) == (pytest.approx(inside.mean), 3.0)
    assert wider.std == pytest.approx(3.0 * inside.std)
