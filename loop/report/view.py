"""One consistent look at a campaign's store, shared by everything that shows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from loop.database.rows import BESIDE_THE_LINE, OPEN, AnsweredPrediction, EvaluationRow, RoundRow
from loop.database.view import View
from loop.track_record import counting
from materials.archive import Archive, Progress, Record
from materials.base import Bound, Prediction
from materials.goals import Constraint, Objective
from materials.ranking import rank_records


@dataclass(frozen=True)
class CampaignView:
    """Everything a report says, read in one go.

    predictions: candidate id -> what was expected of it in the round that picked it, before the test.
    answered: those predictions that were tested, each with the value that counts, in the order of arrival.
    line: the names of the stages, in order.
    against: the user's own structures that candidates are compared with; None for the index of known materials.
    """

    name: str
    archive: Archive
    ranked: tuple[Record, ...]
    rounds: tuple[RoundRow, ...]
    predictions: Mapping[str, tuple[Prediction, ...]]
    answered: tuple[AnsweredPrediction, ...]
    evaluations: tuple[EvaluationRow, ...]
    refusals: Mapping[int, Mapping[tuple[str, str], int]]
    pool_sizes: Mapping[int, Mapping[str, int]]
    line: tuple[str, ...]
    against: Path | None = None

    @cached_property
    def known(self) -> Mapping[str, str]:
        """Candidate id -> id of the known material it is, of those that are one; see `loop.report.known`."""
        from loop.report.known import known_ids

        return known_ids(self.archive.values(), self.against)

    @property
    def goals(self) -> tuple[str, ...]:
        """The properties of objectives, then of constraints, each once."""
        objectives = [o.property for o in self.archive.objectives]
        return tuple(dict.fromkeys(objectives + [c.property for c in self.archive.constraints]))

    @cached_property
    def _phases(self) -> dict[str, str | None]:
        """Candidate id -> the reference phase its relaxed structure is, None where it is none of them."""
        judged = (e for e in self.evaluations if "rediscovered" in e.provenance)
        return {e.candidate_id: e.provenance["rediscovered"] for e in judged}

    def novelty(self, record: Record) -> str:
        """`known before`, `duplicate of ...`, `rediscovered ...`, `new`, or `not judged`."""
        if record.known_before:
            return "known before"
        if record.duplicate_of is not None:
            return f"duplicate of {record.duplicate_of}"
        if record.id not in self._phases:
            return "not judged"
        phase = self._phases[record.id]
        return "new" if phase is None else f"rediscovered {phase}"

    def doubts(self) -> list[tuple[Record, str, str]]:
        """Candidates whose values an oracle doubted, why, and what became of them."""
        found = []
        for row in self.evaluations:
            if row.doubt and row.stage > BESIDE_THE_LINE:
                record = self.archive[row.candidate_id]
                found.append((record, row.doubt, self._fate(record, row)))
        return found

    def _fate(self, record: Record, doubting: EvaluationRow) -> str:
        """What became of a candidate after an oracle doubted it."""
        asked = [e for e in self.evaluations if e.candidate_id == record.id and e.stage > BESIDE_THE_LINE]
        later = [e for e in asked if e.number > doubting.number]
        for row in later:
            if row.doubt is not None:
                return f"confirmed by {row.oracle}" if row.doubt else f"lifted by {row.oracle}"
        if later and later[0].status in OPEN:
            return f"sent to {later[0].oracle}, which has not answered yet"
        if later and record.failure is not None:
            return f"sent to {later[0].oracle}, which gave no value: {record.failure.kind}"
        spared = [name for name in self.line if name not in {e.oracle for e in asked}]
        kept_out = f"; kept out of {', '.join(spared)}" if spared else ""
        return f"nothing lifted it: no discovery{kept_out}"

    def status(self, record: Record) -> str:
        """How the record's line stands, in a few words."""
        if record.failure is not None:
            return f"failed: {record.failure.kind}"
        if record.duplicate_of is not None:
            return "duplicate"
        if record.doubted:
            return f"doubted: {record.doubt}"
        if record.stopped_by is not None:
            return f"stopped at {record.stopped_by}"
        if record.progress is Progress.PENDING:
            return "pending"
        if not self.archive.feasible(record):
            return "outside a constraint"
        return "complete" if self.archive.scores(record) is not None else self._what_is_not_known(record)

    def _what_is_not_known(self, record: Record) -> str:
        """Which objectives have no value that can be ranked: measured as a limit only, or not at all."""
        signs = {Bound.UPPER: "at most", Bound.LOWER: "at least"}
        told = []
        for objective in self.archive.objectives:
            name, found = objective.property, self.archive.measured(record, objective.property)
            if found is None:
                told.append(f"{name} not measured")
            elif not objective.known_by(found.bound):
                told.append(f"{name} {signs[found.bound]} {found.value:.3g} {found.unit}")
        return "only a limit is known: " + ", ".join(told) if told else "not ranked"


def read_view(
    store: View,
    objectives: tuple[Objective, ...],
    constraints: tuple[Constraint, ...],
    line: tuple[str, ...],
) -> CampaignView:
    """Reads a view; the store may be open for writing or for viewing."""
    archive = store.archive(objectives, constraints, line)
    rounds = tuple(store.rounds())
    predictions: dict[str, tuple[Prediction, ...]] = {}
    pool_sizes: dict[int, dict[str, int]] = {}
    for row in rounds:
        expected = store.predictions(row.number)
        picked = (s.candidate.id for s in store.selections(row.number))
        predictions |= {i: tuple(expected[i]) for i in picked if i in expected}
        sizes = pool_sizes.setdefault(row.number, {})
        for candidate in store.pool(row.number):
            sizes[candidate.origin.generator] = sizes.get(candidate.origin.generator, 0) + 1
    ranked = rank_records(archive)
    seen = {r.id for r in ranked}
    ranked += [r for r in archive.values() if r.id not in seen]
    return CampaignView(
        name=store.name,
        archive=archive,
        ranked=tuple(sorted(ranked, key=_trust)),
        rounds=rounds,
        predictions=predictions,
        answered=counting(store.answered_predictions(), archive),
        evaluations=tuple(store.evaluations()),
        refusals={row.number: store.refusals(row.number) for row in rounds},
        pool_sizes=pool_sizes,
        line=line,
    )


def _trust(record: Record) -> int:
    """Values to be believed first, then doubted ones, then what has none: repetitions, open lines and failures."""
    if record.progress is not Progress.EVALUATED:
        return 4 if record.progress is Progress.FAILED else 3
    return 2 if record.duplicate_of is not None else int(record.doubted)
