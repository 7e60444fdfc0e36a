"""Orders an archive's records from best to worst."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from materials.archive import Archive, Record

Floats = npt.NDArray[np.float64]


def rank_records(archive: Archive) -> list[Record]:
    """Complete records by non-dominated rank and crowding, then the others by their distance to feasibility, doubted
    ones last.

    That distance counts what was not measured first, then the summed violation of the constraints. Duplicates,
    failures, pending records and records on which no objective or constraint was measured are left out.
    """
    complete = archive.complete
    scores = np.array([archive.scores(r) for r in complete], dtype=float)
    order = non_dominated_order(scores.reshape(len(complete), len(archive.objectives)))
    chosen = {r.id for r in complete}
    goals = {o.property for o in archive.objectives} | {c.property for c in archive.constraints}
    rest = [
        r
        for r in archive.evaluated
        if r.id not in chosen and r.duplicate_of is None and any(m.property in goals for m in r.measurements)
    ]
    return [complete[i] for i in order] + sorted(
        rest, key=lambda r: (r.doubted, *_violation(archive, r), r.id)
    )


def non_dominated_order(scores: Floats) -> list[int]:
    """Row indices of `scores` [n, m] (larger is better) by front, crowded rows last within a front.

    Source: Deb, Pratap, Agarwal, Meyarivan, IEEE Trans. Evol. Comput. 6, 182 (2002).
    """
    order: list[int] = []
    for front in non_dominated_fronts(scores):
        crowding = _crowding(scores[front])
        order += [front[k] for k in np.argsort(-crowding, kind="stable")]
    return order


def non_dominated_fronts(scores: Floats) -> list[list[int]]:
    """Row indices of `scores` [n, m] (larger is better) by front: each is dominated only by earlier ones.

    Takes n x n bytes a few times over.
    """
    count = len(scores)
    at_least = np.ones((count, count), dtype=bool)
    better = np.zeros((count, count), dtype=bool)
    for column in scores.T:
        at_least &= column[:, None] >= column
        better |= column[:, None] > column
    dominates = at_least & better
    dominators = dominates.sum(axis=0)
    left = np.ones(count, dtype=bool)
    fronts = []
    while left.any():
        front = np.flatnonzero(left & (dominators == 0))
        fronts.append([int(i) for i in front])
        left[front] = False
        dominators -= dominates[front].sum(axis=0)
    return fronts


def _crowding(scores: Floats) -> Floats:
    """[n]: how far a row's neighbours in its front lie apart; for one objective the score itself."""
    count, width = scores.shape
    if width == 1:
        return np.asarray(scores[:, 0], dtype=float)
    distance = np.zeros(count)
    for column in scores.T:
        order = np.argsort(column, kind="stable")
        span = column[order[-1]] - column[order[0]] or 1.0
        distance[order[[0, -1]]] = np.inf
        distance[order[1:-1]] += (column[order[2:]] - column[order[:-2]]) / span
    return distance


def _violation(archive: Archive, record: Record) -> tuple[int, float]:
    """(unmeasured goals, summed violation of the measured constraints): smaller is nearer to feasible."""
    missing = 0
    violation = 0.0
    for objective in archive.objectives:
        missing += record.value(objective.property, objective.fidelity) is None
    for constraint in archive.constraints:
        measured = archive.measured(record, constraint.property)
        if measured is None:
            missing += 1
        else:
            violation += max(0.0, constraint.at_least - measured.value, measured.value - constraint.at_most)
    return missing, violation
