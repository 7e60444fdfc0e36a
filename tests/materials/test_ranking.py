"""Non-dominated sorting against a definition written down plainly."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from materials.goals import Constraint, Objective
from materials.ranking import non_dominated_fronts, non_dominated_order

scores = st.tuples(st.integers(0, 20), st.integers(1, 3)).flatmap(
    lambda shape: arrays(float, shape, elements=st.integers(0, 4).map(float))
)


def dominates(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> bool:
    return bool((a >= b).all() and (a > b).any())


@settings(deadline=None)
@given(scores)
def test_fronts_follow_the_definition(table: npt.NDArray[np.float64]) -> None:
    left = set(range(len(table)))
    for front in non_dominated_fronts(table):
        expected = {i for i in left if not any(dominates(table[j], table[i]) for j in left)}
        assert set(front) == expected
        left -= expected
    assert not left


@settings(deadline=None)
@given(scores)
def test_the_order_is_a_permutation_that_never_puts_the_dominated_first(
    table: npt.NDArray[np.float64],
) -> None:
    order = non_dominated_order(table)
    assert sorted(order) == list(range(len(table)))
    for place, i in enumerate(order):
        assert not any(dominates(table[j], table[i]) for j in order[place:])


def test_one_objective_is_plain_sorting() -> None:
    assert non_dominated_order(np.array([[1.0], [3.0], [2.0], [3.0]])) == [1, 3, 2, 0]


def test_the_ends_of_a_front_come_before_its_crowd() -> None:
    front = np.array([[0.0, 10.0], [1.0, 9.0], [1.1, 8.9], [5.0, 5.0], [10.0, 0.0]])
    order = non_dominated_order(front)
    assert set(order[:2]) == {0, 4}
    assert order[2] == 3


def test_goals_score_larger_as_better() -> None:
    assert Objective("band_gap", "maximize").score(2.0) == 2.0
    assert Objective("band_gap", "minimize").score(2.0) == -2.0
    target = Objective("band_gap", "target", target=1.5, tolerance=0.2)
    assert target.score(1.6) == 0.0
    assert target.score(2.0) == pytest.approx(-0.3)
    with pytest.raises(ValueError, match="needs a target"):
        Objective("band_gap", "target")


def test_constraints_keep_their_limits_and_refuse_nan() -> None:
    constraint = Constraint("band_gap", at_least=1.0, at_most=2.0)
    assert [constraint.satisfied(v) for v in (0.9, 1.0, 2.0, 2.1, float("nan"))] == [
        False,
        True,
        True,
        False,
        False,
    ]
    assert str(constraint) == "band_gap at least 1 and at most 2"
