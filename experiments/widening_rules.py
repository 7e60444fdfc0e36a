"""Ideas for the factor on standard deviations, for `experiments.benchmarks.widening` to compare.

Each takes the scores [n] of all earlier outcomes (|measured - mean| in the model's own standard deviations, oldest
first) and their ages [n] (rounds ago, at least 1), and gives the factor for the next round.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from loop.honesty import Z_90, Forecast, widening

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Rule = Callable[[Floats, Integers], float]
FEWEST = 10
IMPROBABLE = 0.05


def _window(most: int) -> Rule:
    """Split-conformal on the latest `most` outcomes, where their misses are improbable."""
    return lambda scores, ages: _conformal(scores[-most:])


def _conformal(scores: Floats) -> float:
    from scipy.stats import binom

    count, misses = len(scores), int(np.sum(scores > Z_90))
    if count < FEWEST or binom.sf(misses - 1, count, 0.1) >= IMPROBABLE:
        return 1.0
    return max(1.0, float(np.sort(scores)[math.ceil(0.9 * (count + 1)) - 1]) / Z_90)


def _least(first: int, second: int) -> Rule:
    """The smaller factor of a long and a short window."""
    return lambda scores, ages: min(_conformal(scores[-first:]), _conformal(scores[-second:]))


def _confirmed(most: int, latest: int, doubtful: float) -> Rule:
    """A window, but 1 where the latest few outcomes alone give no hint of drift."""
    from scipy.stats import binom

    def rule(scores: Floats, ages: Integers) -> float:
        recent = scores[-latest:]
        hint = binom.sf(int(np.sum(recent > Z_90)) - 1, max(len(recent), 1), 0.1) < doubtful
        return _conformal(scores[-most:]) if hint else 1.0

    return rule


def _capped(most: int, latest: int) -> Rule:
    """A window, but no more than makes the intervals of the latest few hold all of them."""

    def rule(scores: Floats, ages: Integers) -> float:
        factor = _conformal(scores[-most:])
        return max(1.0, min(factor, float(scores[-latest:].max()) / Z_90)) if factor > 1.0 else 1.0

    return rule


def _forgetting(most: int, chance: float) -> Rule:
    """A window that forgets what came before a round since when scores are smaller (Mann and Whitney's test)."""
    from scipy.stats import mannwhitneyu

    def rule(scores: Floats, ages: Integers) -> float:
        scores, ages = scores[-most:], ages[-most:]
        for age in sorted(set(ages.tolist()))[:-1]:
            later, earlier = scores[ages <= age], scores[ages > age]
            if mannwhitneyu(later, earlier, alternative="less").pvalue < chance:
                return _conformal(later) if len(later) >= FEWEST else _conformal(scores)
        return _conformal(scores)

    return rule


def _decaying(rate: float) -> Rule:
    """Outcomes weigh rate ** age, in outcomes, in the test and in the quantile.

    Barber, Candes, Ramdas, Tibshirani, Ann. Stat. 51, 816 (2023).
    """
    from scipy.special import betainc

    def rule(scores: Floats, ages: Integers) -> float:
        if len(scores) < FEWEST:
            return 1.0
        weights = rate ** np.arange(len(scores))[::-1]
        effective = weights.sum() ** 2 / (weights**2).sum()
        misses = effective * float(np.average(scores > Z_90, weights=weights))
        if misses == 0 or betainc(misses, effective - misses + 1, 0.1) >= IMPROBABLE:
            return 1.0
        order = np.argsort(scores)
        reached = np.cumsum(weights[order]) / (weights.sum() + 1.0)
        place = min(int(np.searchsorted(reached, 0.9)), len(scores) - 1)
        return max(1.0, float(scores[order][place]) / Z_90)

    return rule


def _adaptive(step: float) -> Rule:
    """Its logarithm goes up after misses, down after hits (Gibbs and Candes, NeurIPS 2021), never below 0."""

    def rule(scores: Floats, ages: Integers) -> float:
        factor = 1.0
        for age in sorted(set(ages.tolist()), reverse=True):
            found = scores[ages == age]
            factor = max(1.0, factor * math.exp(step * float(np.sum((found > factor * Z_90) - 0.1))))
        return factor

    return rule


def _improbable(scores: Floats) -> bool:
    from scipy.stats import binom

    misses = int(np.sum(scores > Z_90))
    return len(scores) >= FEWEST and bool(binom.sf(misses - 1, len(scores), 0.1) < IMPROBABLE)


def _gated_adaptive(step: float, most: int = 30) -> Rule:
    """As `_adaptive`, but 1 where the misses of the latest outcomes are not improbable."""
    adaptive = _adaptive(step)
    return lambda scores, ages: adaptive(scores, ages) if _improbable(scores[-most:]) else 1.0


def _adaptive_level(step: float, most: int = 30) -> Rule:
    """The window's quantile at a level that rises with misses and falls with hits, from 90 % (Gibbs, Candes 2021)."""

    def rule(scores: Floats, ages: Integers) -> float:
        level, factor = 0.9, 1.0
        for age in sorted(set(ages.tolist()), reverse=True):
            found, earlier = scores[ages == age], scores[ages >= age][-most:]
            if factor > 1.0:
                level += step * float(np.sum((found > factor * Z_90) - 0.1))
                level = min(max(level, 0.1), 0.99)
            if not _improbable(earlier):
                level, factor = 0.9, 1.0
                continue
            rank = min(math.ceil(level * (len(earlier) + 1)), len(earlier))
            factor = max(1.0, float(np.sort(earlier)[rank - 1]) / Z_90)
        return factor

    return rule


def _shrinking(most: int, rate: float) -> Rule:
    """The window's factor to the power of rate ** rounds since the latest round whose own misses are improbable."""
    from scipy.stats import binom

    def rule(scores: Floats, ages: Integers) -> float:
        factor = _conformal(scores[-most:])
        for age in sorted(set(ages.tolist())):
            found = scores[ages == age]
            if binom.sf(int(np.sum(found > Z_90)) - 1, len(found), 0.1) < IMPROBABLE:
                return float(factor ** (rate ** (age - 1)))
        return factor

    return rule


def _shipped(scores: Floats, ages: Integers) -> float:
    return widening([Forecast(0.0, 1.0, float(score)) for score in scores]).factor


RULES: Mapping[str, Rule] = {
    "none": lambda scores, ages: 1.0,
    "shipped": _shipped,
    "window 30": _window(30),
    "window 50": _window(50),
    "30, 2 misses in 8": _confirmed(30, 8, 0.5),
    "least of 30 and 16": _least(30, 16),
    "30, capped by 10": _capped(30, 10),
    "30, forgets (0.1)": _forgetting(30, 0.1),
    "30, shrinks 0.7": _shrinking(30, 0.7),
    "weights 0.98": _decaying(0.98),
    "weights 0.96": _decaying(0.96),
    "adaptive 0.05": _adaptive(0.05),
    "gated adaptive 0.1": _gated_adaptive(0.1),
    "adaptive level 0.1": _adaptive_level(0.1),
}
