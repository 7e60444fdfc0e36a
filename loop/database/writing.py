"""Steps of a transaction that the methods of the store are made of."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.orm import Session

from loop.database.records import measurement_of
from loop.database.rows import BESIDE_THE_LINE, EvaluationStatus, PlannedEvaluation
from loop.database.tables import (
    Campaign,
    CandidateRow,
    Evaluation,
    MeasurementRow,
    PredictionRow,
    Table,
)
from materials.base import Candidate, Measurement, Prediction, Selection, canonical_json
from materials.evaluation import Outcome


def now(later: float = 0.0) -> str:
    """The time in UTC, or so many seconds later; ISO 8601, to the millisecond."""
    return (datetime.now(UTC) + timedelta(seconds=later)).isoformat(timespec="milliseconds")


def add_rows(session: Session, table: type[Table], rows: Sequence[Mapping[str, Any]]) -> None:
    """Inserts rows; none is fine."""
    if rows:
        session.execute(insert(table), list(rows))


def touch(session: Session, campaign_id: int, candidate_ids: Iterable[str]) -> None:
    """Notes that the records of these candidates have changed.

    On PostgreSQL the campaign's row also makes writers of one campaign take turns, so that a reader who has
    seen a number of the counter has seen all smaller ones.
    """
    campaign = Campaign.id == campaign_id
    session.execute(update(Campaign).where(campaign).values(revision=Campaign.revision + 1))
    revision = session.scalars(select(Campaign.revision).where(campaign)).one()
    rows = [{"campaign_id": campaign_id, "id": i, "revision": revision} for i in dict.fromkeys(candidate_ids)]
    if rows:
        session.execute(update(CandidateRow), rows)


def add_candidates(
    session: Session, campaign_id: int, candidates: Iterable[Candidate], round: int | None
) -> None:
    """Adds the candidates that are not there yet; the others keep the origin they were first seen with."""
    query = select(CandidateRow.id, CandidateRow.position).where(CandidateRow.campaign_id == campaign_id)
    known = dict(session.execute(query).tuples().all())
    position = max(known.values(), default=0)
    rows = []
    for candidate in candidates:
        if candidate.id not in known:
            position += 1
            known[candidate.id] = position
            place = {"campaign_id": campaign_id, "position": position, "first_round": round, "revision": 0}
            rows.append(place | _candidate_row(candidate) | {"known_before": round is None})
    add_rows(session, CandidateRow, rows)


def _candidate_row(candidate: Candidate) -> dict[str, Any]:
    material = candidate.material
    return {
        "id": candidate.id,
        "kind": material.kind,
        "formula": material.formula,
        "generator": candidate.origin.generator,
        "material": material.to_dict(),
        "origin": candidate.origin.to_dict(),
        "recipe": None if candidate.recipe is None else asdict(candidate.recipe),
    }


def selection_row(position: int, selection: Selection) -> dict[str, Any]:
    """The columns of a selection. A value that is not finite ranks nothing and is kept as NULL."""
    value = selection.acquisition_value
    return {
        "position": position,
        "candidate_id": selection.candidate.id,
        "oracle": selection.oracle,
        "reason": selection.reason,
        "acquisition_value": value if value is not None and math.isfinite(value) else None,
        "cost": selection.cost,
        "conditions": dict(selection.conditions),
    }


def add_predictions(
    session: Session,
    campaign_id: int,
    round: int,
    predictions: Mapping[str, Sequence[Prediction]],
    model_versions: Mapping[str, str],
) -> None:
    """Adds what a round's models expected; where they gave no finite number there is no row.

    model_versions: of the model of each property.
    """
    place = {"campaign_id": campaign_id, "round": round}
    rows = [
        asdict(prediction)
        | place
        | {"candidate_id": candidate_id, "model_version": model_versions[prediction.property]}
        for candidate_id, expected in predictions.items()
        for prediction in expected
        if math.isfinite(prediction.mean) and math.isfinite(prediction.std)
    ]
    add_rows(session, PredictionRow, rows)


def add_evaluations(
    session: Session, campaign_id: int, evaluations: Sequence[PlannedEvaluation], round: int
) -> None:
    """Adds the evaluations whose key is not there yet, as planned."""
    campaign = Evaluation.campaign_id == campaign_id
    keys = [e.key for e in evaluations]
    known = set(session.scalars(select(Evaluation.key).where(campaign, Evaluation.key.in_(keys))))
    number = session.scalars(select(func.coalesce(func.max(Evaluation.number), 0)).where(campaign)).one()
    new = {e.key: e for e in evaluations if e.key not in known}
    place = {"campaign_id": campaign_id, "round": round, "status": EvaluationStatus.PLANNED, "attempts": 0}
    rows = [asdict(e) | place | {"number": number + i} for i, e in enumerate(new.values(), start=1)]
    add_rows(session, Evaluation, rows)
    touch(session, campaign_id, [e.candidate_id for e in new.values()])


def add_measurements(
    session: Session,
    campaign_id: int,
    candidate_id: str,
    measurements: Sequence[Measurement],
    evaluation_key: str | None,
) -> None:
    """Adds measurements in their order."""
    place = {"campaign_id": campaign_id, "candidate_id": candidate_id, "evaluation_key": evaluation_key}
    add_rows(session, MeasurementRow, [m.to_dict() | place for m in measurements])


def missing_prior(
    session: Session, campaign_id: int, measurements: Mapping[str, Sequence[Measurement]]
) -> dict[str, list[Measurement]]:
    """What of the prior measurements is not there yet; equal ones count as often as they are given."""
    query = select(MeasurementRow).where(
        MeasurementRow.campaign_id == campaign_id, MeasurementRow.evaluation_key.is_(None)
    )
    stored = Counter((row.candidate_id, _text(measurement_of(row))) for row in session.scalars(query))
    missing: dict[str, list[Measurement]] = {}
    for candidate_id, rows in measurements.items():
        for measurement in rows:
            entry = (candidate_id, _text(measurement))
            if stored[entry] > 0:
                stored[entry] -= 1
            else:
                missing.setdefault(candidate_id, []).append(measurement)
    return missing


def _text(measurement: Measurement) -> str:
    """As it is kept: SQLite does not keep the sign of a zero, so -0.0 would be missing for ever."""
    told = measurement.to_dict()
    kept = {name: told[name] + 0.0 for name in ("value", "std") if told[name] is not None}
    return canonical_json(told | kept)


def keep_outcome(session: Session, row: Evaluation, outcome: Outcome, round: int) -> None:
    """Writes what came back over what an earlier attempt left."""
    retried = row.status == EvaluationStatus.FAILED
    row.attempts = row.attempts + 1 if retried else max(row.attempts, 1)
    row.status = EvaluationStatus(outcome.status)
    row.arrived_in_round = round
    row.failure_kind = None if outcome.failure is None else str(outcome.failure.kind)
    row.failure_message = None if outcome.failure is None else _storable(outcome.failure.message)
    row.seconds = outcome.seconds
    row.finished_at = now()
    row.material = None if outcome.material is None else outcome.material.to_dict()
    row.provenance = dict(outcome.provenance)
    row.doubt = None if outcome.doubt is None else _storable(outcome.doubt)
    row.artifacts = {name: dict(entry) for name, entry in outcome.artifacts.items()}
    mine = (MeasurementRow.campaign_id == row.campaign_id, MeasurementRow.evaluation_key == row.key)
    session.execute(delete(MeasurementRow).where(*mine))
    add_measurements(session, row.campaign_id, row.candidate_id, outcome.measurements, row.key)
    session.flush()
    candidate = session.get_one(CandidateRow, (row.campaign_id, row.candidate_id))
    candidate.material_after = _material_after(session, candidate)


def _material_after(session: Session, candidate: CandidateRow) -> dict[str, Any] | None:
    """The material as the last stage that changed it left it, whatever the order of arrival."""
    query = select(Evaluation.material).where(
        Evaluation.campaign_id == candidate.campaign_id,
        Evaluation.candidate_id == candidate.id,
        Evaluation.status == EvaluationStatus.DONE,
        Evaluation.material.is_not(None),
        Evaluation.stage > BESIDE_THE_LINE,
    )
    return session.scalars(query.order_by(Evaluation.stage.desc(), Evaluation.number.desc()).limit(1)).first()


def _storable(message: str) -> str:
    """The message as text every database takes: PostgreSQL refuses NUL, UTF-8 refuses lone surrogates."""
    return message.replace("\0", "\\0").encode("utf-8", "backslashreplace").decode("utf-8")
