"""Predictions beside what was then measured."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from loop.database.records import measurement_of, prediction_of
from loop.database.rows import BESIDE_THE_LINE, AnsweredPrediction, EvaluationStatus
from loop.database.tables import Evaluation, MeasurementRow, PredictionRow


def answered_predictions(session: Session, campaign_id: int) -> list[AnsweredPrediction]:
    """Each value of an evaluation that came through with what its round had predicted, in the order of rounds.

    Within a round in the order of candidates' ids, so that it does not depend on which worker answered first.
    """
    query = (
        select(Evaluation, PredictionRow, MeasurementRow)
        .join(
            MeasurementRow,
            (MeasurementRow.campaign_id == Evaluation.campaign_id)
            & (MeasurementRow.evaluation_key == Evaluation.key),
        )
        .join(
            PredictionRow,
            (PredictionRow.campaign_id == Evaluation.campaign_id)
            & (PredictionRow.round == Evaluation.round)
            & (PredictionRow.candidate_id == Evaluation.candidate_id)
            & (PredictionRow.property == MeasurementRow.property),
        )
        .where(Evaluation.campaign_id == campaign_id, Evaluation.status == EvaluationStatus.DONE)
        .where(Evaluation.stage > BESIDE_THE_LINE)
        .order_by(Evaluation.arrived_in_round, Evaluation.candidate_id, Evaluation.stage, MeasurementRow.id)
    )
    return [
        AnsweredPrediction(
            round=evaluation.round,
            arrived_in_round=evaluation.arrived_in_round or evaluation.round,
            candidate_id=evaluation.candidate_id,
            prediction=prediction_of(predicted),
            measurement=measurement_of(measured),
        )
        for evaluation, predicted, measured in session.execute(query).tuples()
    ]
