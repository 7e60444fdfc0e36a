"""The statistics of forecasts against outcomes, held against what they must be for any data."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from loop.honesty import FEWEST, LATEST, SMALLEST_STD, WINDOW, Forecast, honesty, widening
from materials.base import Bound

NUMBERS = st.floats(-1e3, 1e3)
STDS = st.floats(1e-3, 1e3)
FORECASTS = st.lists(st.builds(Forecast, NUMBERS, STDS, NUMBERS, st.sampled_from(Bound)), max_size=60)
EXACT = st.lists(st.builds(Forecast, NUMBERS, STDS, NUMBERS), min_size=1, max_size=60)


def drawn(count: int, seed: int, sharpness: float = 1.0) -> list[Forecast]:
    """Outcomes drawn from what was forecast; the stated standard deviation is too small by `sharpness`."""
    rng = np.random.default_rng(seed)
    means, stds = rng.normal(size=count), rng.uniform(0.1, 3.0, count)
    values = means + stds * rng.normal(size=count)
    return [
        Forecast(float(m), float(s / sharpness), float(v))
        for m, s, v in zip(means, stds, values, strict=True)
    ]


def test_honest_intervals_hold_what_they_promise() -> None:
    found = honesty(drawn(10_000, seed=0))
    assert found.coverage_50 == pytest.approx(0.5, abs=0.015)
    assert found.coverage_90 == pytest.approx(0.9, abs=0.01)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_the_truth_scores_best(seed: int) -> None:
    """The negative log-likelihood is a proper score: too sure and too unsure of the same outcomes are both worse."""
    told = [honesty(drawn(2000, seed, sharpness)).nll for sharpness in (0.5, 1.0, 2.0)]
    assert min(told) == told[1]


@settings(max_examples=50, deadline=None)
@given(FORECASTS)
def test_it_agrees_with_the_definitions(forecasts: list[Forecast]) -> None:
    found = honesty(forecasts)
    exact = [f for f in forecasts if f.bound is Bound.EXACT]
    assert (found.count, found.limits) == (len(exact), len(forecasts) - len(exact))
    assert 0 <= found.inside_50 <= found.inside_90 <= found.count
    if exact:
        errors = np.abs([f.measured - f.mean for f in exact])
        assert found.mae == pytest.approx(errors.mean())
        inside = norm.interval(0.9, [f.mean for f in exact], [f.std for f in exact])
        measured = np.array([f.measured for f in exact])
        assert found.inside_90 == np.sum((inside[0] <= measured) & (measured <= inside[1]))
    else:
        assert (found.mae, found.spearman, found.coverage_50, found.coverage_90) == (None,) * 4
    logs = {Bound.EXACT: norm.logpdf, Bound.UPPER: norm.logcdf, Bound.LOWER: norm.logsf}
    told = [-logs[f.bound](f.measured, f.mean, f.std) for f in forecasts]
    assert found.nll == (pytest.approx(np.mean(told), rel=1e-6, abs=1e-9) if forecasts else None)


@settings(max_examples=50, deadline=None)
@given(EXACT, st.floats(0.01, 100.0), st.floats(-100.0, 100.0))
def test_another_unit_changes_only_the_unit(forecasts: list[Forecast], scale: float, shift: float) -> None:
    assume(all(abs(f.score - z) > 1e-6 for f in forecasts for z in (0.6744897501960817, 1.6448536269514722)))
    moved = [
        Forecast(f.mean * scale + shift, f.std * scale, f.measured * scale + shift, f.bound)
        for f in forecasts
    ]
    before, after = honesty(forecasts), honesty(moved)
    assert (after.inside_50, after.inside_90) == (before.inside_50, before.inside_90)
    assert before.mae is not None
    assert after.mae == pytest.approx(before.mae * scale, rel=1e-6, abs=1e-9)
    assert before.nll is not None
    assert after.nll == pytest.approx(before.nll + math.log(scale), rel=1e-6, abs=1e-4)


@settings(max_examples=50, deadline=None)
@given(st.permutations(drawn(12, seed=3)))
def test_the_order_of_outcomes_does_not_matter_within_a_round(forecasts: list[Forecast]) -> None:
    found, expected = honesty(forecasts), honesty(drawn(12, seed=3))
    assert found.mae == pytest.approx(expected.mae)
    assert found.spearman == pytest.approx(expected.spearman)


@pytest.mark.parametrize(
    "values",
    [[(1.0, 2.0), (2.0, 3.0)], [(1.0, 2.0), (1.0, 3.0), (1.0, 4.0)], [(1.0, 2.0), (2.0, 2.0), (3.0, 2.0)]],
)
def test_no_rank_correlation_of_too_few_or_constant_values(values: list[tuple[float, float]]) -> None:
    assert honesty([Forecast(mean, 1.0, measured) for mean, measured in values]).spearman is None


def test_ranks_in_order_and_against_it() -> None:
    rising = [Forecast(x, 1.0, x**3) for x in (1.0, 2.0, 3.0, 4.0)]
    assert honesty(rising).spearman == pytest.approx(1.0)
    assert honesty([replace(f, measured=-f.measured) for f in rising]).spearman == pytest.approx(-1.0)


def test_claimed_certainty_gives_finite_numbers() -> None:
    found = honesty([Forecast(1.0, 0.0, 1.0), Forecast(1.0, 0.0, 2.0), Forecast(1.0, 0.0, 0.0, Bound.LOWER)])
    assert found.nll is not None
    assert math.isfinite(found.nll)
    assert found.inside_90 == 1
    assert Forecast(0.0, 0.0, SMALLEST_STD).score == pytest.approx(1.0)


@settings(max_examples=50, deadline=None)
@given(FORECASTS)
def test_intervals_are_never_narrowed(forecasts: list[Forecast]) -> None:
    found = widening(forecasts)
    assert found.factor >= 1.0
    assert math.isfinite(found.factor)
    assert 0 <= found.misses <= found.count <= WINDOW
    assert 0.0 <= found.chance <= 1.0


@settings(max_examples=50, deadline=None)
@given(st.lists(st.builds(Forecast, NUMBERS, STDS, NUMBERS), max_size=FEWEST - 1))
def test_few_outcomes_widen_nothing(forecasts: list[Forecast]) -> None:
    assert widening(forecasts).factor == 1.0


def test_honest_forecasts_are_seldom_widened_and_then_little() -> None:
    factors = [widening(drawn(40, seed)).factor for seed in range(200)]
    assert np.mean([f > 1.0 for f in factors]) < 0.06
    assert max(factors) < 2.5


@pytest.mark.parametrize("count", [FEWEST, 25, WINDOW, 4 * WINDOW])
def test_widened_intervals_hold_the_next_outcome_nine_times_in_ten(count: int) -> None:
    """Far too sure, so that drift is never in doubt: then the guarantee of split conformal prediction is exact."""
    inside = []
    for seed in range(300):
        *earlier, following = drawn(count + 1, seed, sharpness=8.0)
        inside.append(honesty([replace(following, std=following.std * widening(earlier).factor)]).inside_90)
    assert 0.87 < np.mean(inside) < 0.97


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(1.0, 50.0))
def test_the_factor_makes_up_for_the_sharpness(seed: int, sharpness: float) -> None:
    """The same outcomes, stated more sharply by a factor, are widened by that factor more."""
    once, more = widening(drawn(40, seed, 4.0)), widening(drawn(40, seed, 4.0 * sharpness))
    assume(once.factor > 1.0)
    assert more.factor == pytest.approx(once.factor * sharpness)


def test_the_latest_outcomes_decide() -> None:
    wrong, right = drawn(WINDOW, 1, sharpness=6.0), drawn(WINDOW, 2)
    assert widening(wrong).factor > 3.0
    assert widening(wrong + right).factor == widening(right).factor == 1.0
    assert widening(right + wrong).factor == widening(wrong).factor


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.floats(2.0, 100.0), min_size=FEWEST, max_size=FEWEST),
    st.lists(st.floats(-1.6, 1.6), max_size=WINDOW - FEWEST - 1),
)
def test_a_bad_round_is_forgotten_once_the_latest_outcomes_are_held(
    bad: list[float], good: list[float]
) -> None:
    missed, held = ([Forecast(0.0, 1.0, x) for x in values] for values in (bad, good))
    assert (widening(missed + held).factor > 1.0) == (len(held) < LATEST)
    assert widening(missed + held + missed[:1]).factor > 1.0


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_limits_decide_nothing(seed: int) -> None:
    forecasts = drawn(20, seed, 3.0)
    limits = [replace(f, measured=f.mean + 100 * f.std, bound=Bound.LOWER) for f in forecasts]
    assert widening(forecasts + limits) == widening(forecasts)
