"""Orders an archive's records from best to worst."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from materials.archive import Archive, Record

Floats = npt.NDArray[np.float64]


def rank_records(archive: Archive) -> list[Record]:
    """Complete records by non-dominated rank and crowding, then infeasible ones by constraint violation.

    Duplicates, failures, pending records and records on which nothing relevant was measured are left out.
    """
    complete = archive.complete
    scores = np.array([archive.scores(r) for r in complete], dtype=float).reshape(len(complete), len(archive.objectives))
    ordered = [complete[i] for i in non_dominated_order(scores)]
    chosen = {r.id for r in complete}
    rest = [r for r in archive.evaluated if r.id not in chosen and r.duplicate_of is None]
    return ordered + sorted(rest, key=lambda r: (_violation(archive, r), r.id))


def non_dominated_order(scores: Floats) -> list[int]:
    """Row indices of `scores` [n, m] (larger is better) by front, crowded rows last within a front.

    Source: Deb, Pratap, Agarwal, Meyarivan, IEEE Trans. Evol. Comput. 6, 182 (2002).
    """
    left = list(range(len(scores)))
    order: list[int] = []
    while left:
        front = [i for i in left if not any(_dominates(scores[j], scores[i]) for j in left)]
        crowding = _crowding(scores[front])
        order += [i for _, i in sorted(zip(-crowding, front, strict=True))]
        left = [i for i in left if i not in set(front)]
    return order


def _dominates(a: Floats, b: Floats) -> bool:
    return bool(np.all(a >= b) and np.any(a > b))


def _crowding(scores: Floats) -> Floats:
    count, width = scores.shape
    distance = np.zeros(count)
    if width == 1:
        return np.asarray(scores[:, 0], dtype=float)
    for column in scores.T:
        order = np.argsort(column)
        span = column[order[-1]] - column[order[0]] or 1.0
        distance[order[[0, -1]]] = np.inf
        distance[order[1:-1]] += (column[order[2:]] - column[order[:-2]]) / span
    return distance


def _violation(archive: Archive, record: Record) -> Sequence[float]:
    """(unmeasured goals, summed violation of the measured constraints): smaller is nearer to feasible."""
    missing = 0
    violation = 0.0
    for objective in archive.objectives:
        missing += record.value(objective.property, objective.fidelity) is None
    for constraint in archive.constraints:
        value = record.value(constraint.property)
        if value is None:
            missing += 1
        else:
            violation += max(0.0, constraint.at_least - value, value - constraint.at_most)
    return (missing, violation)
