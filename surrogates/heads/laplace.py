"""What an ensemble that predicts medians and scales says together: a mixture of Laplace distributions.

Laplace rather than normal, because its likelihood is the absolute error, which outliers in a table of
calculations hardly move.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
BISECTIONS = 50


@dataclass(frozen=True)
class LaplaceMixture:
    """Parts with medians and scales [members, n]; beside them `zero` [n], the probability of exactly 0.

    weights: [members, n], how much each part counts; equally where there are none.
    """

    medians: Floats
    scales: Floats
    zero: Floats
    weights: Floats | None = None

    def cumulative(self, values: Floats) -> Floats:
        """[n], the probability of at most `values` [n]."""
        z = (values - self.medians) / self.scales
        tail = 0.5 * np.exp(-np.abs(z))
        parts = self._mean(np.where(z < 0, tail, 1 - tail))
        return np.asarray(self.zero * (values >= 0) + (1 - self.zero) * parts)

    def quantile(self, probability: float) -> Floats:
        """[n], by bisection."""
        reach = 20.0 * self.scales.max(axis=0) + 1e-9
        low = np.minimum(self.medians.min(axis=0) - reach, -1e-9)
        high = np.maximum(self.medians.max(axis=0) + reach, 1e-9)
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            enough = self.cumulative(middle) >= probability
            low, high = np.where(enough, low, middle), np.where(enough, middle, high)
        # A bisection ends a rounding error beside the jump at zero.
        return np.asarray(np.where(np.abs(high) < 1e-6, 0.0, high))

    def density(self, values: Floats) -> Floats:
        """[n], the density of the part that is not exactly zero, at `values` [n]."""
        parts = np.exp(-np.abs(values - self.medians) / self.scales) / (2 * self.scales)
        return np.asarray((1 - self.zero) * self._mean(parts))

    @property
    def std(self) -> Floats:
        """[n], the standard deviation of the whole."""
        mean = (1 - self.zero) * self._mean(self.medians)
        square = (1 - self.zero) * self._mean(self.medians**2 + 2 * self.scales**2)
        return np.asarray(np.sqrt(np.maximum(square - mean**2, 0.0)))

    def widened(self, factor: float) -> LaplaceMixture:
        """With all scales, and the members' spread about their mean, multiplied."""
        center = self._mean(self.medians)
        medians = center + factor * (self.medians - center)
        return LaplaceMixture(medians, factor * self.scales, self.zero, self.weights)

    @classmethod
    def joined(cls, mixtures: Sequence[LaplaceMixture]) -> LaplaceMixture:
        """The rows of mixtures with equally many members, in their order."""
        medians, scales = ([getattr(m, name) for m in mixtures] for name in ("medians", "scales"))
        zeros = [m.zero for m in mixtures]
        weights = [np.ones_like(m.medians) if m.weights is None else m.weights for m in mixtures]
        return cls(*(np.concatenate(x, axis=-1) for x in (medians, scales, zeros, weights)))

    def _mean(self, parts: Floats) -> Floats:
        return np.asarray(np.average(parts, axis=0, weights=self.weights))


def widening(mixture: LaplaceMixture, values: Floats, coverage: float = 0.9) -> float:
    """The factor by which a mixture has to be widened so that its central interval holds `coverage` of `values`."""
    low, high = 0.1, 10.0
    for _ in range(20):
        factor = float(np.sqrt(low * high))
        upto = mixture.widened(factor).cumulative(values)
        # At zero the cumulative jumps; an interval that ends there holds it.
        below = upto - mixture.zero * (values == 0)
        inside = ((1 - coverage) / 2 <= upto) & (below <= (1 + coverage) / 2)
        low, high = (low, factor) if inside.mean() >= coverage else (factor, high)
    return high
