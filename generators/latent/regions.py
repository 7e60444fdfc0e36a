"""Trust regions around the campaign's best, and paths between them, in the space whose prior is N(0, I).

Regions that grow on success and shrink on failure: Eriksson, Pearce, Gardner, Turner, Poloczek, NeurIPS 2019
(arXiv:1910.01739).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from materials.archive import Archive, Progress, Record

NEAR = "near"
"""How notes of candidates from a region begin."""
START, SMALLEST, LARGEST = 0.75, 0.5, 0.92
"""Levels of noise: below 0.5 nearly all that comes is the centre again, above 0.92 hardly anything is like it."""
GROWTH, SHRINKAGE = 1.08, 0.97


def radii(archive: Archive, centers: Sequence[Record]) -> list[float]:
    """How far to go from each of the records: 0 stays there, 1 forgets it. The archive alone decides."""
    places = {record.id: place for place, record in enumerate(archive.incumbents(len(archive)))}
    outcomes: dict[str, list[bool]] = {record.id: [] for record in centers}
    for record in archive.values():
        origin = record.candidate.origin
        center = origin.parents[0] if len(origin.parents) == 1 else ""
        if center in outcomes and origin.note.startswith(NEAR) and record.progress is not Progress.PENDING:
            outcomes[center].append(places.get(record.id, math.inf) < places[center])
    return [_radius(outcomes[record.id]) for record in centers]


def _radius(better: Sequence[bool]) -> float:
    """After children of which some were better than their centre."""
    radius = START * math.prod(GROWTH if one else SHRINKAGE for one in better)
    return min(max(radius, SMALLEST), LARGEST)


def between(one: torch.Tensor, other: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
    """Points (B, n) on great circles from `one` to `other` (B, n), at `share` (B) of the way."""
    lengths = one.norm(dim=1, keepdim=True), other.norm(dim=1, keepdim=True)
    cosine = ((one / lengths[0]) * (other / lengths[1])).sum(dim=1, keepdim=True).clamp(-1 + 1e-6, 1 - 1e-6)
    angle, part = cosine.acos(), share.unsqueeze(1)
    direction = (
        ((1 - part) * angle).sin() * one / lengths[0] + (part * angle).sin() * other / lengths[1]
    ) / angle.sin()
    found: torch.Tensor = direction * ((1 - part) * lengths[0] + part * lengths[1])
    return found
