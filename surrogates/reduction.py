"""From a thousand descriptors to the few inputs a Gaussian process sees."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

LARGEST_DIMENSION = 64
"""Principal components kept at most; see docs/surrogates.md for the measurement."""
SMALLEST_SPREAD = 1e-6
"""A column that varies less than this, relative to its size, is constant up to rounding in float32."""


@dataclass(frozen=True)
class Reduction:
    """Standardised columns, projected on principal components, and beside them how far a row lies off these.

    The distance of any row to one inside the components stays what it was among the standardised columns, so
    a model knows when a candidate is unlike all it has learned from in ways that a few rows cannot span. All is
    divided by one common spread. mean, scale: [d]; components: [k, d], orthonormal.
    """

    mean: Floats
    scale: Floats
    components: Floats
    spread: float

    @classmethod
    def fit(cls, features: Floats) -> Reduction:
        """The reduction of described rows [n, d]; rows that hold NaN are left out. Needs one finite row."""
        rows = features[np.isfinite(features).all(axis=1)]
        if not len(rows):
            raise ValueError("none of the materials can be described, so nothing can be learned from them")
        mean = rows.mean(axis=0)
        spread = rows.std(axis=0)
        constant = spread <= SMALLEST_SPREAD * np.maximum(np.abs(mean), 1.0)
        scale = np.where(constant, np.inf, spread)
        _, singular, directions = np.linalg.svd((rows - mean) / scale, full_matrices=False)
        kept = max(1, min(LARGEST_DIMENSION, int(np.sum(singular > 1e-9 * max(singular[0], 1e-300)))))
        largest = np.abs(directions[:kept]).argmax(axis=1)
        signs = np.sign(directions[np.arange(kept), largest])
        common = float(np.sqrt(np.sum(singular[:kept] ** 2) / (len(rows) * kept))) or 1.0
        return cls(mean, scale, directions[:kept] * signs[:, None], common)

    @property
    def dimension(self) -> int:
        """The number of inputs it gives: the components and the distance off them."""
        return len(self.components) + 1

    def apply(self, features: Floats) -> Floats:
        """Reduced rows [n, dimension]; a row of NaN stays one."""
        standard = (features - self.mean) / self.scale
        along = standard @ self.components.T
        off = np.linalg.norm(standard - along @ self.components, axis=1, keepdims=True)
        return np.asarray(np.concatenate([along, off], axis=1) / self.spread)

    def arrays(self) -> Mapping[str, Floats]:
        """Everything needed to make it again with `from_arrays`."""
        return {
            "mean": self.mean,
            "scale": self.scale,
            "components": self.components,
            "spread": np.array(self.spread),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Floats]) -> Reduction:
        """The inverse of `arrays`."""
        return cls(arrays["mean"], arrays["scale"], arrays["components"], float(arrays["spread"].item()))
