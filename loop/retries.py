"""Which evaluations a new driver asks again: those that failed for a reason that may be mended by now."""

from __future__ import annotations

from collections.abc import Sequence

from loop.database.rows import BESIDE_THE_LINE, EvaluationRow, EvaluationStatus
from loop.database.view import View
from loop.line import Stage
from materials.archive import Archive, Progress
from materials.evaluation import FailureKind

MENDABLE = (FailureKind.MISSING_PROGRAM, FailureKind.MISSING_DATA, FailureKind.WORKER_LOST)
MOST_ATTEMPTS = 5
"""What still fails then is not asked again by itself."""


def to_ask_again(store: View, line: Sequence[Stage], archive: Archive) -> list[str]:
    """Ids of failed candidates whose evaluation may come through now.

    What ran out of time is asked again only where the oracle goes on from where it stopped; it would run out of it
    once more.
    """
    stages = {stage.name: stage for stage in line}
    failed = [row for row in store.evaluations(EvaluationStatus.FAILED) if row.stage > BESIDE_THE_LINE]
    found = [
        row.candidate_id for row in failed if row.oracle in stages and _may_help(row, stages[row.oracle])
    ]
    return [i for i in dict.fromkeys(found) if archive[i].progress is Progress.FAILED]


def _may_help(row: EvaluationRow, stage: Stage) -> bool:
    if row.failure is None or row.attempts >= MOST_ATTEMPTS:
        return False
    timed_out = row.failure.kind is FailureKind.TIMEOUT
    return row.failure.kind in MENDABLE or (timed_out and stage.settings.continues)
