"""The state of one campaign: the driver's door to it, and the door through which everybody else looks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from sqlalchemy import Engine, delete, select, update
from sqlalchemy.engine import URL
from sqlalchemy.orm import Session

from loop.database.answers import AnswerStore
from loop.database.connection import database_url, open_database, open_for_viewing, told
from loop.database.errors import StateError, told_plainly
from loop.database.lab import LabDesk
from loop.database.lab_files import FileShelf
from loop.database.lab_tokens import TokenBook
from loop.database.rows import Duplicate, PlannedEvaluation
from loop.database.tables import (
    Campaign,
    CandidateRow,
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
    add_rows,
    missing_prior,
    now,
    selection_row,
    touch,
)
from materials.base import Candidate, Material, Measurement, Prediction, Selection


class Store(AnswerStore):
    """Reads and writes one campaign. Each method is one transaction: after it returns, nothing is lost.

    What can be read is in `View`; what becomes of evaluations is in `AnswerStore`.
    """

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
        """The state of the named campaign, or of the only one there, to read while a driver may write."""
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
        self,
        candidates: Sequence[Candidate],
        measurements: Mapping[str, Sequence[Measurement]],
        finals: Mapping[str, Material] | None = None,
        duplicates: Mapping[str, str] | None = None,
    ) -> None:
        """Adds what is known before the first round, by candidate id; again changes nothing.

        finals: materials as an earlier campaign left them. duplicates: the candidate that is the same material.
        """
        campaign_id = self._campaign_id
        ids = list(dict.fromkeys(candidate.id for candidate in candidates))
        with self._write() as session:
            add_candidates(session, campaign_id, candidates, round=None)
            if ids:
                rows = [{"campaign_id": campaign_id, "id": i, "known_before": True} for i in ids]
                session.execute(update(CandidateRow), rows)
            for candidate_id, material in (finals or {}).items():
                row = self._candidate(session, candidate_id)
                after = material.to_dict()
                row.material_after = None if after == row.material else after
            for candidate_id, of in (duplicates or {}).items():
                row = self._candidate(session, candidate_id)
                row.duplicate_of, row.duplicate_found = of, "after_relaxation"
            missing = missing_prior(session, campaign_id, measurements)
            for candidate_id, found in missing.items():
                self._candidate(session, candidate_id)
                add_measurements(session, campaign_id, candidate_id, found, None)
            touch(session, campaign_id, [*ids, *missing])

    def add_told(
        self, candidates: Sequence[Candidate], measurements: Mapping[str, Sequence[Measurement]]
    ) -> None:
        """Adds what people measured, by candidate id, of new candidates and of known ones; again changes nothing."""
        campaign_id = self._campaign_id
        with self._write() as session:
            add_candidates(session, campaign_id, candidates, round=None)
            for candidate_id, found in missing_prior(session, campaign_id, measurements).items():
                row = self._candidate(session, candidate_id)
                picked = select(SelectionRow.round).where(
                    SelectionRow.campaign_id == campaign_id, SelectionRow.candidate_id == candidate_id
                )
                row.known_before = row.known_before or session.scalars(picked).first() is None
                add_measurements(session, campaign_id, candidate_id, found, None)
                touch(session, campaign_id, [candidate_id])

    def commit_decision(
        self,
        round: int,
        *,
        seed: int,
        pool: Sequence[Candidate],
        refusals: Mapping[tuple[str, str], int],
        predictions: Mapping[str, Sequence[Prediction]],
        model_versions: Mapping[str, str],
        selections: Sequence[Selection],
        evaluations: Sequence[PlannedEvaluation],
        duplicates: Sequence[Duplicate] = (),
        timings: Mapping[str, float] | None = None,
        notes: Mapping[str, Any] | None = None,
    ) -> None:
        """Keeps a round's decision whole, with its first evaluations as planned; again changes nothing.

        Raises StateError when the round was decided before and picked other candidates.
        """
        campaign_id = self._campaign_id
        with self._write() as session:
            if session.get(Round, (campaign_id, round)) is not None:
                self._refuse_other_selection(session, round, selections)
                return
            self._add_round(session, round, seed, timings or {}, notes or {})
            picked = [selection.candidate for selection in selections]
            refused = [duplicate.candidate for duplicate in duplicates]
            add_candidates(session, campaign_id, [*pool, *picked, *refused], round)
            for duplicate in duplicates:
                row = self._candidate(session, duplicate.candidate.id)
                row.duplicate_of, row.duplicate_found = duplicate.duplicate_of, "before_relaxation"
            self._add_choice(session, round, pool, refusals, selections)
            expected = {s.candidate.id: s.predictions for s in selections} | dict(predictions)
            add_predictions(session, campaign_id, round, expected, model_versions)
            add_evaluations(session, campaign_id, evaluations, round)
            touch(session, campaign_id, [candidate.id for candidate in picked])

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
        with self._write() as session:
            if champion:
                session.execute(update(ModelRow).where(*mine).values(champion=False))
            session.execute(delete(ModelRow).where(*mine, ModelRow.version == version))
            session.add(
                ModelRow(
                    campaign_id=self._campaign_id,
                    round=round,
                    role=role,
                    version=version,
                    path=path,
                    sha256=sha256,
                    champion=champion,
                    created_at=now(),
                )
            )

    def lab(self) -> LabDesk:
        """The lab's queue of this campaign; it ends with the store."""
        return LabDesk(self._read, self._write, self._campaign_id)

    def lab_tokens(self) -> TokenBook:
        """Who may use the lab's service."""
        return TokenBook(self._read, self._write, self._campaign_id)

    def lab_files(self, folder: Path) -> FileShelf:
        """Files that came with the lab's answers, kept in a folder."""
        return FileShelf(self._read, self._write, self._campaign_id, folder)

    def set_run_id(self, round: int | None, run_id: str) -> None:
        """Keeps the id of the MLflow run of a round, or of the campaign where `round` is None."""
        with self._write() as session:
            row = self._campaign(session) if round is None else self._round(session, round)
            row.mlflow_run_id = run_id

    def _round(self, session: Session, number: int) -> Round:
        row = session.get(Round, (self._campaign_id, number))
        if row is None:
            raise StateError(f"{told(self.url)}: round {number} has not been decided")
        return row

    def _add_round(
        self,
        session: Session,
        number: int,
        seed: int,
        timings: Mapping[str, float],
        notes: Mapping[str, Any],
    ) -> None:
        session.add(
            Round(
                campaign_id=self._campaign_id,
                number=number,
                seed=str(seed),
                decided_at=now(),
                timings=dict(timings),
                notes=dict(notes),
            )
        )
        session.flush()

    def _add_choice(
        self,
        session: Session,
        round: int,
        pool: Sequence[Candidate],
        refusals: Mapping[tuple[str, str], int],
        selections: Sequence[Selection],
    ) -> None:
        place = {"campaign_id": self._campaign_id, "round": round}
        offered = [{"position": i, "candidate_id": c.id} for i, c in enumerate(pool)]
        add_rows(session, PoolEntry, [place | row for row in offered])
        add_rows(session, SelectionRow, [place | selection_row(i, s) for i, s in enumerate(selections)])
        counts = [{"generator": g, "reason": r, "count": n} for (g, r), n in refusals.items()]
        add_rows(session, RefusalRow, [place | row for row in counts])

    def _refuse_other_selection(self, session: Session, round: int, selections: Sequence[Selection]) -> None:
        query = (
            select(SelectionRow.candidate_id)
            .where(SelectionRow.campaign_id == self._campaign_id, SelectionRow.round == round)
            .order_by(SelectionRow.position)
        )
        if list(session.scalars(query)) != [s.candidate.id for s in selections]:
            raise StateError(f"{told(self.url)}: round {round} was decided before, with other candidates")


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
