"""What can be read from a campaign's state, by the driver and by everybody else."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self, TypeVar

from sqlalchemy import ColumnElement, Engine, func, select
from sqlalchemy.engine import URL
from sqlalchemy.orm import Session

from loop.database.answered import answered_predictions
from loop.database.connection import told
from loop.database.digest import digest, dump
from loop.database.errors import told_plainly
from loop.database.lab_view import LabView
from loop.database.records import RecordCache, candidate_of, failure_of, measurement_of, prediction_of
from loop.database.rows import AnsweredPrediction, EvaluationRow, EvaluationStatus, ModelEntry, RoundRow
from loop.database.tables import (
    Campaign,
    CandidateRow,
    Evaluation,
    MeasurementRow,
    ModelRow,
    PoolEntry,
    PredictionRow,
    RefusalRow,
    Round,
    SelectionRow,
)
from materials.archive import Archive
from materials.base import Candidate, Material, Prediction, Selection, material_from_dict
from materials.evaluation import Outcome, Status, Ticket
from materials.goals import Constraint, Objective

Row = TypeVar("Row", Round, CandidateRow, Evaluation, ModelRow, RefusalRow, PredictionRow, SelectionRow)


class View:
    """One campaign's state, to read. Each answer is one consistent look; no lock is held between answers."""

    def __init__(self, engine: Engine, url: URL, campaign_id: int, name: str) -> None:
        self.name = name
        self.url = url
        self._engine = engine
        self._campaign_id = campaign_id
        self._cache = RecordCache(campaign_id, 0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Gives the connections back; everything committed is in the database already."""
        self._engine.dispose()

    @contextmanager
    def _read(self) -> Iterator[Session]:
        with told_plainly(told(self.url)):
            engine = self._engine
            if engine.dialect.name == "postgresql":
                engine = engine.execution_options(isolation_level="REPEATABLE READ")
            with Session(engine) as session:
                yield session

    def _all(self, table: type[Row], *conditions: ColumnElement[bool], order: Iterable[Any]) -> list[Row]:
        with self._read() as session:
            query = select(table).where(table.campaign_id == self._campaign_id, *conditions)
            return list(session.scalars(query.order_by(*order)))

    def _campaign(self, session: Session) -> Campaign:
        return session.get_one(Campaign, self._campaign_id)

    def config(self) -> dict[str, Any] | None:
        """The configuration the campaign began with or last ran with; None before `begin`."""
        with self._read() as session:
            return self._campaign(session).config

    def fingerprint(self) -> str | None:
        """The fingerprint of everything in the configuration that changes meaning."""
        with self._read() as session:
            return self._campaign(session).fingerprint

    def rounds(self) -> list[RoundRow]:
        """All rounds, oldest first."""
        return [_round_row(row) for row in self._all(Round, order=[Round.number])]

    def open_round(self) -> RoundRow | None:
        """The round that was decided and not yet closed."""
        return next((row for row in self.rounds() if row.closed_at is None), None)

    def last_round(self) -> int:
        """The number of the latest decided round, 0 before the first."""
        return max((row.number for row in self.rounds()), default=0)

    def pool(self, round: int) -> list[Candidate]:
        """The candidates the round chose from, in the order in which they were offered."""
        with self._read() as session:
            query = (
                select(CandidateRow)
                .join(
                    PoolEntry,
                    (PoolEntry.campaign_id == CandidateRow.campaign_id)
                    & (PoolEntry.candidate_id == CandidateRow.id),
                )
                .where(PoolEntry.campaign_id == self._campaign_id, PoolEntry.round == round)
                .order_by(PoolEntry.position)
            )
            return [candidate_of(row) for row in session.scalars(query)]

    def candidates(self) -> list[Candidate]:
        """Every candidate there is, in the order in which they were first seen."""
        return [candidate_of(row) for row in self._all(CandidateRow, order=[CandidateRow.position])]

    def predictions(self, round: int) -> dict[str, tuple[Prediction, ...]]:
        """What the round's model expected of its candidates, by candidate id."""
        found: defaultdict[str, list[Prediction]] = defaultdict(list)
        for row in self._all(PredictionRow, PredictionRow.round == round, order=[PredictionRow.id]):
            found[row.candidate_id].append(prediction_of(row))
        return {candidate_id: tuple(rows) for candidate_id, rows in found.items()}

    def answered_predictions(self) -> list[AnsweredPrediction]:
        """Every value that came back beside what was predicted when it was asked for, oldest arrival first."""
        with self._read() as session:
            return answered_predictions(session, self._campaign_id)

    def selections(self, round: int) -> list[Selection]:
        """What the round picked, best first, with what was expected of it."""
        expected = self.predictions(round)
        rows = self._all(SelectionRow, SelectionRow.round == round, order=[SelectionRow.position])
        with self._read() as session:
            ids = [(self._campaign_id, row.candidate_id) for row in rows]
            candidates = [candidate_of(session.get_one(CandidateRow, key)) for key in ids]
        return [
            Selection(
                candidate=candidate,
                oracle=row.oracle,
                reason=row.reason,
                acquisition_value=row.acquisition_value,
                cost=row.cost,
                predictions=expected.get(row.candidate_id, ()),
                conditions=row.conditions,
            )
            for row, candidate in zip(rows, candidates, strict=True)
        ]

    def refusals(self, round: int) -> dict[tuple[str, str], int]:
        """How many proposals were refused, by generator and reason."""
        order = [RefusalRow.generator, RefusalRow.reason]
        rows = self._all(RefusalRow, RefusalRow.round == round, order=order)
        return {(row.generator, row.reason): row.count for row in rows}

    def evaluations(
        self,
        *status: EvaluationStatus,
        round: int | None = None,
        candidate_id: str | None = None,
    ) -> list[EvaluationRow]:
        """Evaluations in the order in which they were planned, all or those that fit every filter given."""
        conditions: list[ColumnElement[bool]] = [Evaluation.status.in_(status)] if status else []
        if round is not None:
            conditions.append(Evaluation.round == round)
        if candidate_id is not None:
            conditions.append(Evaluation.candidate_id == candidate_id)
        return [_evaluation_row(row) for row in self._all(Evaluation, *conditions, order=[Evaluation.number])]

    def outcome(self, key: str) -> Outcome | None:
        """What came back for a key; None while nothing has, or when it was cancelled."""
        with self._read() as session:
            row = session.get(Evaluation, (self._campaign_id, key))
            if row is None or row.status not in tuple(Status):
                return None
            measured = session.scalars(
                select(MeasurementRow)
                .where(MeasurementRow.campaign_id == self._campaign_id, MeasurementRow.evaluation_key == key)
                .order_by(MeasurementRow.id)
            )
            return Outcome(
                key=key,
                candidate_id=row.candidate_id,
                oracle=row.oracle,
                status=Status(row.status),
                measurements=tuple(measurement_of(m) for m in measured),
                material=None if row.material is None else material_from_dict(row.material),
                failure=failure_of(row),
                seconds=row.seconds or 0.0,
                provenance=row.provenance or {},
                artifacts=row.artifacts or {},
                doubt=row.doubt,
            )

    def failure_counts(self) -> dict[str, int]:
        """How many evaluations ended without a value, by kind of failure, the most frequent first."""
        with self._read() as session:
            query = (
                select(Evaluation.failure_kind, func.count())
                .where(Evaluation.campaign_id == self._campaign_id, Evaluation.failure_kind.is_not(None))
                .group_by(Evaluation.failure_kind)
                .order_by(func.count().desc(), Evaluation.failure_kind)
            )
            return {str(kind): count for kind, count in session.execute(query).tuples()}

    def seconds_by_oracle(self) -> dict[str, float]:
        """The median seconds of an answer, whatever it was, by oracle."""
        found: defaultdict[str, list[float]] = defaultdict(list)
        for row in self._all(Evaluation, Evaluation.seconds.is_not(None), order=[Evaluation.number]):
            found[row.oracle].append(row.seconds or 0.0)
        return {oracle: statistics.median(seconds) for oracle, seconds in found.items()}

    def models(self, role: str | None = None) -> list[ModelEntry]:
        """The models kept so far, oldest first."""
        conditions = [] if role is None else [ModelRow.role == role]
        return [
            ModelEntry(row.round, row.role, row.version, row.path, row.sha256, row.champion)
            for row in self._all(ModelRow, *conditions, order=[ModelRow.id])
        ]

    def run_ids(self) -> dict[int | None, str]:
        """The ids of MLflow runs: by round, and the campaign's own under None."""
        with self._read() as session:
            parent = self._campaign(session).mlflow_run_id
        ids: dict[int | None, str] = {} if parent is None else {None: parent}
        return ids | {r.number: r.mlflow_run_id for r in self.rounds() if r.mlflow_run_id is not None}

    def archive(
        self, objectives: Sequence[Objective], constraints: Sequence[Constraint], line: Sequence[str]
    ) -> Archive:
        """All that is known, under a line of oracles; only what changed since the last look is read."""
        if self._cache.stages != len(line):
            self._cache = RecordCache(self._campaign_id, len(line))
        with self._read() as session:
            return Archive(self._cache.refresh(session), objectives, constraints)

    def seen(self) -> Iterator[tuple[str, Material, Material | None]]:
        """Every candidate known before or ever picked: id, material, and material as the stages left it."""
        with self._read() as session:
            records = self._cache.refresh(session)
        for record in records:
            proposed = record.candidate.material
            yield record.id, proposed, None if record.material is proposed else record.material

    def lab_orders(self) -> LabView:
        """The lab's queue, to look at."""
        return LabView(self._read, self._campaign_id)

    def dump(self) -> list[str]:
        """Everything that counts, one JSON line a row, in an order of its own: made for comparing runs."""
        with self._read() as session:
            return dump(session, self._campaign_id)

    def content_digest(self) -> str:
        """The sha256 of `dump()`: equal for two campaigns that found the same, killed in between or not."""
        return digest(self.dump())


def _round_row(row: Round) -> RoundRow:
    return RoundRow(
        row.number,
        int(row.seed),
        row.decided_at,
        row.closed_at,
        row.timings,
        row.notes,
        row.mlflow_run_id,
    )


def _evaluation_row(row: Evaluation) -> EvaluationRow:
    return EvaluationRow(
        number=row.number,
        key=row.key,
        candidate_id=row.candidate_id,
        oracle=row.oracle,
        stage=row.stage,
        round=row.round,
        arrived_in_round=row.arrived_in_round,
        conditions=row.conditions,
        replicate=row.replicate,
        status=EvaluationStatus(row.status),
        attempts=row.attempts,
        ticket=None if row.ticket is None else Ticket(**row.ticket),
        failure=failure_of(row),
        seconds=row.seconds,
        started_at=row.started_at,
        finished_at=row.finished_at,
        provenance=row.provenance or {},
        artifacts=row.artifacts or {},
        doubt=row.doubt,
    )
