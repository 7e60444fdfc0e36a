"""What becomes of evaluations in the store, on SQLite and PostgreSQL."""

from __future__ import annotations

import pytest
from stored_campaign import (
    GOALS,
    LINE,
    A,
    B,
    candidate,
    decision,
    done,
    failed,
    gap,
    key,
    planned,
    record,
)

from loop.database.errors import StateError
from loop.database.rows import EvaluationStatus
from loop.database.store import Store
from materials.archive import Progress, Record
from materials.evaluation import Failure, FailureKind, Outcome, Status, Ticket


def test_a_line_goes_from_planned_to_evaluated(decided: Store) -> None:
    assert record(decided, A).progress is Progress.PENDING
    assert decided.mark_attempt(key(A.id, 0)) == 1
    ticket = Ticket("relax", key(A.id, 0), {"job": 12})
    decided.mark_submitted(key(A.id, 0), ticket)
    (row,) = decided.evaluations(EvaluationStatus.SUBMITTED)
    assert (row.ticket, row.attempts) == (ticket, 1)
    assert row.started_at is not None

    relaxed = candidate("Li2Cl2").material
    assert decided.record_outcome(done(A.id, 0, 2.5, material=relaxed), 1)
    assert record(decided, A).progress is Progress.PENDING
    assert record(decided, A).material == relaxed
    decided.plan(planned(A.id, 1), 1)
    decided.record_outcome(done(A.id, 1, 3.5), 1)
    assert record(decided, A) == Record(
        A, relaxed, Progress.EVALUATED, (gap(2.5), gap(3.5)), round=1, known_before=False
    )
    assert {i: after for i, _, after in decided.seen()} == {A.id: relaxed, B.id: None}


def test_the_last_stage_decides_the_material_in_whatever_order_answers_come(decided: Store) -> None:
    early, late = candidate("Li2Cl2").material, candidate("Li3Cl3").material
    decided.plan(planned(A.id, 1), 1)
    decided.record_outcome(done(A.id, 1, material=late), 1)
    decided.record_outcome(done(A.id, 0, material=early), 1)
    assert record(decided, A).material == late


def test_the_stage_counts_and_not_the_order_of_planning(store: Store) -> None:
    early, late = candidate("Li2Cl2").material, candidate("Li3Cl3").material
    store.commit_decision(1, **decision([A], [A], evaluations=[planned(A.id, 1), planned(A.id, 0)]))
    for stage, material in ((1, late), (0, early)):
        store.record_outcome(done(A.id, stage, float(stage), material=material), 1)
    assert record(store, A).material == late
    assert record(store, A).measurements == (gap(0.0), gap(1.0))


def test_an_outcome_comes_back_as_it_was_given(decided: Store) -> None:
    given = done(
        A.id,
        0,
        material=candidate("Li8Cl8").material,
        provenance={"version": "1.2", "steps": 31, "nested": {"fmax": 0.029999999999999999}},
        artifacts={"log": {"path": "evaluations/x/relax.log", "sha256": "00"}},
    )
    decided.record_outcome(given, 1)
    assert decided.outcome(given.key) == given
    assert decided.outcome(key(B.id, 0)) is None
    assert decided.outcome("nothing") is None


def test_the_first_valid_outcome_wins(decided: Store) -> None:
    assert decided.record_outcome(done(A.id, 0, 1.0), 1)
    before = decided.dump()
    assert not decided.record_outcome(done(A.id, 0, 2.0), 2)
    assert not decided.record_outcome(failed(A.id, 0), 2)
    decided.mark_submitted(key(A.id, 0), Ticket("relax", "late"))
    with pytest.raises(StateError, match="not asked again"):
        decided.mark_attempt(key(A.id, 0))
    assert decided.dump() == before


def test_a_failure_may_be_retried_and_a_rejection_may_not(decided: Store) -> None:
    for attempt in (1, 2):
        decided.record_outcome(failed(A.id, 0), 1)
        assert record(decided, A).progress is Progress.FAILED
        assert record(decided, A).failure == Failure(FailureKind.EXPLODED, "the cell flew apart")
        assert decided.evaluations(candidate_id=A.id)[0].attempts == attempt
    assert decided.mark_attempt(key(A.id, 0)) == 3
    assert record(decided, A).progress is Progress.PENDING
    decided.record_outcome(done(A.id, 0), 2)
    (row,) = decided.evaluations(candidate_id=A.id)
    assert (row.status, row.attempts, row.failure, row.round, row.arrived_in_round) == ("done", 3, None, 1, 2)

    decided.record_outcome(failed(B.id, 0, Status.REJECTED), 1)
    assert not decided.record_outcome(done(B.id, 0), 1)
    assert record(decided, B).progress is Progress.FAILED
    assert decided.failure_counts() == {"exploded": 1}


def test_an_unknown_outcome_waits_for_a_person(decided: Store) -> None:
    decided.record_outcome(failed(A.id, 0, Status.UNKNOWN), 1)
    assert record(decided, A).progress is Progress.PENDING
    decided.record_outcome(done(A.id, 0), 1)
    assert record(decided, A).measurements == (gap(1.5),)


def test_what_a_failure_measured_is_kept_but_no_value(decided: Store) -> None:
    partial = failed(A.id, 0, measurements=(gap(9.0),), material=candidate("Li9Cl9").material)
    decided.record_outcome(partial, 1)
    assert decided.outcome(partial.key) == partial
    assert record(decided, A).measurements == ()
    assert record(decided, A).material == A.material
    decided.record_outcome(done(A.id, 0, 2.0), 1)
    assert record(decided, A).measurements == (gap(2.0),)


def test_a_stopped_line_and_a_duplicate_count_as_evaluated(decided: Store) -> None:
    for chosen in (A, B):
        decided.record_outcome(done(chosen.id, 0), 1)
    decided.stop(A.id, "relax: band_gap at least 2 not kept")
    decided.set_duplicate(B.id, A.id, "after_relaxation")
    assert record(decided, A).stopped_by == "relax: band_gap at least 2 not kept"
    assert record(decided, B).duplicate_of == A.id
    assert {r.progress for r in decided.archive(GOALS, (), LINE).values()} == {Progress.EVALUATED}


def test_cancelled_evaluations_end_a_line_unless_an_answer_comes_after_all(decided: Store) -> None:
    decided.record_outcome(done(A.id, 0), 1)
    assert decided.cancel_open("stopped by hand", round=1) == [key(B.id, 0)]
    assert decided.cancel_open("stopped by hand") == []
    assert record(decided, B).progress is Progress.FAILED
    assert record(decided, B).failure is None
    assert decided.outcome(key(B.id, 0)) is None
    assert not decided.record_outcome(failed(B.id, 0), 1)
    assert decided.record_outcome(done(B.id, 0), 1)
    assert record(decided, B).progress is Progress.PENDING


def test_seconds_are_the_median_of_an_oracle(decided: Store) -> None:
    decided.record_outcome(done(A.id, 0), 1)
    decided.record_outcome(failed(B.id, 0), 1)
    assert decided.seconds_by_oracle() == {"relax": 1.5}


def test_a_message_with_any_character_is_kept_readable(decided: Store) -> None:
    failure = Failure(FailureKind.ERROR, "zero \0, lone \ud800, ångström")
    decided.record_outcome(Outcome(key(A.id, 0), A.id, "relax", Status.FAILED, failure=failure), 1)
    kept = decided.evaluations(candidate_id=A.id)[0].failure
    assert kept is not None
    assert kept.message == "zero \\0, lone \\ud800, ångström"
