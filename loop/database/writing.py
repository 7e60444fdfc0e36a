"""Steps of a transaction that several methods of the store share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime

from sqlalchemy import func, insert, select, update
from sqlalchemy.orm import Session

from loop.database.records import measurement_of
from loop.database.rows import EvaluationStatus, PlannedEvaluation
from loop.database.tables import Campaign, CandidateRow, Evaluation, MeasurementRow, PredictionRow
from materials.base import Candidate, Measurement, Prediction, canonical_json


def now() -> str:
    """The time in UTC, ISO 8601, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def next_revision(session: Session, campaign_id: int) -> int:
    """Counts one change of the campaign. On PostgreSQL this also makes writers of one campaign take turns."""
    campaign = Campaign.id == campaign_id
    session.execute(update(Campaign).where(campaign).values(revision=Campaign.revision + 1))
    return session.scalars(select(Campaign.revision).where(campaign)).one()


def touch(session: Session, campaign_id: int, candidate_ids: Iterable[str]) -> None:
    """Notes that the records of these candidates have changed."""
    revision = next_revision(session, campaign_id)
    rows = [{"campaign_id": campaign_id, "id": i, "revision": revision} for i in dict.fromkeys(candidate_ids)]
    if rows:
        session.execute(update(CandidateRow), rows)


def add_candidates(
    session: Session, campaign_id: int, candidates: Iterable[Candidate], round: int | None
) -> None:
    """Adds the candidates that are not there yet; those that are keep the origin they were first seen with."""
    query = select(CandidateRow.id, CandidateRow.position).where(CandidateRow.campaign_id == campaign_id)
    known = dict(session.execute(query).tuples().all())
    position = max(known.values(), default=0)
    rows = []
    for candidate in candidates:
        if candidate.id not in known:
            position += 1
            known[candidate.id] = position
            rows.append(_candidate_row(candidate, campaign_id, position, round))
    if rows:
        session.execute(insert(CandidateRow), rows)


def _candidate_row(
    candidate: Candidate, campaign_id: int, position: int, round: int | None
) -> dict[str, object]:
    material = candidate.material
    return {
        "campaign_id": campaign_id,
        "id": candidate.id,
        "position": position,
        "kind": material.kind,
        "formula": material.formula,
        "generator": candidate.origin.generator,
        "material": material.to_dict(),
        "origin": candidate.origin.to_dict(),
        "recipe": None if candidate.recipe is None else asdict(candidate.recipe),
        "first_round": round,
        "known_before": round is None,
        "revision": 0,
    }


def add_measurements(
    session: Session,
    campaign_id: int,
    candidate_id: str,
    measurements: Sequence[Measurement],
    evaluation_key: str | None,
) -> None:
    """Adds measurements in their order."""
    place = {"campaign_id": campaign_id, "candidate_id": candidate_id, "evaluation_key": evaluation_key}
    if measurements:
        session.execute(insert(MeasurementRow), [m.to_dict() | place for m in measurements])


def missing_prior(
    session: Session, campaign_id: int, measurements: Mapping[str, Sequence[Measurement]]
) -> dict[str, list[Measurement]]:
    """What of the prior measurements is not in the database yet; equal ones count as often as they are given."""
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
    return canonical_json(measurement.to_dict())


def add_predictions(
    session: Session,
    campaign_id: int,
    round: int,
    predictions: Mapping[str, Sequence[Prediction]],
    model_version: str,
) -> None:
    """Adds what a round's model expected."""
    place = {"campaign_id": campaign_id, "round": round, "model_version": model_version}
    rows = [
        asdict(prediction) | place | {"candidate_id": candidate_id}
        for candidate_id, expected in predictions.items()
        for prediction in expected
    ]
    if rows:
        session.execute(insert(PredictionRow), rows)


def add_evaluations(
    session: Session, campaign_id: int, evaluations: Sequence[PlannedEvaluation], round: int
) -> None:
    """Adds the evaluations whose key is not there yet, as planned."""
    campaign = Evaluation.campaign_id == campaign_id
    keys = [e.key for e in evaluations]
    known = set(session.scalars(select(Evaluation.key).where(campaign, Evaluation.key.in_(keys))))
    number = session.scalars(select(func.coalesce(func.max(Evaluation.number), 0)).where(campaign)).one()
    rows = [
        asdict(planned)
        | {
            "campaign_id": campaign_id,
            "number": number + offset,
            "round": round,
            "status": EvaluationStatus.PLANNED,
            "attempts": 0,
        }
        for offset, planned in enumerate((e for e in evaluations if e.key not in known), start=1)
    ]
    if rows:
        session.execute(insert(Evaluation), rows)
        touch(session, campaign_id, [str(row["candidate_id"]) for row in rows])
