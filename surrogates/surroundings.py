"""How far a candidate lies from the rows a property's model was trained on."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

JUDGED_ROWS = 2000
"""What is usual is judged on at most so many rows, evenly drawn; the nearest row is sought among all."""
CHUNK = 256


@dataclass(frozen=True)
class Surroundings:
    """Training rows [n, k], and what is usual among them.

    A distance is to the nearest row, divided by the 95th percentile of the distances of rows to their nearest other
    row: up to about 1 is inside the data, above 3 is extrapolation.
    """

    rows: Tensor
    usual: float

    @classmethod
    def of(cls, rows: Tensor) -> Surroundings:
        """From training rows [n, k], all finite. Where they all coincide, distances are those of the inputs."""
        count = len(rows)
        judged = torch.arange(0, count, max(1, -(-count // JUDGED_ROWS)))
        nearest = _nearest(rows[judged], rows, judged)
        known = nearest[nearest.isfinite() & (nearest > 0)]
        return cls(rows, float(torch.quantile(known, 0.95)) if len(known) else 1.0)

    def distances(self, inputs: Tensor) -> list[float | None]:
        """[n] for inputs [n, k]; None for a row that holds NaN."""
        nearest = (_nearest(inputs, self.rows) / self.usual).tolist()
        return [d if d == d else None for d in nearest]


def _nearest(inputs: Tensor, rows: Tensor, itself: Tensor | None = None) -> Tensor:
    """[n]: the distance to the nearest of `rows`, not counting the one at `itself`."""
    found = []
    for start in range(0, len(inputs), CHUNK):
        # By differences: exact for coinciding rows, and the same however inputs are grouped.
        part = torch.cdist(inputs[start : start + CHUNK], rows, compute_mode="donot_use_mm_for_euclid_dist")
        if itself is not None:
            part[torch.arange(len(part)), itself[start : start + CHUNK]] = torch.inf
        found.append(part.amin(dim=1))
    return torch.cat(found) if found else torch.zeros(0)
