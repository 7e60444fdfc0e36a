"""From a thousand descriptors to the few inputs a Gaussian process sees."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

LARGEST_DIMENSION = 32
"""Principal components kept at most; see docs/surrogates.md for the measurement."""
SMALLEST_SPREAD = 1e-6
"""A column that varies less than this, relative to its size, is constant up to rounding in float32."""


@dataclass(frozen=True)
class Reduction:
    """Standardises columns, projects on principal components, and divides by one common spread.

    One spread for all components keeps distances as they are in the standardised descriptors: minor
    components stay minor. mean, scale: [d]; components: [k, d].
    """

    mean: Floats
    scale: Floats
    components: Floats

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
        return cls(mean, scale, directions[:kept] * signs[:, None] / common)

    @property
    def dimension(self) -> int:
        """The number k of inputs it gives."""
        return len(self.components)

    def apply(self, features: Floats) -> Floats:
        """Reduced rows [n, k]; a row of NaN stays one."""
        return np.asarray(((features - self.mean) / self.scale) @ self.components.T)

    def arrays(self) -> Mapping[str, Floats]:
        """Everything needed to make it again with `Reduction(**arrays)`."""
        return {"mean": self.mean, "scale": self.scale, "components": self.components}
