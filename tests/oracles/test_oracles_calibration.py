"""The law from barrier to conductivity: fitted, kept, and the one that ships."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from materials.base import Bound
from oracles.conduction.calibration import (
    LEAST_ROWS,
    Calibration,
    calibrate,
    decades,
    read_calibration,
    shipped_calibration,
    write_calibration,
)

ROOM = 298.0


def fit(
    barriers: Sequence[float], values: Sequence[float], bounds: Sequence[Bound] | None = None
) -> Calibration:
    return calibrate(
        barriers,
        values,
        bounds or [Bound.EXACT] * len(values),
        mobile_ion="Li",
        dimensions=3,
        temperature=ROOM,
        source="test",
    )


def test_sixty_millielectronvolt_are_a_decade_at_room_temperature() -> None:
    assert decades(0.0592, ROOM) == pytest.approx(1, abs=0.002)
    assert decades(0.0592, 2 * ROOM) == pytest.approx(0.5, abs=0.001)


@given(
    intercept=st.floats(-6, 3),
    slope=st.floats(0.05, 1.5),
    std=st.floats(0.05, 2),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=30, deadline=None)
def test_a_fit_finds_the_law_behind_noisy_pairs(
    intercept: float, slope: float, std: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    barriers = rng.uniform(0.1, 1.5, 400)
    x = np.array([decades(b, ROOM) for b in barriers])
    values = intercept - slope * x + std * rng.standard_normal(400)
    found = fit(list(barriers), list(values))
    assert found.std == pytest.approx(std, rel=0.2)
    assert found.intercept == pytest.approx(intercept, abs=5 * std / 20 * 2)
    assert found.slope == pytest.approx(slope, abs=max(5 * std / 20 / x.std(), 1e-3))


def test_limits_pull_as_far_as_they_say_and_no_further() -> None:
    rng = np.random.default_rng(7)
    barriers = rng.uniform(0.1, 1.0, 600)
    truth = np.array([-2.0 - 0.5 * decades(b, ROOM) for b in barriers]) + rng.standard_normal(600)
    seen = np.maximum(truth, -6.0)
    bounds = [Bound.UPPER if value == -6.0 else Bound.EXACT for value in seen]
    assert sum(bound is Bound.UPPER for bound in bounds) > 100
    honest, naive = fit(list(barriers), list(seen), bounds), fit(list(barriers), list(seen))
    assert honest.slope == pytest.approx(0.5, abs=0.05)
    assert honest.std == pytest.approx(1.0, abs=0.1)
    assert naive.slope < 0.42
    assert honest.limits == bounds.count(Bound.UPPER)


def test_a_law_never_says_that_higher_barriers_conduct_better() -> None:
    barriers = list(np.linspace(0.1, 1, 20))
    assert fit(barriers, [5 * b - 8 for b in barriers]).slope == 0


@pytest.mark.parametrize(
    ("barriers", "values", "complaint"),
    [
        ([0.3] * 20, list(range(20)), "1 different barriers"),
        ([0.1 * i for i in range(LEAST_ROWS - 1)], [-5.0] * (LEAST_ROWS - 1), f"{LEAST_ROWS - 1} exact"),
        ([0.1 * i for i in range(19)] + [float("inf")], [-5.0] * 20, "finite"),
    ],
)
def test_too_little_to_learn_from_is_refused(
    barriers: list[float], values: list[float], complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        fit(barriers, values)


def test_a_law_is_kept_without_loss_and_a_bad_file_is_named(tmp_path: Path) -> None:
    law = fit([0.1 * i for i in range(1, 21)], [-0.2 * i for i in range(20)])
    write_calibration(law, tmp_path / "law.json")
    assert read_calibration(tmp_path / "law.json") == law
    for text in ("{", "{}", "[]", '{"slope": 1}', (tmp_path / "law.json").read_text().replace("0.", "1e999")):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(ValueError, match=r"bad\.json: not a calibration"):
            read_calibration(tmp_path / "bad.json")


def test_the_shipped_law_is_of_lithium_and_admits_its_error() -> None:
    law = shipped_calibration()
    assert (law.mobile_ion, law.dimensions) == ("Li", 3)
    assert law.rows > 100
    assert 0 < law.slope < 1
    assert law.std > 1
    assert law.estimate(0.2, 300) > law.estimate(1.0, 300)
