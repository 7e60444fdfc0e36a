"""How honest predictions were: errors, likelihood and coverage on outcomes, and by how much to widen intervals.

Pure functions of forecasts, each a normal distribution stated before the test, and what was then measured.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from materials.base import Bound

Z_50, Z_90 = NormalDist().inv_cdf(0.75), NormalDist().inv_cdf(0.95)
"""Half widths, in standard deviations, of the central intervals that hold 50 % and 90 % of a normal."""

SMALLEST_STD = 1e-9
"""A standard deviation of 0 claims certainty; it counts as this much, so that every number stays finite."""

WINDOW = 30
"""Drift is judged on so many of the latest outcomes; a short one sooner believes a model again that got better."""

LATEST = 8
"""Nothing is widened while the model's own intervals held so many latest outcomes. Of a model that misses three in ten,
one such run in seventeen has no miss; of an honest one, nearly every second (docs/honesty.md)."""

FEWEST = 10
"""With fewer outcomes the 90 % quantile with its correction would be the largest error, or beyond it."""

IMPROBABLE = 0.05
"""So many misses have drifted that honest intervals would give them, or more, with less than this chance."""


@dataclass(frozen=True)
class Forecast:
    """A stated mean and standard deviation, and the value (or the limit to it) that was then measured."""

    mean: float
    std: float
    measured: float
    bound: Bound = Bound.EXACT

    @property
    def score(self) -> float:
        """|measured - mean| in stated standard deviations."""
        return abs(self.measured - self.mean) / max(self.std, SMALLEST_STD)


@dataclass(frozen=True)
class Honesty:
    """Forecasts against outcomes.

    count: exact values; limits: values known only as a limit, which enter the likelihood alone. mae: mean absolute
    error in the property's unit. spearman: rank correlation, None with fewer than three values or where one side is
    constant. nll: mean negative logarithm of the stated probability density (of the stated probability, for a limit).
    inside_50, inside_90: how many exact values lie in the central intervals.
    """

    count: int
    limits: int
    mae: float | None
    spearman: float | None
    nll: float | None
    inside_50: int
    inside_90: int

    @property
    def coverage_50(self) -> float | None:
        """The share of exact values inside the central 50 % interval."""
        return self.inside_50 / self.count if self.count else None

    @property
    def coverage_90(self) -> float | None:
        """The share of exact values inside the central 90 % interval."""
        return self.inside_90 / self.count if self.count else None


@dataclass(frozen=True)
class Widening:
    """By how much intervals are widened: `misses` of the latest `count` values lay outside their 90 % interval as
    the model gave it, which honest intervals would reach with probability `chance`."""

    factor: float
    count: int
    misses: int
    chance: float


def honesty(forecasts: Sequence[Forecast]) -> Honesty:
    """What `Honesty` says of forecasts in any order; all None and 0 for none."""
    exact = [f for f in forecasts if f.bound == Bound.EXACT]
    errors = [abs(f.measured - f.mean) for f in exact]
    return Honesty(
        count=len(exact),
        limits=len(forecasts) - len(exact),
        mae=float(np.mean(errors)) if exact else None,
        spearman=_spearman(exact),
        nll=float(np.mean(_surprises(forecasts))) if forecasts else None,
        inside_50=sum(f.score <= Z_50 for f in exact),
        inside_90=sum(f.score <= Z_90 for f in exact),
    )


def widening(forecasts: Sequence[Forecast]) -> Widening:
    """The factor on standard deviations for the next forecasts, from earlier ones as the model gave them, oldest first.

    It is 1 unless the misses of the latest WINDOW exact values are improbable (binomial) and one of them is among the
    LATEST, so that a single bad round is soon forgotten. Then it is the split-conformal 90 % quantile of their scores,
    with the correction for a finite sample, over that of a normal: where the next outcome is exchangeable with these,
    its interval holds it with at least 90 % probability (Vovk, Gammerman, Shafer, Algorithmic Learning in a Random
    World, 2005; Lei et al., J. Am. Stat. Assoc. 113, 1094 (2018)).
    """
    from scipy.stats import binom

    scores = _scores([f for f in forecasts if f.bound == Bound.EXACT][-WINDOW:])
    count, misses = len(scores), int(np.sum(scores > Z_90))
    chance = float(binom.sf(misses - 1, count, 0.1))
    if count < FEWEST or chance >= IMPROBABLE or bool(np.all(scores[-LATEST:] <= Z_90)):
        return Widening(1.0, count, misses, chance)
    rank = math.ceil(0.9 * (count + 1))
    return Widening(max(1.0, float(np.sort(scores)[rank - 1]) / Z_90), count, misses, chance)


def _scores(forecasts: Sequence[Forecast]) -> npt.NDArray[np.float64]:
    return np.array([f.score for f in forecasts], dtype=float)


def _spearman(exact: Sequence[Forecast]) -> float | None:
    from scipy.stats import spearmanr

    means, values = [f.mean for f in exact], [f.measured for f in exact]
    if len(exact) < 3 or len(set(means)) == 1 or len(set(values)) == 1:
        return None
    return float(spearmanr(means, values).statistic)


def _surprises(forecasts: Sequence[Forecast]) -> npt.NDArray[np.float64]:
    """[n]: negative logarithms of the stated density at a value, or of the stated probability that a limit is kept."""
    from scipy.special import log_ndtr

    stds = np.maximum([f.std for f in forecasts], SMALLEST_STD)
    z = (np.array([f.measured for f in forecasts]) - [f.mean for f in forecasts]) / stds
    bounds = np.array([str(f.bound) for f in forecasts])
    densities = 0.5 * z * z + np.log(stds) + 0.5 * math.log(2 * math.pi)
    kept = -log_ndtr(np.where(bounds == Bound.UPPER, z, -z))
    return np.where(bounds == Bound.EXACT, densities, kept)
