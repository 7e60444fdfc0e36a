"""Keeps the archive's records between looks, and reads again only what changed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from sqlalchemy import ColumnElement, exists, func, or_, select
from sqlalchemy.orm import Session

from loop.database.rows import BESIDE_THE_LINE, OPEN, EvaluationStatus
from loop.database.tables import (
    Campaign,
    CandidateRow,
    Evaluation,
    MeasurementRow,
    PredictionRow,
    SelectionRow,
)
from materials.archive import Progress, Record
from materials.base import Bound, Candidate, Measurement, Origin, Prediction, Recipe, material_from_dict
from materials.evaluation import Failure, FailureKind


class RecordCache:
    """The records of one campaign under a line of `stages` oracles.

    A record is what was known before or was ever picked. Every write to a candidate gives it the next number
    of the campaign's counter (`revision`), so a look reads only the candidates with a higher number than the
    last look saw, and is exact.
    """

    def __init__(self, campaign_id: int, stages: int) -> None:
        self.stages = stages
        self._campaign_id = campaign_id
        self._revision = -1
        self._found: dict[str, tuple[int, Record]] = {}

    def refresh(self, session: Session) -> list[Record]:
        """All records, in the order in which their candidates were first seen."""
        revision = session.scalars(select(Campaign.revision).where(Campaign.id == self._campaign_id)).one()
        if revision > self._revision:
            known = len(self._found)
            self._found.update(self._changed(session))
            if len(self._found) > known:
                self._found = dict(sorted(self._found.items(), key=lambda item: item[1][0]))
            self._revision = revision
        return [record for _, record in self._found.values()]

    def _changed(self, session: Session) -> dict[str, tuple[int, Record]]:
        changed = (CandidateRow.campaign_id == self._campaign_id, CandidateRow.revision > self._revision)
        evaluations = self._evaluations(session, changed)
        measurements = self._measurements(session, changed)
        rounds = self._rounds(session, changed)
        picked = exists().where(
            SelectionRow.campaign_id == CandidateRow.campaign_id, SelectionRow.candidate_id == CandidateRow.id
        )
        rows = session.scalars(select(CandidateRow).where(*changed, or_(CandidateRow.known_before, picked)))
        return {
            row.id: (
                row.position,
                _record(row, evaluations[row.id], measurements[row.id], rounds.get(row.id), self.stages),
            )
            for row in rows
        }

    def _evaluations(
        self, session: Session, changed: Iterable[ColumnElement[bool]]
    ) -> defaultdict[str, list[Evaluation]]:
        query = (
            select(Evaluation)
            .join(CandidateRow, _same_candidate(Evaluation))
            .where(*changed, Evaluation.stage > BESIDE_THE_LINE)
            .order_by(Evaluation.stage, Evaluation.number)
        )
        found: defaultdict[str, list[Evaluation]] = defaultdict(list)
        for row in session.scalars(query):
            found[row.candidate_id].append(row)
        return found

    def _measurements(
        self, session: Session, changed: Iterable[ColumnElement[bool]]
    ) -> defaultdict[str, list[Measurement]]:
        """What was known before, then what the stages gave, in their order; nothing from a failure."""
        query = (
            select(MeasurementRow)
            .join(CandidateRow, _same_candidate(MeasurementRow))
            .outerjoin(
                Evaluation,
                (Evaluation.campaign_id == MeasurementRow.campaign_id)
                & (Evaluation.key == MeasurementRow.evaluation_key),
            )
            .where(*changed)
            .where(or_(Evaluation.key.is_(None), Evaluation.status == EvaluationStatus.DONE))
            .where(or_(Evaluation.key.is_(None), Evaluation.stage > BESIDE_THE_LINE))
            .order_by(func.coalesce(Evaluation.stage, -1), Evaluation.number, MeasurementRow.id)
        )
        found: defaultdict[str, list[Measurement]] = defaultdict(list)
        for row in session.scalars(query):
            found[row.candidate_id].append(measurement_of(row))
        return found

    def _rounds(self, session: Session, changed: Iterable[ColumnElement[bool]]) -> dict[str, int]:
        query = (
            select(SelectionRow.candidate_id, func.max(SelectionRow.round))
            .join(CandidateRow, _same_candidate(SelectionRow))
            .where(*changed)
            .group_by(SelectionRow.candidate_id)
        )
        return dict(session.execute(query).tuples().all())


def candidate_of(row: CandidateRow) -> Candidate:
    """The candidate as it was first proposed."""
    return Candidate(
        material_from_dict(row.material),
        Origin.from_dict(row.origin),
        None if row.recipe is None else Recipe(**row.recipe),
    )


def measurement_of(row: MeasurementRow) -> Measurement:
    """The measurement in a row."""
    return Measurement(
        property=row.property,
        value=row.value,
        unit=row.unit,
        fidelity=row.fidelity,
        oracle=row.oracle,
        std=row.std,
        bound=Bound(row.bound),
        conditions=row.conditions,
    )


def prediction_of(row: PredictionRow) -> Prediction:
    """The prediction in a row."""
    return Prediction(row.property, row.mean, row.std, row.distance, row.widening)


def failure_of(row: Evaluation) -> Failure | None:
    """Why an evaluation gave no value; None where it did, or was cancelled."""
    if row.failure_kind is None:
        return None
    return Failure(FailureKind(row.failure_kind), row.failure_message or "")


def _same_candidate(table: type[Evaluation | MeasurementRow | SelectionRow]) -> ColumnElement[bool]:
    return (table.campaign_id == CandidateRow.campaign_id) & (table.candidate_id == CandidateRow.id)


def _record(
    row: CandidateRow,
    evaluations: Sequence[Evaluation],
    measurements: Sequence[Measurement],
    round: int | None,
    stages: int,
) -> Record:
    candidate = candidate_of(row)
    after = row.material_after
    progress = _progress(row, evaluations, round, stages)
    without = _without_value(evaluations) if progress is Progress.FAILED else None
    return Record(
        candidate=candidate,
        material=candidate.material if after is None else material_from_dict(after),
        progress=progress,
        measurements=tuple(measurements),
        failure=None if without is None else failure_of(without),
        stopped_by=row.stopped_by,
        duplicate_of=row.duplicate_of,
        round=round,
        known_before=row.known_before,
        doubt=_doubt(evaluations),
    )


def _doubt(evaluations: Sequence[Evaluation]) -> str:
    """What the latest answer that spoke of doubts said; an empty one lifts those before it."""
    spoke = [e for e in evaluations if e.doubt is not None]
    return (max(spoke, key=lambda e: e.number).doubt or "") if spoke else ""


def _without_value(evaluations: Sequence[Evaluation]) -> Evaluation | None:
    """The stage whose latest answer gave no value, which ends a line wherever in it the stage is asked."""
    latest: dict[int, Evaluation] = {}
    for evaluation in sorted(evaluations, key=lambda e: e.number):
        latest[evaluation.stage] = evaluation
    ended = [e for e in latest.values() if e.status not in (*OPEN, EvaluationStatus.DONE)]
    return max(ended, key=lambda e: e.number, default=None)


def _progress(
    row: CandidateRow, evaluations: Sequence[Evaluation], round: int | None, stages: int
) -> Progress:
    if any(e.status in OPEN for e in evaluations):
        return Progress.PENDING
    if _without_value(evaluations) is not None:
        return Progress.FAILED
    ended = row.stopped_by is not None or row.duplicate_of is not None
    done = {e.stage for e in evaluations if e.status == EvaluationStatus.DONE}
    if round is None or ended or len(done) >= stages:
        return Progress.EVALUATED
    return Progress.PENDING
