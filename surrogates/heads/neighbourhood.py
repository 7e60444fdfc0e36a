"""How far a material lies from what a head was trained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
DIMENSION = 32
CENTERS = 1024
ROWS_PER_CENTER = 10


@dataclass(frozen=True)
class Neighbourhood:
    """Training data as CENTERS cluster centers in their first DIMENSION principal components.

    A distance is to the nearest center, divided by the 95th percentile of the training rows' own distances: at most 1
    inside, and above about 3 nothing like the material was seen.
    """

    mean: Floats
    scale: Floats
    components: Floats
    centers: Floats
    usual: float

    @classmethod
    def of(cls, descriptors: Floats, seed: int) -> Neighbourhood:
        """From training rows [n, d]."""
        from sklearn.cluster import MiniBatchKMeans
        from sklearn.decomposition import PCA

        mean, scale = descriptors.mean(axis=0), descriptors.std(axis=0)
        scale = np.where(scale > 1e-6, scale, np.inf)
        rows = (descriptors - mean) / scale
        dimension = min(DIMENSION, *rows.shape)
        components = PCA(dimension, svd_solver="randomized", random_state=seed).fit(rows).components_
        reduced = rows @ components.T
        # Far fewer centers than rows, or each row would be its own center and nothing usual.
        count = max(1, min(CENTERS, len(rows) // ROWS_PER_CENTER))
        means = MiniBatchKMeans(count, random_state=seed, n_init=1).fit(reduced)
        found = cls(mean, scale, components, means.cluster_centers_, 1.0)
        usual = float(np.percentile(found.distance(descriptors), 95)) or 1.0
        return cls(mean, scale, components, means.cluster_centers_, usual)

    def distance(self, descriptors: Floats) -> Floats:
        """[n] for rows [n, d]."""
        from scipy.spatial import cKDTree

        reduced = ((descriptors - self.mean) / self.scale) @ self.components.T
        nearest, _ = cKDTree(self.centers).query(reduced)
        return np.asarray(nearest / self.usual)

    def arrays(self) -> Mapping[str, Floats]:
        """Everything needed to make it again with `from_arrays`."""
        return vars(self) | {"usual": np.array(self.usual)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Floats]) -> Neighbourhood:
        """The inverse of `arrays`."""
        return cls(
            **{k: np.asarray(v, float) for k, v in arrays.items() if k != "usual"},
            usual=float(arrays["usual"].item()),
        )
