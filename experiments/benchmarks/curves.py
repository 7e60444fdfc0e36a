"""Hypervolume after each evaluation of campaigns that are compared, and intervals of their differences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from loop.report.figures import hypervolume
from materials.archive import Archive

RESAMPLES = 10_000
Floats = npt.NDArray[np.float64]


def bootstrap_interval(differences: Floats) -> tuple[float, float]:
    """95 % percentile bootstrap of the mean, resampling seeds (Efron 1979)."""
    rng = np.random.default_rng(0)
    draws = rng.choice(differences, (RESAMPLES, len(differences))).mean(axis=1)
    low, high = np.quantile(draws, [0.025, 0.975])
    return float(low), float(high)


def hypervolume_curves(archives: Mapping[str, Archive]) -> dict[str, Floats]:
    """Hypervolume after each evaluation; scale and reference point come from all of a seed's runs together."""
    everything = np.array([s for a in archives.values() for r in a.complete if (s := a.scores(r))])
    low, high = everything.min(axis=0), everything.max(axis=0)
    span = np.where(high > low, high - low, 1.0)
    reference = np.full(everything.shape[1], -0.01)
    return {
        policy: np.array([hypervolume(rows, reference) for rows in _growing(archive, low, span)])
        for policy, archive in archives.items()
    }


def _growing(archive: Archive, low: Floats, span: Floats) -> list[Floats]:
    """Scaled scores of what is complete after each evaluation, in the order of the rounds and of the picks."""
    complete = {r.id for r in archive.complete}
    width = len(archive.objectives)
    known: list[Any] = [archive.scores(r) for r in archive.complete if r.known_before]
    steps = []
    for record in (r for r in archive.values() if not r.known_before):
        if record.id in complete:
            known.append(archive.scores(record))
        steps.append((np.array(known, dtype=float).reshape(-1, width) - low) / span)
    return steps
