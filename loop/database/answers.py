"""The half of the store that follows single evaluations: planned, asked, answered, ended."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from threading import Lock

from sqlalchemy import Engine, select
from sqlalchemy.engine import URL
from sqlalchemy.orm import Session

from loop.database.connection import told
from loop.database.errors import StateError, told_plainly
from loop.database.rows import FINAL, OPEN, DuplicateFound, EvaluationStatus, PlannedEvaluation
from loop.database.tables import CandidateRow, Evaluation
from loop.database.view import View
from loop.database.writing import add_evaluations, keep_outcome, now, touch
from materials.evaluation import Outcome, Status, Ticket


class AnswerStore(View):
    """What becomes of evaluations. Each method is one transaction: after it returns, nothing is lost."""

    def __init__(self, engine: Engine, url: URL, campaign_id: int, name: str) -> None:
        super().__init__(engine, url, campaign_id, name)
        # Threads of one program take turns: SQLite lets those that wait ask again and again, and some wait long.
        self._turn = Lock() if url.get_backend_name() == "sqlite" else nullcontext()

    def plan(self, evaluation: PlannedEvaluation, round: int) -> None:
        """Keeps the intent to ask; again changes nothing."""
        with self._write() as session:
            self._candidate(session, evaluation.candidate_id)
            add_evaluations(session, self._campaign_id, [evaluation], round)

    def mark_attempt(self, key: str) -> int:
        """Notes that the evaluation is about to be asked (again). Returns the attempt's number, from 1.

        Raises StateError when it was answered for good: nothing is asked twice.
        """
        with self._write() as session:
            row = self._evaluation(session, key)
            if row.status in FINAL:
                raise StateError(f"{told(self.url)}: evaluation {key} is {row.status}; it is not asked again")
            row.attempts += 1
            row.status = EvaluationStatus.PLANNED
            row.started_at = now()
            row.ticket = None
            touch(session, self._campaign_id, [row.candidate_id])
            return row.attempts

    def mark_submitted(self, key: str, ticket: Ticket) -> None:
        """Keeps the ticket under which a running evaluation is found again; a final answer stays."""
        with self._write() as session:
            row = self._evaluation(session, key)
            if row.status in FINAL:
                return
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
            if row.status in FINAL:
                return False
            if row.status == EvaluationStatus.CANCELLED and outcome.status is not Status.DONE:
                return False
            keep_outcome(session, row, outcome, round)
            touch(session, self._campaign_id, [row.candidate_id])
            return True

    def set_duplicate(self, candidate_id: str, of: str, found: DuplicateFound) -> None:
        """Records that a candidate is the same material as one seen earlier."""
        with self._write() as session:
            row = self._candidate(session, candidate_id)
            row.duplicate_of = of
            row.duplicate_found = found
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
                row.failure_kind = None
                row.failure_message = reason
                row.finished_at = now()
            touch(session, self._campaign_id, [row.candidate_id for row in rows])
            return [row.key for row in rows]

    @contextmanager
    def _write(self) -> Iterator[Session]:
        engine = self._engine.execution_options(writes=True)
        with self._turn, told_plainly(told(self.url)), Session(engine) as session, session.begin():
            yield session

    def _candidate(self, session: Session, candidate_id: str) -> CandidateRow:
        row = session.get(CandidateRow, (self._campaign_id, candidate_id))
        if row is None:
            raise StateError(f"{told(self.url)}: no candidate {candidate_id}; decide a round with it first")
        return row

    def _evaluation(self, session: Session, key: str) -> Evaluation:
        """The row, and on PostgreSQL the right to change it: two answers to one key take turns."""
        row = session.get(Evaluation, (self._campaign_id, key), with_for_update=True)
        if row is None:
            raise StateError(f"{told(self.url)}: no evaluation {key}; plan it first")
        return row
