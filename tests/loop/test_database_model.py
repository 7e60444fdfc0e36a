"""Any sequence of calls leaves the store as a plain model in memory says, on every way of reading it."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from stored_campaign import GOALS, LINE, candidate, decision, failed, gap, key, planned

from loop.database.rows import EvaluationStatus
from loop.database.store import Store
from materials.archive import Progress
from materials.base import Candidate, Composition, Measurement
from materials.evaluation import Outcome, Status, Ticket

CANDIDATES = [candidate(f) for f in ("LiF", "LiCl", "LiBr", "Li2O", "Li2S", "Li3N", "Li3P")]
some = st.sampled_from(CANDIDATES)
several = st.lists(some, unique_by=lambda c: c.id, max_size=4)
stages = st.integers(0, len(LINE) - 1)
values = st.floats(-1e3, 1e3)


@dataclass
class Asked:
    """One evaluation, as the model sees it."""

    status: str = "planned"
    attempts: int = 0
    measured: tuple[Measurement, ...] = ()
    material: Composition | None = None


@dataclass
class Known:
    """One candidate, as the model sees it."""

    prior: list[float] = field(default_factory=list)
    known_before: bool = False
    round: int | None = None
    stopped_by: str | None = None
    duplicate_of: str | None = None
    asked: dict[int, Asked] = field(default_factory=dict)

    def progress(self) -> Progress:
        """Open questions first, then the answer of the latest stage, then whether the line is at its end."""
        statuses = {a.status for a in self.asked.values()}
        if statuses & {"planned", "submitted", "unknown"}:
            return Progress.PENDING
        if self.asked and self.asked[max(self.asked)].status != "done":
            return Progress.FAILED
        complete = [a.status for a in self.asked.values()] == ["done"] * len(LINE)
        at_end = complete or self.stopped_by or self.duplicate_of or self.round is None
        return Progress.EVALUATED if at_end else Progress.PENDING


class StoreMachine(RuleBasedStateMachine):
    """Drives a store and a model side by side; candidates enter the model when they enter the database."""

    def __init__(self) -> None:
        super().__init__()
        shared_memory = Path("/dev/shm")
        self.folder = Path(tempfile.mkdtemp(dir=shared_memory if shared_memory.is_dir() else None))
        self.model: dict[str, Known] = {}
        self.closed: list[bool] = []

    @initialize()
    def open(self) -> None:
        self.store = Store.open(self.folder / "campaign.db", "test", create=True)
        self.viewer = Store.view(self.folder / "campaign.db")

    def teardown(self) -> None:
        self.viewer.close()
        self.store.close()
        shutil.rmtree(self.folder)

    @rule()
    def open_again(self) -> None:
        self.store.close()
        self.store = Store.open(self.folder / "campaign.db", "test", create=False)

    @rule(chosen=several, given=values)
    def add_prior(self, chosen: list[Candidate], given: float) -> None:
        self.store.add_prior(chosen, {c.id: [gap(given)] for c in chosen})
        for c in chosen:
            known = self.model.setdefault(c.id, Known())
            known.known_before = True
            if given not in known.prior:
                known.prior.append(given)

    @precondition(lambda self: all(self.closed))
    @rule(pool=several, data=st.data())
    def decide(self, pool: list[Candidate], data: st.DataObject) -> None:
        picked = [c for c in pool if data.draw(st.booleans())]
        self.closed.append(False)
        for _ in range(2):
            self.store.commit_decision(len(self.closed), **decision(pool, picked))
        for c in pool:
            self.model.setdefault(c.id, Known())
        for c in picked:
            self.model[c.id].round = len(self.closed)
            self.model[c.id].asked.setdefault(0, Asked())

    @precondition(lambda self: self.closed and not self.closed[-1])
    @rule()
    def close_round(self) -> None:
        self.store.close_round(len(self.closed))
        self.closed[-1] = True

    @precondition(lambda self: self.closed)
    @rule(c=some, stage=stages)
    def plan(self, c: Candidate, stage: int) -> None:
        if c.id in self.model:
            self.store.plan(planned(c.id, stage), len(self.closed))
            self.model[c.id].asked.setdefault(stage, Asked())

    def _asked(self, c: Candidate, stage: int) -> Asked | None:
        return self.model[c.id].asked.get(stage) if c.id in self.model else None

    @rule(c=some, stage=stages)
    def attempt(self, c: Candidate, stage: int) -> None:
        asked = self._asked(c, stage)
        if asked is not None and asked.status not in ("done", "rejected"):
            asked.attempts += 1
            asked.status = "planned"
            assert self.store.mark_attempt(key(c.id, stage)) == asked.attempts

    @rule(c=some, stage=stages)
    def submit(self, c: Candidate, stage: int) -> None:
        asked = self._asked(c, stage)
        if asked is not None:
            self.store.mark_submitted(key(c.id, stage), Ticket(LINE[stage], "k", {"pid": 1}))
            if asked.status not in ("done", "rejected"):
                asked.status = "submitted"
                asked.attempts = max(asked.attempts, 1)

    @rule(
        c=some,
        stage=stages,
        status=st.sampled_from(Status),
        value=values,
        relaxed=st.sampled_from([None, Composition("Na2O"), Composition("NaF")]),
    )
    def answer(
        self, c: Candidate, stage: int, status: Status, value: float, relaxed: Composition | None
    ) -> None:
        asked = self._asked(c, stage)
        if asked is None:
            return
        if status is Status.DONE:
            outcome = Outcome(key(c.id, stage), c.id, LINE[stage], status, (gap(value),), relaxed)
        else:
            outcome = failed(c.id, stage, status)
        counts = asked.status not in ("done", "rejected") and (
            asked.status != "cancelled" or status == "done"
        )
        assert self.store.record_outcome(outcome, len(self.closed)) is counts
        if counts:
            asked.attempts = asked.attempts + 1 if asked.status == "failed" else max(asked.attempts, 1)
            asked.status, asked.measured, asked.material = str(status), outcome.measurements, outcome.material
            assert self.store.outcome(outcome.key) == outcome

    @rule(c=some)
    def stop(self, c: Candidate) -> None:
        if c.id in self.model:
            self.store.stop(c.id, "gate")
            self.model[c.id].stopped_by = "gate"

    @rule(c=some, of=some)
    def duplicate(self, c: Candidate, of: Candidate) -> None:
        if c.id in self.model:
            self.store.set_duplicate(c.id, of.id, "after_relaxation")
            self.model[c.id].duplicate_of = of.id

    @rule()
    def cancel(self) -> None:
        cancelled = set(self.store.cancel_open("by hand"))
        for candidate_id, known in self.model.items():
            for stage, asked in known.asked.items():
                if asked.status in ("planned", "submitted", "unknown"):
                    asked.status = "cancelled"
                    cancelled.remove(key(candidate_id, stage))
        assert not cancelled

    @invariant()
    def the_archive_is_the_models(self) -> None:
        archive = self.store.archive(GOALS, (), LINE)
        recorded = {i: k for i, k in self.model.items() if k.known_before or k.round is not None}
        assert list(archive) == list(recorded)
        for candidate_id, known in recorded.items():
            found = archive[candidate_id]
            answers = [known.asked[stage] for stage in sorted(known.asked)]
            done = [a for a in answers if a.status == "done"]
            assert found.progress is known.progress()
            assert found.round == known.round
            assert found.known_before is known.known_before
            assert (found.stopped_by, found.duplicate_of) == (known.stopped_by, known.duplicate_of)
            prior = tuple(gap(value) for value in known.prior)
            assert found.measurements == prior + tuple(m for a in done for m in a.measured)
            changed = [a.material for a in done if a.material is not None]
            assert found.material == (changed[-1] if changed else found.candidate.material)
            assert (found.failure is not None) is (
                found.progress is Progress.FAILED and answers[-1].status != "cancelled"
            )

    @invariant()
    def every_way_of_reading_agrees(self) -> None:
        assert dict(self.viewer.archive(GOALS, (), LINE)) == dict(self.store.archive(GOALS, (), LINE))
        rows = {row.key: row for row in self.viewer.evaluations()}
        expected = {key(i, s): a for i, k in self.model.items() for s, a in k.asked.items()}
        assert {k: (r.status, r.attempts) for k, r in rows.items()} == {
            k: (EvaluationStatus(a.status), a.attempts) for k, a in expected.items()
        }
        assert self.viewer.last_round() == len(self.closed)
        assert (self.viewer.open_round() is None) is all(self.closed)


StoreMachine.TestCase.settings = settings(max_examples=20, stateful_step_count=30, deadline=None)
TestStore = StoreMachine.TestCase
