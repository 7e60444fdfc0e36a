"""The reduction keeps distances."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from surrogates.reduction import LARGEST_DIMENSION, Reduction


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(1, 30), st.integers(0, 10**6))
def test_distances_to_known_rows_are_those_of_the_standardised_columns(rows, columns, seed):
    rng = np.random.default_rng(seed)
    known = rng.normal(size=(rows, columns)) * rng.uniform(1e-3, 1e3, columns) + rng.normal(size=columns)
    new = known[:1] + rng.normal(size=(5, columns))
    reduction = Reduction.fit(known)
    spread = known.std(axis=0)
    varies = spread > 1e-6 * np.maximum(np.abs(known.mean(axis=0)), 1)
    scale = np.where(varies, spread, np.inf)
    expected = cdist(new / scale, known / scale) / reduction.spread
    np.testing.assert_allclose(
        cdist(reduction.apply(new), reduction.apply(known)), expected, rtol=1e-6, atol=1e-7
    )


def test_at_most_so_many_components_and_constant_columns_count_nothing():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(300, 200))
    rows[:, 7] = 3.0
    reduction = Reduction.fit(rows)
    assert reduction.dimension == LARGEST_DIMENSION + 1
    moved = rows[:2].copy()
    moved[:, 7] = 1e6
    np.testing.assert_allclose(reduction.apply(moved), reduction.apply(rows[:2]), atol=1e-9)


def test_rows_of_nan_stay_so_and_are_not_learned_from():
    rows = np.array([[1.0, 2.0], [np.nan, np.nan], [3.0, 1.0]])
    reduction = Reduction.fit(rows)
    assert np.isnan(reduction.apply(rows)).all(axis=1).tolist() == [False, True, False]
    with pytest.raises(ValueError, match="none of the materials can be described"):
        Reduction.fit(rows[1:2])


def test_one_row_or_equal_rows_give_zeros():
    for rows in (np.ones((1, 3)), np.ones((4, 3))):
        reduction = Reduction.fit(rows)
        assert reduction.apply(rows).shape == (len(rows), reduction.dimension)
        np.testing.assert_allclose(reduction.apply(rows), 0.0)
