"""The state of one campaign. Each method is one transaction: after it returns, nothing is lost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from sqlalchemy import Engine, delete, insert, select, update
from sqlalchemy.engine import URL
from sqlalchemy.orm import Session

from loop.database.connection import database_url, open_database, open_for_viewing, told
from loop.database.errors import StateError, told_plainly
from loop.database.rows import (
    OPEN,
    Duplicate,
    DuplicateFound,
    EvaluationRow,
    EvaluationStatus,
    ModelEntry,
    PlannedEvaluation,
    RoundRow,
)
from loop.database.tables import (
    Campaign,
    CandidateRow,
    Evaluation,
    MeasurementRow,
    ModelRow,
    PoolEntry,
    RefusalRow,
    Round,
    SelectionRow,
)
from loop.database.view import View
from loop.database.writing import (
    add_candidates,
    add_evaluations,
    add_measurements,
    add_predictions,
    missing_prior,
    now,
    touch,
)
from materials.base import Candidate, Measurement, Outcome, Prediction, Selection, Status, Ticket

__all__ = [
    "Duplicate",
    "EvaluationRow",
    "EvaluationStatus",
    "ModelEntry",
    "PlannedEvaluation",
    "RoundRow",
    "StateError",
    "Store",
    "View",
]


class Store(View):
    """The driver's door to the state; see `View` for what can be read."""

    @classmethod
    def open(cls, place: str | Path, campaign: str, *, create: bool) -> Self:
        """The state of `campaign` in a file or at a URL, its tables brought up to date.

        Raises StateError where there is no database or no such campaign and `create` is false, and where a
        newer version of matloop made the tables.
        """
        url = database_url(place)
        engine = open_database(url, create=create)
        try:
            return cls(engine, url, _campaign_id(engine, url, campaign, create), campaign)
        except BaseException:
            engine.dispose()
            raise

    @staticmethod
    def view(place: str | Path, campaign: str | None = None) -> View:
        """The state to read only, while a driver may be writing: the named campaign, or the only one there."""
        url = database_url(place)
        engine = open_for_viewing(url)
        with told_plainly(told(url)), Session(engine) as session:
            known = dict(session.execute(select(Campaign.name, Campaign.id)).tuples().all())
        name = campaign if campaign is not None else next(iter(known), "")
        if name not in known or (campaign is None and len(known) > 1):
            engine.dispose()
            raise StateError(
                f"{told(url)}: name one of its campaigns ({', '.join(known) or 'it holds none'})"
            )
        return View(engine, url, known[name], name)

    def begin(self, config: Mapping[str, Any], fingerprint: str) -> None:
        """Keeps the configuration the campaign runs with from now on.

        Raises StateError when the fingerprint differs from the one it began with.
        """
        with self._write() as session:
            campaign = self._campaign(session)
            if campaign.fingerprint not in (None, fingerprint):
                raise StateError(
                    f"{told(self.url)}: campaign {self.name!r} was begun with another configuration; "
                    "use a new run folder or another name"
                )
            campaign.config = dict(config)
            campaign.fingerprint = fingerprint

    def add_prior(
        self, candidates: Sequence[Candidate], measurements: Mapping[str, Sequence[Measurement]]
    ) -> None:
        """Adds what is known before the first round, measurements by candidate id; again changes nothing."""
        with self._write() as session:
            ids = [candidate.id for candidate in candidates]
            add_candidates(session, self._campaign_id, candidates, round=None)
            rows = [
                {"campaign_id": self._campaign_id, "id": i, "known_before": True} for i in dict.fromkeys(ids)
            ]
            if rows:
                session.execute(update(CandidateRow), rows)
            missing = missing_prior(session, self._campaign_id, measurements)
            for candidate_id, found in missing.items():
                add_measurements(session, self._campaign_id, candidate_id, found, None)
            touch(session, self._campaign_id, [*ids, *missing])

    def commit_decision(
        self,
        round: int,
        *,
        seed: int,
        pool: Sequence[Candidate],
        refusals: Mapping[tuple[str, str], int],
        predictions: Mapping[str, Sequence[Prediction]],
        model_version: str,
        selections: Sequence[Selection],
        evaluations: Sequence[PlannedEvaluation],
        duplicates: Sequence[Duplicate] = (),
        timings: Mapping[str, float] | None = None,
    ) -> None:
        """Keeps a round's decision whole, with the first evaluations as planned; again changes nothing.

        Raises StateError when the round was decided before and picked other candidates.
        """
        campaign_id = self._campaign_id
        place = {"campaign_id": campaign_id, "round": round}
        with self._write() as session:
            if session.get(Round, (campaign_id, round)) is not None:
                self._refuse_other_selection(session, round, selections)
                return
            session.execute(insert(Round), [self._new_round(round, seed, timings or {})])
            picked = [selection.candidate for selection in selections]
            refused = [duplicate.candidate for duplicate in duplicates]
            add_candidates(session, campaign_id, [*pool, *picked, *refused], round)
            for duplicate in duplicates:
                self._mark_duplicate(
                    session, duplicate.candidate.id, duplicate.duplicate_of, "before_relaxation"
                )
            _insert(
                session,
                PoolEntry,
                [place | {"position": i, "candidate_id": c.id} for i, c in enumerate(pool)],
            )
            _insert(session, SelectionRow, [place | _selection_row(i, s) for i, s in enumerate(selections)])
            _insert(
                session,
                RefusalRow,
                [place | {"generator": g, "reason": r, "count": n} for (g, r), n in refusals.items()],
            )
            expected = {s.candidate.id: s.predictions for s in selections} | dict(predictions)
            add_predictions(session, campaign_id, round, expected, model_version)
            add_evaluations(session, campaign_id, evaluations, round)
            touch(session, campaign_id, [candidate.id for candidate in picked])

    def plan(self, evaluation: PlannedEvaluation, round: int) -> None:
        """Keeps the intent to ask; again changes nothing."""
        with self._write() as session:
            add_evaluations(session, self._campaign_id, [evaluation], round)

    def mark_attempt(self, key: str) -> int:
        """Notes that the evaluation is about to be asked (again). Returns the number of the attempt, from 1."""
        with self._write() as session:
            row = self._evaluation(session, key)
            row.attempts += 1
            row.status = EvaluationStatus.PLANNED
            row.started_at = now()
            row.ticket = None
            touch(session, self._campaign_id, [row.candidate_id])
            return row.attempts

    def mark_submitted(self, key: str, ticket: Ticket) -> None:
        """Keeps the ticket under which a running evaluation is found again."""
        with self._write() as session:
            row = self._evaluation(session, key)
            row.status = EvaluationStatus.SUBMITTED
            row.ticket = {"oracle": ticket.oracle, "key": ticket.key, "handle": dict(ticket.handle)}
            row.attempts = max(row.attempts, 1)
            touch(session, self._campaign_id, [row.candidate_id])

    def record_outcome(self, outcome: Outcome, round: int) -> bool:
        """Keeps what came back in `round`; the first valid outcome of a key wins.

        Returns whether it counted: nothing changes a done or rejected evaluation, and only an answer with
        values changes a cancelled one.
        """
        with self._write() as session:
            row = self._evaluation(session, outcome.key)
            if row.status in (EvaluationStatus.DONE, EvaluationStatus.REJECTED):
                return False
            if row.status == EvaluationStatus.CANCELLED and outcome.status is not Status.DONE:
                return False
            self._fill(session, row, outcome, round)
            touch(session, self._campaign_id, [row.candidate_id])
            return True

    def set_duplicate(self, candidate_id: str, of: str, found: DuplicateFound) -> None:
        """Records that a candidate is the same material as one seen earlier."""
        with self._write() as session:
            self._mark_duplicate(session, candidate_id, of, found)
            touch(session, self._campaign_id, [candidate_id])

    def stop(self, candidate_id: str, reason: str) -> None:
        """Records the gate or rule that ended a candidate's line early."""
        with self._write() as session:
            self._candidate(session, candidate_id).stopped_by = reason
            touch(session, self._campaign_id, [candidate_id])

    def cancel_open(self, reason: str, round: int | None = None) -> list[str]:
        """Cancels every open evaluation, of one round or of all. Returns their keys."""
        with self._write() as session:
            query = select(Evaluation).where(
                Evaluation.campaign_id == self._campaign_id, Evaluation.status.in_(OPEN)
            )
            if round is not None:
                query = query.where(Evaluation.round == round)
            rows = session.scalars(query.order_by(Evaluation.number)).all()
            for row in rows:
                row.status = EvaluationStatus.CANCELLED
                row.failure_message = reason
                row.finished_at = now()
            touch(session, self._campaign_id, [row.candidate_id for row in rows])
            return [row.key for row in rows]

    def close_round(
        self, round: int, timings: Mapping[str, float] | None = None, notes: Mapping[str, Any] | None = None
    ) -> None:
        """Closes a round, adding seconds per step and notes to those it has; again changes nothing."""
        with self._write() as session:
            row = self._round(session, round)
            if row.closed_at is None:
                row.closed_at = now()
                row.timings = {**row.timings, **(timings or {})}
                row.notes = {**row.notes, **(notes or {})}

    def add_model(
        self, role: str, version: str, path: str, sha256: str, *, champion: bool, round: int | None = None
    ) -> None:
        """Lists a model by role and version; a champion takes the title from the role's last one."""
        mine = (ModelRow.campaign_id == self._campaign_id, ModelRow.role == role)
        row = {
            "role": role,
            "version": version,
            "path": path,
            "sha256": sha256,
            "champion": champion,
            "round": round,
        }
        with self._write() as session:
            if champion:
                session.execute(update(ModelRow).where(*mine).values(champion=False))
            session.execute(delete(ModelRow).where(*mine, ModelRow.version == version))
            session.execute(insert(ModelRow), [row | {"campaign_id": self._campaign_id, "created_at": now()}])

    def set_run_id(self, round: int | None, run_id: str) -> None:
        """Keeps the id of the MLflow run of a round, or of the campaign where `round` is None."""
        with self._write() as session:
            row = self._campaign(session) if round is None else self._round(session, round)
            row.mlflow_run_id = run_id

    @contextmanager
    def _write(self) -> Iterator[Session]:
        engine = self._engine.execution_options(writes=True)
        with told_plainly(told(self.url)), Session(engine) as session, session.begin():
            yield session

    def _candidate(self, session: Session, candidate_id: str) -> CandidateRow:
        row = session.get(CandidateRow, (self._campaign_id, candidate_id))
        if row is None:
            raise StateError(f"{told(self.url)}: no candidate {candidate_id}; decide a round with it first")
        return row

    def _evaluation(self, session: Session, key: str) -> Evaluation:
        row = session.get(Evaluation, (self._campaign_id, key))
        if row is None:
            raise StateError(f"{told(self.url)}: no evaluation {key}; plan it first")
        return row

    def _round(self, session: Session, number: int) -> Round:
        row = session.get(Round, (self._campaign_id, number))
        if row is None:
            raise StateError(f"{told(self.url)}: round {number} has not been decided")
        return row

    def _new_round(self, number: int, seed: int, timings: Mapping[str, float]) -> dict[str, Any]:
        return {
            "campaign_id": self._campaign_id,
            "number": number,
            "seed": str(seed),
            "decided_at": now(),
            "timings": dict(timings),
            "notes": {},
        }

    def _refuse_other_selection(self, session: Session, round: int, selections: Sequence[Selection]) -> None:
        query = (
            select(SelectionRow.candidate_id)
            .where(SelectionRow.campaign_id == self._campaign_id, SelectionRow.round == round)
            .order_by(SelectionRow.position)
        )
        if list(session.scalars(query)) != [s.candidate.id for s in selections]:
            raise StateError(f"{told(self.url)}: round {round} was decided before, with other candidates")

    def _mark_duplicate(self, session: Session, candidate_id: str, of: str, found: DuplicateFound) -> None:
        row = self._candidate(session, candidate_id)
        row.duplicate_of = of
        row.duplicate_found = found

    def _fill(self, session: Session, row: Evaluation, outcome: Outcome, round: int) -> None:
        retried = row.status == EvaluationStatus.FAILED
        row.attempts = row.attempts + 1 if retried else max(row.attempts, 1)
        row.status = EvaluationStatus(outcome.status)
        row.arrived_in_round = round
        row.failure_kind = None if outcome.failure is None else str(outcome.failure.kind)
        row.failure_message = None if outcome.failure is None else outcome.failure.message
        row.seconds = outcome.seconds
        row.finished_at = now()
        row.material = None if outcome.material is None else outcome.material.to_dict()
        row.provenance = dict(outcome.provenance)
        row.artifacts = {name: dict(entry) for name, entry in outcome.artifacts.items()}
        mine = (MeasurementRow.campaign_id == self._campaign_id, MeasurementRow.evaluation_key == row.key)
        session.execute(delete(MeasurementRow).where(*mine))
        add_measurements(session, self._campaign_id, row.candidate_id, outcome.measurements, row.key)
        session.flush()
        last = session.scalars(
            select(Evaluation.material)
            .where(
                Evaluation.campaign_id == self._campaign_id,
                Evaluation.candidate_id == row.candidate_id,
                Evaluation.status == EvaluationStatus.DONE,
                Evaluation.material.is_not(None),
            )
            .order_by(Evaluation.stage.desc(), Evaluation.number.desc())
            .limit(1)
        ).first()
        self._candidate(session, row.candidate_id).material_after = last


def _campaign_id(engine: Engine, url: URL, name: str, create: bool) -> int:
    with told_plainly(told(url)), Session(engine.execution_options(writes=True)) as session, session.begin():
        found = session.scalars(select(Campaign.id).where(Campaign.name == name)).first()
        if found is None and not create:
            known = ", ".join(session.scalars(select(Campaign.name))) or "none"
            raise StateError(f"{told(url)}: no campaign {name!r} is there; it holds {known}")
        if found is None:
            row = Campaign(name=name, created_at=now(), revision=0)
            session.add(row)
            session.flush()
            found = row.id
        return found


def _insert(
    session: Session, table: type[PoolEntry | SelectionRow | RefusalRow], rows: list[dict[str, Any]]
) -> None:
    if rows:
        session.execute(insert(table), rows)


def _selection_row(position: int, selection: Selection) -> dict[str, Any]:
    return {
        "position": position,
        "candidate_id": selection.candidate.id,
        "oracle": selection.oracle,
        "reason": selection.reason,
        "acquisition_value": selection.acquisition_value,
        "cost": selection.cost,
        "conditions": dict(selection.conditions),
    }
